//! What must hold, looked at after every commit and from outside.
//!
//! The rows are held against the core's own checks (I1–I20), each commit as a step of them. What rows
//! cannot show is noted beside them: when a pause was committed in true time, under which version a call
//! was permitted, and what clients were told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use andon::line::{Check, Error as CoreError, INVARIANTS, Step, Stored, StoredAttempt};
use andon::{
    AnyBreaker, Attempt, BreakerRecord, CallNumber, Command, Entry, Fingerprint, Gate, JobId,
    JobStatus, Line, Outcome, ServiceName, SessionId, StepName, Timestamp, Token, Version, gate,
};
use andon_adapter::line::audit;
use andon_adapter::store::memory::MemoryStore;
use andon_adapter::store::{
    self, Access, CampaignFilter, JobFilter, JournalFilter, JournalOrder, Page, Store,
};
use andon_adapter::wire;
use futures::FutureExt;

use crate::server::{Order, Reply, Request};
use crate::store::Commit;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: String,
    /// What is wrong, in words.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not hold: {}", self.rule, self.what)
    }
}

impl From<andon::line::Violation> for Violation {
    fn from(violation: andon::line::Violation) -> Self {
        Self::of(violation.rule, violation.what)
    }
}

impl Violation {
    /// A violation of this rule.
    pub fn of(rule: &str, what: impl Into<String>) -> Self {
        Self {
            rule: rule.into(),
            what: what.into(),
        }
    }
}

/// Whether all is well.
pub type Judged = Result<(), Violation>;

/// A permit that a worker took.
#[derive(Debug, Clone)]
pub struct Taken<'a> {
    /// When, in true time.
    pub at: u64,
    /// For which job.
    pub job: JobId,
    /// Under which token.
    pub token: Token,
    /// As which call.
    pub call: CallNumber,
    /// For which step.
    pub step: &'a StepName,
    /// What it noted.
    pub version: Version,
}

/// What identifies a report's content (R22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Content {
    Call(JobId, Token, u64),
    End(JobId, Token, [u8; 32]),
}

impl Content {
    /// What a request reports, if it is a report.
    fn of(request: &Request) -> Option<Self> {
        match request {
            Request::CallReport(job, report) => {
                Some(Self::Call(*job, report.token, report.call.get()))
            }
            Request::End(job, report) => {
                let Fingerprint(bytes) = crate::server::fingerprint(*job, report)?;
                Some(Self::End(*job, report.token(), bytes))
            }
            _ => None,
        }
    }
}

/// How many rows are read at a time: more than a simulated line ever has.
const ALL: u32 = 100_000;

/// Knows what has happened, and says when something must not have.
pub struct Judge {
    rows: MemoryStore,
    ttl: u64,
    stored: Stored,
    /// The rows as of the last commit.
    pub line: Line,
    seq: Option<i64>,
    commits: u64,
    sessions: BTreeSet<SessionId>,
    /// All that were ever stored: a campaign may be deleted with its jobs.
    jobs: BTreeSet<JobId>,
    stopped_since: BTreeMap<JobId, u64>,
    lost_since: BTreeMap<(JobId, Token), u64>,
    claimed: BTreeMap<(JobId, Token), u64>,
    recorded: BTreeMap<(JobId, StepName), u64>,
    permits: BTreeMap<(JobId, Token, u64), Version>,
    reported: BTreeSet<Content>,
    resumed: BTreeSet<String>,
}

impl Judge {
    /// Of an empty line, whose confirmations are good for so many microseconds.
    pub fn new(rows: MemoryStore, ttl: u64) -> Self {
        let stored = Stored {
            gate: Gate::initial(),
            campaigns: Vec::new(),
            counts: BTreeMap::new(),
            jobs: Vec::new(),
            attempts: BTreeMap::new(),
            steps: BTreeMap::new(),
            sessions: Vec::new(),
            journal: Vec::new(),
        };
        Self {
            rows,
            ttl,
            line: Line::from(stored.clone()),
            stored,
            seq: None,
            commits: 0,
            sessions: BTreeSet::new(),
            jobs: BTreeSet::new(),
            stopped_since: BTreeMap::new(),
            lost_since: BTreeMap::new(),
            claimed: BTreeMap::new(),
            recorded: BTreeMap::new(),
            permits: BTreeMap::new(),
            reported: BTreeSet::new(),
            resumed: BTreeSet::new(),
        }
    }

