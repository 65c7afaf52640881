//! Stored rows: bytes become an error or a value that is written as it was read; nothing panics, and
//! nothing that is not there is made up (R30).

use andon::{
    Actor, AnyBreaker, AnyCampaign, AnyJob, Attempt, BreakerRecord, BreakerSettings, By,
    CampaignRecord, CauseChain, Decision, Ending, Entry, Event, Gate, GateRecord, JobCounts,
    JobRecord, Ledger, Mark, Marks, Origin, Pause, QueueRecord, Report, ResumeRequest, Session,
    Stamp, Timestamp, Verdict, Work,
};
use andon::{CallNumber, CallOutcome, ErrorText, Fingerprint, Reporter};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Reads the bytes as each of the core's records, and does to each what can be done to it.
///
/// # Panics
/// If a value is read back as another, or what was not said is made up.
pub fn run(bytes: &[u8]) {
    let Ok(input) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    for read in [
        round_trip::<Stamp>,
        round_trip::<Actor>,
        round_trip::<Origin>,
        round_trip::<Pause>,
        round_trip::<Mark>,
        round_trip::<Event>,
        round_trip::<Entry>,
        round_trip::<Verdict>,
        round_trip::<CauseChain>,
        round_trip::<BreakerSettings>,
        round_trip::<BreakerRecord>,
        round_trip::<QueueRecord>,
        round_trip::<GateRecord>,
        round_trip::<CampaignRecord>,
        round_trip::<JobRecord>,
        round_trip::<JobCounts>,
        round_trip::<Session>,
        round_trip::<Gate>,
        round_trip::<AnyCampaign>,
        round_trip::<AnyJob>,
        round_trip::<Ledger>,
    ] {
        read(&input);
    }
    if let Ok(record) = serde_json::from_value::<BreakerRecord>(input.clone())
        && let Ok(breaker) = AnyBreaker::try_from(record.clone())
    {
        assert_eq!(breaker.record(), record, "a breaker is read as another");
    }
    if let Ok(stored) = serde_json::from_value::<Stored>(input) {
        stored.try_everything();
    }
}

/// Reads a value, writes it, and reads that again; then once without each of its fields in turn.
fn round_trip<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(input: &Value) {
    let Ok(value) = serde_json::from_value::<T>(input.clone()) else {
        return;
    };
    let written = written(&value);
    let again: T = serde_json::from_value(written.clone())
        .unwrap_or_else(|error| panic!("{error}: written as {written}"));
    assert_eq!(again, value, "written as {written}");
    is_all_said(input, &written);
    for name in written.as_object().into_iter().flat_map(Map::keys) {
        let mut less = written.clone();
        if let Some(fields) = less.as_object_mut() {
            fields.remove(name);
        }
        if let Ok(value) = serde_json::from_value::<T>(less.clone()) {
            is_all_said(&less, &self::written(&value));
        }
    }
}

fn is_all_said(input: &Value, written: &Value) {
    if let Err(place) = says_no_more(input, written) {
        panic!("R30: made up {place}\nof {input}\nas {written}");
    }
}

fn written<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_else(|error| panic!("{error}"))
}

/// Whether everything in `written` was said in `input`; else where it was not.
fn says_no_more(input: &Value, written: &Value) -> Result<(), String> {
    let made_up = || Err(String::new());
    match (input, written) {
        (Value::Object(said), Value::Object(fields)) => {
            for (name, value) in fields {
                // The keys of a map may be UUIDs, in either case.
                let is_id = |said: &str| said.len() == 36 && said.eq_ignore_ascii_case(name);
                let by_id = || said.iter().find(|(said, _)| is_id(said));
                let field = said.get(name).or_else(|| by_id().map(|(_, said)| said));
                let field = match field {
                    Some(said) => says_no_more(said, value),
                    // Absent is none where none stops or starts nothing; all else is said, if as null.
                    None if value.is_null() && OPTIONAL.contains(&name.as_str()) => Ok(()),
                    None => made_up(),
                };
                field.map_err(|place| format!(".{name}{place}"))?;
            }
            Ok(())
        }
        (Value::Array(said), Value::Array(items)) if said.len() == items.len() => {
            // A gate has its breakers in order, its rows need not be.
            let (said, items) = (by_service(said), by_service(items));
            for (place, (said, item)) in said.iter().zip(items).enumerate() {
                says_no_more(said, item).map_err(|inner| format!("[{place}]{inner}"))?;
            }
            Ok(())
        }
        // A struct's fields in their order, without their names.
        (Value::Array(said), Value::Object(fields)) if said.len() <= fields.len() => Ok(()),
        // A variant without content, the long way.
        (Value::Object(said), Value::String(variant)) => match said.get(variant) {
            Some(Value::Null) if said.len() == 1 => Ok(()),
            _ => made_up(),
        },
        (Value::String(said), Value::String(text)) => {
            // UUIDs are written in small letters, error texts without control characters and cut.
            if said.eq_ignore_ascii_case(text) || ErrorText::new(said).as_str() == text {
                Ok(())
            } else {
                made_up()
            }
        }
        (said, value) if said == value => Ok(()),
        _ => made_up(),
    }
}

fn by_service(rows: &[Value]) -> Vec<&Value> {
    let mut rows: Vec<&Value> = rows.iter().collect();
    rows.sort_by_key(|row| row.get("service").and_then(Value::as_str));
    rows
}

/// What may be left out: why, by whose fault, for which service, and a setting that is off by default.
const OPTIONAL: [&str; 4] = ["reason", "origin", "service", "cool_down"];

/// What the rules look at, as a store may hold it. The rows may contradict each other.
#[derive(Debug, serde::Deserialize)]
struct Stored {
    gate: Gate,
    campaign: AnyCampaign,
    job: AnyJob,
    session: Session,
    /// The campaign's other jobs.
    others: JobCounts,
    now: Timestamp,
    by: Actor,
}

impl Stored {
    /// Every decision of the core: each is a refusal, or leads to rows that can be read.
    fn try_everything(&self) {
        let by = By::actor(self.by.clone());
        self.try_gate(&by);
        self.try_campaign(&by);
        self.try_job(&by);
        self.try_work(&by);
        let _ = CauseChain::of_queue(&self.gate).to_string();
        let _ = CauseChain::of_campaign(&self.gate, &self.campaign).to_string();
        let _ = CauseChain::of_job(&self.gate, &self.campaign, &self.job).to_string();
    }

    fn try_gate(&self, by: &By) {
        let (gate, now) = (&self.gate, self.now);
        self.ok(gate.decide_pause_queue(by, now));
        self.ok(gate.decide_database_changed(ErrorText::new("restored"), now));
        self.ok(gate.decide_tick(now));
        self.ok(gate.decide_acknowledge(by, gate.epoch(), now));
        for keep in [&[][..], &[&self.campaign]] {
            let request = ResumeRequest {
                seen: None,
                keep,
                unknown: &[],
                marks: Marks::of(gate, [&self.campaign]),
            };
            self.ok(gate.decide_resume(by, &request, now));
        }
        for service in gate.services() {
            self.ok(gate.decide_open_breaker(by, &service, now));
            self.ok(gate.decide_reset_breaker(by, &service, now));
            for (outcome, version) in [
                (CallOutcome::Failure(ErrorText::new("500")), None),
                (CallOutcome::Success, Some(gate.version())),
            ] {
                let report = Report {
                    service: service.clone(),
                    outcome,
                    version,
                    reporter: Reporter::HealthCheck,
                };
                self.ok(gate.decide_report(by, &report, now));
            }
            let services = [(service, BreakerSettings::default())].into();
            self.ok(gate.decide_configure(by, &services, now));
        }
        self.ok(gate.decide_configure(by, &[].into(), now));
    }

    fn try_campaign(&self, by: &By) {
        let (gate, campaign, now) = (&self.gate, &self.campaign, self.now);
        self.ok(campaign.decide_start(gate, self.others, by, now));
        self.ok(campaign.decide_pause(gate, by, now));
        self.ok(campaign.decide_close(gate, self.others, by, now));
        self.ok(campaign.decide_cancel(gate, by, now));
        self.ok(campaign.decide_delete(gate, by, now));
        self.applied(&campaign.decide_settle(gate, self.others, now));
    }