    /// How many transactions were committed.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// A transaction was committed at this true time. `request`: none for what servers do by themselves.
    pub fn committed(
        &mut self,
        at: u64,
        commit: &Commit,
        command: &Command,
        answer: &Result<Outcome, CoreError>,
        request: Option<&Request>,
    ) -> Judged {
        self.commits = self.commits.saturating_add(1);
        let stored = self.read()?;
        let after = Line::from(stored.clone());
        let step = Step {
            command,
            now: commit.now,
            answer,
        };
        let is_repeated = request
            .and_then(Content::of)
            .is_some_and(|content| !self.reported.insert(content));
        for (id, check) in INVARIANTS {
            match check {
                Check::State(check) => check(&after)?,
                // Needs what was answered before, which rows do not keep as the core does.
                Check::Step(_) if *id == "I14" => {}
                // A success that was free has left no verdict in the rows (R13): that a repeated report
                // changes nothing at all is looked at below, and says more.
                Check::Step(_) if *id == "I18" && is_repeated => {}
                Check::Step(check) => check(&self.line, step, &after)?,
            }
        }
        if is_repeated {
            self.check_unchanged(command, &stored)?;
        }
        if let Some(request) = request {
            self.check_resume(request, answer)?;
            self.check_version(request, &stored.gate)?;
        }
        one_completion(&stored)?;
        self.line = after;
        self.line.drain_journal();
        self.stored = stored;
        self.note_times(at);
        Ok(())
    }

    /// I14: a report that came before changes nothing.
    fn check_unchanged(&self, command: &Command, after: &Stored) -> Judged {
        let before = &self.stored;
        let is_same = breakers(&before.gate) == breakers(&after.gate)
            && before.gate.version() == after.gate.version()
            && before.campaigns == after.campaigns
            && before.jobs == after.jobs
            && before.attempts == after.attempts
            && before.steps == after.steps;
        if is_same {
            Ok(())
        } else {
            let what = format!("the same report again changed something: {command:?}");
            Err(Violation::of("I14", what))
        }
    }

    /// I14, R7: an order to resume takes effect once at most, however often its message comes.
    fn check_resume(&mut self, request: &Request, answer: &Result<Outcome, CoreError>) -> Judged {
        let Request::Order { key, order, .. } = request else {
            return Ok(());
        };
        let is_effective = *answer == Ok(Outcome::Resumed(gate::Resume::Resumed))
            && matches!(order, Order::Resume(_));
        if !is_effective || self.resumed.insert(key.clone()) {
            return Ok(());
        }
        let what = format!("the order {key} to resume took effect a second time");
        Err(Violation::of("I14", what))
    }

    /// I18: the version that a permit noted decides whether its report counts, not what was sent.
    fn check_version(&self, request: &Request, after: &Gate) -> Judged {
        let (job, token, call, service) = match request {
            Request::CallReport(job, report) => (*job, report.token, report.call, &report.service),
            Request::End(job, wire::Report::Fail(report)) => match (&report.service, report.call) {
                (Some(service), Some(call)) => (*job, report.token, call, service),
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        let Some(permitted) = self.permits.get(&(job, token, call.get())) else {
            return Ok(());
        };
        let was = breaker(&self.stored.gate, service);
        let is = breaker(after, service);
        let is_stale = was.as_ref().is_some_and(|was| *permitted < was.since);
        if !is_stale || was == is {
            return Ok(());
        }
        let what = format!(
            "the report of a call permitted at version {permitted} changed breaker {service}"
        );
        Err(Violation::of("I18", what))
    }

    fn note_times(&mut self, at: u64) {
        for job in self.line.jobs() {
            let id = job.id();
            self.jobs.insert(id);
            match self.line.job_status(id) {
                Some(JobStatus::Paused | JobStatus::Cancelled) => {
                    self.stopped_since.entry(id).or_insert(at);
                }
                _ => {
                    self.stopped_since.remove(&id);
                }
            }
            let token = job.token();
            if token > Token::NONE {
                self.claimed.entry((id, token)).or_insert(self.commits);
            }
        }
        for (job, token) in self.claimed.keys() {
            let is_held = self
                .line
                .job(*job)
                .is_some_and(|facts| facts.token() == *token && facts.holder().is_some());
            if !is_held {
                self.lost_since.entry((*job, *token)).or_insert(at);
            }
        }
        for key in self.stored.steps.keys() {
            self.recorded.entry(key.clone()).or_insert(self.commits);
        }
    }

    /// A worker takes a permit, and is about to call.
    pub fn permitted(&mut self, permit: &Taken<'_>) -> Judged {
        let (job, token) = (permit.job, permit.token);
        self.permits
            .insert((job, token, permit.call.get()), permit.version);
        // A worker's clock may be slow by one part in a thousand.
        let limit = |since: u64| {
            let slack = self.ttl.div_ceil(1000);
            since.saturating_add(self.ttl).saturating_add(slack)
        };
        if let Some(since) = self.stopped_since.get(&job)
            && permit.at > limit(*since)
        {
            let late = permit.at.saturating_sub(*since) / 1000;
            let what = format!("a call of job {job} was permitted {late} ms after it was stopped");
            return Err(Violation::of("R30", what));
        }
        if let Some(since) = self.lost_since.get(&(job, token))
            && permit.at > limit(*since)
        {
            let late = permit.at.saturating_sub(*since) / 1000;
            let what =
                format!("a call of job {job} was permitted {late} ms after its lease was lost");
            return Err(Violation::of("R30", what));
        }
        let recorded = self.recorded.get(&(job, permit.step.clone()));
        let claimed = self.claimed.get(&(job, token));
        if let (Some(recorded), Some(claimed)) = (recorded, claimed)
            && recorded < claimed
        {
            let what = format!("step {} of job {job} is called again", permit.step);
            return Err(Violation::of("I17", what));
        }
        Ok(())
    }

    /// A client is answered: what it is told must be so, and durable (R35).
    pub fn answered(&self, reply: &Reply) -> Judged {
        let told = |is_so: bool, what: &dyn Fn() -> String| {
            if is_so {
                Ok(())
            } else {
                Err(Violation::of("R35", what()))
            }
        };
        match reply {
            Reply::Claimed(answer) => answer.leases.iter().try_for_each(|lease| {
                let key = (lease.job_id, lease.token);
                told(self.stored.attempts.contains_key(&key), &|| {
                    format!(
                        "a lease of job {} was given and is not stored",
                        lease.job_id
                    )
                })
            }),
            Reply::Registered(answer) => told(self.sessions.contains(&answer.worker_id), &|| {
                format!("session {} was given and is not stored", answer.worker_id)
            }),
            Reply::Done(done) => {
                let added = done.added.is_none_or(|id| self.jobs.contains(&id));
                told(added, &|| "an added job is not stored".into())?;
                told(done.version <= self.stored.gate.version().get(), &|| {
                    format!("version {} was answered and is not stored", done.version)
                })
            }
            _ => Ok(()),
        }
    }

    /// A worker was told that its ending was accepted.
    pub fn ended(&self, job: JobId, token: Token) -> Judged {
        let attempt = self.stored.attempts.get(&(job, token));
        if attempt.is_some_and(|attempt| attempt.facts.ending.is_some()) {
            return Ok(());
        }
        let what = format!(
            "an ending of job {job} under token {token} was acknowledged and is not stored"
        );
        Err(Violation::of("R22", what))
    }

    /// R32: the whole journal, held against the rules and against what is stored.
    pub fn finish(&self) -> Judged {
        let work = async {
            let mut tx = self.rows.begin(Access::Read).await?;
            let journal = tx.journal(&from_the_start(None)).await?;
            let audit = audit::audit(&mut *tx).await;
            Ok::<_, store::Error>((journal, audit))
        };
        let (journal, audit) = done_at_once(work)?;
        let entries: Vec<Entry> = journal.into_iter().map(|row| row.entry).collect();
        if let Err(impossible) = andon_model::journal::check(&entries) {
            return Err(Violation::of("R31", impossible.to_string()));
        }
        match audit.map(|audit| audit.difference) {
            Ok(None) => Ok(()),
            Ok(Some(difference)) => Err(Violation::of("R32", difference)),
            Err(error) => Err(Violation::of("R32", error.to_string())),
        }
    }

    fn read(&mut self) -> Result<Stored, Violation> {
        let seq = self.seq;
        let sessions = self.sessions.clone();
        let work = read(&self.rows, seq, sessions);
        let (stored, seq) = done_at_once(work)?;
        self.seq = seq.or(self.seq);
        self.sessions = stored.sessions.iter().map(|session| session.id).collect();
        Ok(stored)
    }
}

/// A read of the memory store never waits.
fn done_at_once<T>(work: impl Future<Output = store::Result<T>>) -> Result<T, Violation> {
    match work.now_or_never() {
        Some(Ok(done)) => Ok(done),
        Some(Err(error)) => Err(Violation::of("the rows", error.to_string())),
        None => Err(Violation::of("the rows", "a read has waited")),
    }
}

fn from_the_start(after: Option<i64>) -> JournalFilter {
    JournalFilter {
        after_seq: after,
        order: JournalOrder::OldestFirst,
        limit: ALL,
        ..JournalFilter::default()
    }
}

async fn read(
    rows: &MemoryStore,
    seq: Option<i64>,
    mut known: BTreeSet<SessionId>,
) -> store::Result<(Stored, Option<i64>)> {
    let mut tx = rows.begin(Access::Read).await?;
    let campaigns = tx.campaign_list(&CampaignFilter::default(), page()).await?;
    let jobs = tx.job_list(&JobFilter::default(), page()).await?;
    let campaign_ids: Vec<_> = campaigns.iter().map(|row| row.facts.id()).collect();
    let job_ids: Vec<_> = jobs.iter().map(|row| row.facts.id()).collect();
    let mut attempts = BTreeMap::new();
    for job in &jobs {
        for row in tx.attempts_of(job.facts.id()).await? {
            let is_completion = row.ending.as_deref() == Some("complete");
            let result = job.result.as_ref().filter(|_| is_completion);
            let kept = row.kept_result.as_ref().and_then(|kept| kept.as_object());
            let kept = kept.into_iter().flat_map(|kept| kept.values());
            let attempt = StoredAttempt {
                facts: Attempt {
                    ending: row.fingerprint,
                    verdicts: row.verdicts,
                },
                result: result.map(ToString::to_string),
                kept: kept.map(ToString::to_string).collect(),
            };
            attempts.insert((row.job, row.token), attempt);
        }
    }
    let steps = tx.steps(&job_ids).await?.into_iter();
    let alive = tx.sessions_alive(Timestamp::from_micros(i64::MIN)).await?;
    known.extend(alive.into_iter().map(|row| row.facts.id));
    let mut sessions = Vec::new();
    for id in known {
        sessions.extend(tx.session(id).await?.map(|row| row.facts));
    }
    let journal = tx.journal(&from_the_start(seq)).await?;
    let last = journal.last().map(|row| row.seq);
    let stored = Stored {
        gate: tx.gate().await?,
        counts: tx.job_counts(&campaign_ids).await?,
        campaigns: campaigns.into_iter().map(|row| row.facts).collect(),
        jobs: jobs.into_iter().map(|row| row.facts).collect(),
        attempts,
        steps: steps
            .map(|step| ((step.job, step.name), step.result.to_string()))
            .collect(),
        sessions,
        journal: journal.into_iter().map(|row| row.entry).collect(),
    };
    Ok((stored, last))
}

fn page<Id>() -> Page<Id> {
    Page {
        after: None,
        offset: 0,
        limit: ALL,
    }
}

fn breakers(gate: &Gate) -> Vec<BreakerRecord> {
    gate.breakers().map(AnyBreaker::record).collect()
}

fn breaker(gate: &Gate, service: &ServiceName) -> Option<BreakerRecord> {
    gate.breaker(service).ok().map(AnyBreaker::record)
}

/// I9, I10: a job completes once.
fn one_completion(stored: &Stored) -> Judged {
    let mut completed = BTreeSet::new();
    for ((job, _), attempt) in &stored.attempts {
        if attempt.result.is_some() && !completed.insert(job) {
            return Err(Violation::of(
                "I9",
                format!("job {job} was completed twice"),
            ));
        }
    }
    Ok(())
}