    fn try_job(&self, by: &By) {
        let (gate, campaign, job, now) = (&self.gate, &self.campaign, &self.job, self.now);
        let session = &self.session;
        self.ok(job.decide_claim(gate, campaign, session, now));
        self.ok(job.decide_pause(gate, campaign, by, now));
        self.ok(job.decide_cancel(gate, campaign, self.others, by, now));
        for holder in [None, Some(session)] {
            self.ok(job.decide_retry(gate, campaign, holder, by, now));
        }
        self.ok(job.decide_expire_lease(gate, campaign, self.others, by, now));
        if let Some(dead) = session.dead(now) {
            self.applied(&job.decide_sweep(gate, campaign, self.others, &dead, now));
        }
        if let Ok(beaten) = session.heartbeat(now) {
            round_trip::<Session>(&written(&beaten));
        }
        round_trip::<Session>(&written(&session.end(now)));
    }

    fn try_work(&self, by: &By) {
        let attempt = Attempt::default();
        let work = Work {
            gate: &self.gate,
            campaign: &self.campaign,
            job: &self.job,
            attempt: Some(&attempt),
            others: self.others,
        };
        let token = self.job.token();
        let call = CallNumber::new(1).unwrap_or_else(|error| panic!("{error}"));
        let services = self.gate.services();
        let report = services.first().map(|service| Report {
            service: service.clone(),
            outcome: CallOutcome::Failure(ErrorText::new("500")),
            version: None,
            reporter: Reporter::Call(self.job.id()),
        });
        let retry_after = Some(std::time::Duration::MAX);
        let mut endings = vec![
            Ending::Complete,
            Ending::FailRetryable { retry_after },
            Ending::FailPermanent,
            Ending::Release,
            Ending::Snooze {
                delay: std::time::Duration::MAX,
            },
        ];
        if let Some(report) = report {
            self.ok(work.decide_call_report(by, token, call, &report, self.now));
            endings.push(Ending::FailService {
                report,
                call,
                retry_after,
            });
        }
        for ending in &endings {
            self.ok(work.decide_ending(by, token, ending, Fingerprint([7; 32]), self.now));
        }
    }

    fn ok<O, E>(&self, decided: Result<Decision<O>, E>) {
        if let Ok(decision) = decided {
            self.applied(&decision);
        }
    }

    /// Applies a decision: what it leads to can be stored and read again, and the version never goes
    /// back (D4).
    fn applied<O>(&self, decision: &Decision<O>) {
        let (mut gate, mut campaign, mut job) =
            (self.gate.clone(), self.campaign.clone(), self.job.clone());
        gate.apply(decision);
        for event in &decision.events {
            match event {
                Event::Campaign {
                    campaign: id,
                    event,
                } if *id == campaign.id() => campaign.evolve(&decision.stamp, event),
                Event::Job { job: id, event, .. } if *id == job.id() => {
                    job.evolve(&decision.stamp, event);
                }
                Event::Gate { .. }
                | Event::Campaign { .. }
                | Event::Job { .. }
                | Event::Refused { .. } => {}
            }
        }
        assert!(gate.version() >= self.gate.version(), "D4: the version");
        assert!(gate.epoch() >= self.gate.epoch(), "D4: the epoch");
        for (row, read) in [
            (written(&gate), reads::<Gate>(&written(&gate))),
            (
                written(&campaign),
                reads::<AnyCampaign>(&written(&campaign)),
            ),
            (written(&job), reads::<AnyJob>(&written(&job))),
        ] {
            if let Err(error) = read {
                panic!("{error}: {row}\nafter {:?}\non {self:?}", decision.events);
            }
        }
    }
}

fn reads<T: DeserializeOwned>(row: &Value) -> Result<(), serde_json::Error> {
    serde_json::from_value::<T>(row.clone()).map(|_| ())
}
