//! Every state × every command, outcome in words: one snapshot for each machine. A change of a cell
//! shows in review. Nothing here repeats a rule: the outcome is read off the line.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail; the lints know only functions marked as tests"
)]

mod kit;

use std::fmt::Write as _;

use andon::breaker::{Hold, Standing};
use andon::line::{Enqueued, NewJob, Outcome, Payload};
use andon::{
    AnyBreaker, By, CallOutcome, Command, Ending, Intake, JobStage, Line, ServiceName, Verdict,
};
use kit::*;

/// A table: for each state, each command is carried out on a copy of the scene.
struct Table {
    text: String,
    states: Vec<(&'static str, Scene)>,
}

impl Table {
    fn new(states: Vec<(&'static str, Scene)>) -> Self {
        Self {
            text: String::new(),
            states,
        }
    }

    /// One command, in every state.
    fn row(&mut self, name: &str, by: &By, command: impl Fn(&Scene) -> Command) {
        let _ = writeln!(self.text, "{name}");
        let states = self.states.clone();
        for (state, mut scene) in states {
            let command = command(&scene);
            let outcome = outcome_in_words(&mut scene, by, command);
            let _ = writeln!(self.text, "    {state:<38} {outcome}");
        }
        self.text.push('\n');
    }
}

/// What a command did, in words: the refusal, or each fact that changed, with what was journalled.
fn outcome_in_words(scene: &mut Scene, by: &By, command: Command) -> String {
    let before = scene.line.clone();
    let entries = before.journal().len();
    let answer = scene.execute(by, command);
    let kinds = scene.journal_from(entries);
    let journalled = match kinds.as_slice() {
        [] => String::new(),
        kinds => format!("  [{}]", kinds.join(", ")),
    };
    let words = match answer {
        Err(error) => format!("refused: {error}"),
        Ok(outcome) => {
            let mut parts = changes(&before, &scene.line);
            parts.extend(in_words(&outcome));
            if parts.is_empty() {
                parts.push("nothing changes".into());
            }
            parts.join("; ")
        }
    };
    short(&format!("{words}{journalled}"))
}

/// Short names for what the kit makes.
fn short(text: &str) -> String {
    [
        (C1.to_string(), "C1"),
        (C2.to_string(), "C2"),
        (J1.to_string(), "J1"),
        (J2.to_string(), "J2"),
        (J3.to_string(), "J3"),
        (W1.to_string(), "W1"),
        (W2.to_string(), "W2"),
    ]
    .into_iter()
    .fold(text.to_owned(), |text, (long, short)| {
        text.replace(&long, short)
    })
}

fn breaker_in_words(breaker: &AnyBreaker) -> String {
    let held = match breaker.hold() {
        Hold::Held => " and held",
        Hold::Free => "",
    };
    let retired = match breaker.standing() {
        Standing::Retired => ", retired",
        Standing::Declared => "",
    };
    format!(
        "{}{held} (count {} of {}{retired})",
        breaker.state(),
        breaker.failure_count(),
        breaker.settings().threshold()
    )
}

/// Every fact that differs between two lines, as `what: before → after`.
fn changes(before: &Line, after: &Line) -> Vec<String> {
    let facts = |line: &Line| -> Vec<(String, String)> {
        let mut facts = vec![("queue".to_owned(), line.gate().queue().state().to_string())];
        facts.push(("epoch".into(), line.gate().epoch().to_string()));
        let by = line.gate().queue().acknowledged();
        let by = by.map_or("nobody".into(), |it| it.actor.describe());
        facts.push(("in hand of".into(), by));
        for breaker in line.gate().breakers() {
            let service = breaker.service();
            facts.push((service.to_string(), breaker_in_words(breaker)));
            let key = format!("since of {service}");
            facts.push((key, breaker.since().to_string()));
        }
        for campaign in line.campaigns() {
            let id = campaign.id();
            let mut status = line.campaign_status(id).unwrap().to_string();
            if campaign.intake() == Intake::OpenEnded {
                status.push_str(" open-ended");
            }
            if let Some(mark) = campaign.mark() {
                let again = if mark.again.is_some() { " twice" } else { "" };
                let _ = write!(status, " (marked{again} in epoch {})", mark.epoch);
            }
            facts.push((format!("campaign {id}"), status));
        }
        for job in line.jobs() {
            let id = job.id();
            let mut words = line.job_status(id).unwrap().to_string();
            let stage = job.stage();
            if words != stage.to_string() {
                let _ = write!(words, " (stage {stage})");
            }
            let _ = write!(words, ", attempt {}", job.attempt());
            if job.holder().is_some() {
                words.push_str(", leased");
            }
            if stage == JobStage::Pending && job.run_at() > at(0) {
                let _ = write!(words, ", due {}", job.run_at());
            }
            facts.push((format!("job {id}"), words));
        }
        for session in line.sessions() {
            let words = match session.ended_at {
                Some(ended_at) => format!("ended {ended_at}"),
                None => format!("until {}", session.expires_at),
            };
            facts.push((format!("session {}", session.id), words));
        }
        facts
    };
    let (was, is) = (facts(before), facts(after));
    let mut changes = vec![];
    for (what, now) in &is {
        match was.iter().find(|(key, _)| key == what) {
            Some((_, then)) if then == now => {}
            Some((_, then)) => changes.push(format!("{what}: {then} → {now}")),
            None => changes.push(format!("{what}: {now}")),
        }
    }
    for (what, _) in &was {
        if !is.iter().any(|(key, _)| key == what) {
            changes.push(format!("{what} is gone"));
        }
    }
    changes
}

fn verdict_in_words(verdict: Option<Verdict>) -> Option<String> {
    verdict.map(|verdict| format!("verdict {}", verdict.as_str()))
}

/// What the answer adds to what changed.
fn in_words(outcome: &Outcome) -> Vec<String> {
    match outcome {
        Outcome::Paused(andon::Pausing::AlreadyPaused) => vec!["was paused or open already".into()],
        Outcome::Reset(reset) => vec![format!("was {}", reset.was)],
        Outcome::Resumed(andon::Resume::NothingToResume) => vec!["nothing to resume".into()],
        Outcome::Acknowledged(andon::Acknowledging::AlreadyAcknowledged) => {
            vec!["was acknowledged already".into()]
        }
        Outcome::Judged(verdict) => verdict_in_words(Some(*verdict)).into_iter().collect(),
        Outcome::Closed(closing) => vec![format!("{closing:?}")],
        Outcome::CampaignCancelled(cancelling) => vec![format!("{cancelling:?}")],
        Outcome::Settled(Some(stage)) => vec![format!("settled {stage}")],
        Outcome::Enqueued(jobs) => jobs
            .iter()
            .filter_map(|job| match job {
                Enqueued::Added(_) => None,
                Enqueued::Existed {
                    job,
                    stage,
                    payload,
                } => Some(format!(
                    "exists: {job}, {stage}, {}",
                    match payload {
                        Payload::Same => "same payload",
                        Payload::Differs => "another payload",
                    }
                )),
            })
            .collect(),
        Outcome::Alive(beat) if !beat.stopped.is_empty() => {
            let stopped: Vec<String> = beat.stopped.iter().map(ToString::to_string).collect();
            vec![format!("told to stop {}", stopped.join(", "))]
        }
        Outcome::Alive(beat) if !beat.going.is_empty() => vec!["lease confirmed".into()],
        Outcome::Claimed(leases) if leases.is_empty() => vec!["no lease".into()],
        Outcome::Claimed(leases) => vec![format!("token {}", leases[0].token)],
        Outcome::CallReported(answer) => {
            let mut words: Vec<String> = verdict_in_words(answer.verdict).into_iter().collect();
            words.extend(answer.job.as_ref().err().map(|e| format!("job part: {e}")));
            words.extend(answer.unknown_service.as_ref().map(ToString::to_string));
            words
        }
        Outcome::StepReported { recording, .. } => vec![format!("{recording:?}")],
        Outcome::Ended(reply) => {
            let answer = &reply.answer;
            let mut words: Vec<String> = verdict_in_words(answer.verdict).into_iter().collect();
            words.extend(
                answer
                    .job
                    .as_ref()
                    .err()
                    .map(|e| format!("job part refused: {e}")),
            );
            words.extend(answer.unknown_service.as_ref().map(ToString::to_string));
            words
        }
        Outcome::EndedBefore(_) => vec!["answered as the first time".into()],
        Outcome::Done
        | Outcome::Paused(_)
        | Outcome::Resumed(_)
        | Outcome::Acknowledged(_)
        | Outcome::HalfOpened(_)
        | Outcome::Settled(None)
        | Outcome::Retried(_)
        | Outcome::LeaseExpired(_)
        | Outcome::Alive(_)
        | Outcome::Swept(_) => vec![],
    }
}

/// A running line after what `then` does to it.
fn running(then: impl FnOnce(&mut Scene)) -> Scene {
    let mut scene = Scene::new().running();
    then(&mut scene);
    scene
}

/// A line with a cool-down for `openai` and a threshold of 2, after what `then` does to it.
fn with_cool_down(then: impl FnOnce(&mut Scene)) -> Scene {
    let mut scene = Scene::with(settings(2, Some(COOL_DOWN))).running();
    then(&mut scene);
    scene
}

fn open_openai(scene: &mut Scene) {
    scene.does(Command::OpenBreaker { service: openai() });
}

/// Opens `openai` by errors.
fn trip_openai(scene: &mut Scene) {
    let threshold = scene.line.gate().breaker(&openai()).unwrap().settings();
    for _ in 0..threshold.threshold() {
        scene.openai_fails();
    }
}

fn half_open_openai(scene: &mut Scene) {
    trip_openai(scene);
    for _ in 0..3 {
        scene.now += 20;
        scene.does(Command::Heartbeat { session: W1 });
    }
    scene.does(Command::Tick);
}

fn retire_openai(scene: &mut Scene) {
    let services = [(service("apollo"), settings(1, None))].into();
    scene.does(Command::Configure { services });
}

fn acknowledge(epoch: u64) -> Command {
    let epoch = andon::Epoch::new(epoch).unwrap();
    Command::Acknowledge { epoch }
}

fn report(service: ServiceName, outcome: CallOutcome, seen: Option<u64>) -> Command {
    Command::Report {
        service,
        outcome,
        version: seen.map(version),
    }
}

#[test]
fn r1_to_r12_queue_every_state_and_command() {
    let mut table = Table::new(vec![
        ("ACTIVE", running(|_| {})),
        (
            "ACTIVE, C1 paused by hand",
            running(|s| {
                s.does(Command::PauseCampaign { campaign: C1 });
            }),
        ),
        (
            "PAUSED by hand",
            running(|s| {
                s.does(Command::PauseQueue);
            }),
        ),
        ("PAUSED, openai open", running(trip_openai)),
        ("PAUSED, openai half-open", with_cool_down(half_open_openai)),
        (
            "PAUSED, openai reset",
            running(|s| {
                trip_openai(s);
                s.resets_openai();
            }),
        ),
        (
            "PAUSED, openai open, acknowledged",
            running(|s| {
                trip_openai(s);
                s.does(acknowledge(1));
            }),
        ),
    ]);
    let resume_with = |seen, keep: &[_]| Command::Resume {
        seen,
        keep: keep.to_vec(),
    };
    table.row("pause queue", &ada(), |_| Command::PauseQueue);
    table.row("pause queue, by a worker", &worker(), |_| {
        Command::PauseQueue
    });
    table.row("database changed", &By::SYSTEM, |_| {
        Command::DatabaseChanged {
            detail: andon::ErrorText::new("another system identifier"),
        }
    });
    table.row("resume", &ada(), |_| resume());
    table.row("resume, by automation", &automation(), |_| resume());
    table.row("resume, with the line's version", &ada(), |s| {
        resume_with(Some(s.version()), &[])
    });
    table.row("resume, with an older version", &ada(), |_| {
        resume_with(Some(version(0)), &[])
    });
    table.row("resume, keeping C1", &ada(), |_| resume_with(None, &[C1]));
    table.row("resume, keeping an unknown campaign", &ada(), |_| {
        resume_with(None, &[C2])
    });
    table.row("acknowledge", &ada(), |_| acknowledge(1));
    table.row("acknowledge, by automation", &automation(), |_| {
        acknowledge(1)
    });
    table.row("acknowledge, another epoch", &ada(), |_| acknowledge(2));
    table.row("open openai by hand", &ada(), |_| Command::OpenBreaker {
        service: openai(),
    });
    table.row("reset openai", &ada(), |_| Command::ResetBreaker {
        service: openai(),
    });
    table.row("a failure of apollo", &worker(), |_| {
        report(service("apollo"), failure(), None)
    });
    table.row("tick", &By::SYSTEM, |_| Command::Tick);
    table.row(
        "declare instantly, openai with threshold 2",
        &By::SYSTEM,
        |_| Command::Configure {
            services: [
                (service("apollo"), settings(1, None)),
                (service("instantly"), settings(1, None)),
                (openai(), settings(2, Some(COOL_DOWN))),
            ]
            .into(),
        },
    );
    table.row("claim", &worker(), |_| Command::Claim {
        session: W1,
        limit: 1,
    });
    insta::assert_snapshot!(table.text);
}

#[test]
fn r13_to_r19_breaker_every_state_and_command() {
    let mut table = Table::new(vec![
        ("CLOSED, count 0", with_cool_down(|_| {})),
        (
            "CLOSED, count 1 of 2",
            with_cool_down(|s| {
                s.openai_fails();
            }),
        ),
        ("OPEN", with_cool_down(trip_openai)),
        (
            "OPEN, held",
            with_cool_down(|s| {
                trip_openai(s);
                open_openai(s);
            }),
        ),
        ("HALF_OPEN", with_cool_down(half_open_openai)),
        (
            "CLOSED again by a reset",
            with_cool_down(|s| {
                trip_openai(s);
                s.resets_openai();
            }),
        ),
        ("retired, CLOSED", with_cool_down(retire_openai)),
        (
            "retired, OPEN",
            with_cool_down(|s| {
                trip_openai(s);
                retire_openai(s);
            }),
        ),
    ]);
    let now = |s: &Scene| Some(s.version().get());
    for (name, outcome) in [("failure", failure()), ("success", CallOutcome::Success)] {
        let outcome = &outcome;
        table.row(&format!("{name}, current version"), &worker(), |s| {
            report(openai(), outcome.clone(), now(s))
        });
        table.row(&format!("{name}, version 0"), &worker(), |_| {
            report(openai(), outcome.clone(), Some(0))
        });
        table.row(
            &format!("{name}, a version of the future"),
            &worker(),
            |_| report(openai(), outcome.clone(), Some(1_000)),
        );
        table.row(&format!("{name}, no version"), &worker(), |_| {
            report(openai(), outcome.clone(), None)
        });
    }
    table.row("open by hand", &automation(), |_| Command::OpenBreaker {
        service: openai(),
    });
    table.row("reset", &ada(), |_| Command::ResetBreaker {
        service: openai(),
    });
    table.row("reset, by a worker", &worker(), |_| Command::ResetBreaker {
        service: openai(),
    });
    table.row("tick at once", &By::SYSTEM, |_| Command::Tick);
    for (_, scene) in &mut table.states {
        scene.now += 60;
    }
    table.row("tick 60 s later", &By::SYSTEM, |_| Command::Tick);
    let configure = |threshold| Command::Configure {
        services: [
            (openai(), settings(threshold, Some(COOL_DOWN))),
            (service("apollo"), settings(1, None)),
        ]
        .into(),
    };
    table.row("declare with threshold 1", &By::SYSTEM, |_| configure(1));
    table.row("declare with threshold 9", &By::SYSTEM, |_| configure(9));
    table.row("leave out of the configuration", &By::SYSTEM, |_| {
        Command::Configure {
            services: [(service("apollo"), settings(1, None))].into(),
        }
    });
    insta::assert_snapshot!(table.text);
}

/// A line with the campaign C1 and no other, after what `then` does to it.
fn with_campaign(intake: Intake, jobs: &[andon::JobId], then: impl FnOnce(&mut Scene)) -> Scene {
    let mut scene = Scene::new();
    scene.campaign(C1, intake, jobs);
    scene.register(W1);
    then(&mut scene);
    scene
}

fn start(scene: &mut Scene) {
    scene.does(Command::StartCampaign { campaign: C1 });
}

fn finish(scene: &mut Scene, ending: Ending) {
    start(scene);
    let token = scene.claims(W1, J1);
    scene.does(end(J1, token, ending));
}

#[test]
fn r20_r27_r28_campaign_every_state_and_command() {
    use Intake::{Closed, OpenEnded};
    let mut table = Table::new(vec![
        ("CREATED, empty", with_campaign(Closed, &[], |_| {})),
        ("CREATED, with a job", with_campaign(Closed, &[J1], |_| {})),
        ("CREATED, open-ended", with_campaign(OpenEnded, &[], |_| {})),
        (
            "CREATED, the queue PAUSED",
            with_campaign(Closed, &[J1], trip_openai),
        ),
        ("RUNNING", with_campaign(Closed, &[J1], start)),
        (
            "RUNNING, open-ended, empty",
            with_campaign(OpenEnded, &[], start),
        ),
        (
            "RUNNING, open-ended, all jobs done",
            with_campaign(OpenEnded, &[J1], |s| finish(s, Ending::Complete)),
        ),
        (
            "PAUSED with the queue",
            with_campaign(Closed, &[J1], |s| {
                start(s);
                trip_openai(s);
            }),
        ),
        (
            "PAUSED by hand",
            with_campaign(Closed, &[J1], |s| {
                start(s);
                s.does(Command::PauseCampaign { campaign: C1 });
            }),
        ),
        (
            "COMPLETED",
            with_campaign(Closed, &[J1], |s| finish(s, Ending::Complete)),
        ),
        (
            "FAILED",
            with_campaign(Closed, &[J1], |s| finish(s, Ending::FailPermanent)),
        ),
        (
            "CANCELLED",
            with_campaign(Closed, &[J1], |s| {
                start(s);
                s.does(Command::CancelCampaign { campaign: C1 });
            }),
        ),
    ]);
    table.row("start", &ada(), |_| Command::StartCampaign { campaign: C1 });
    table.row("pause", &ada(), |_| Command::PauseCampaign { campaign: C1 });
    table.row("close", &ada(), |_| Command::CloseCampaign { campaign: C1 });
    table.row("cancel", &ada(), |_| Command::CancelCampaign {
        campaign: C1,
    });
    table.row("delete", &ada(), |_| Command::DeleteCampaign {
        campaign: C1,
    });
    table.row("settle", &By::SYSTEM, |_| Command::SettleCampaign {
        campaign: C1,
    });
    table.row("add a job", &ada(), |_| Command::Enqueue {
        campaign: C1,
        jobs: vec![NewJob::new(J2)],
    });
    table.row("cancel its job J1", &ada(), |_| Command::CancelJob {
        job: J1,
    });
    table.row("pause its job J1", &ada(), |_| Command::PauseJob {
        job: J1,
    });
    insta::assert_snapshot!(table.text);
}

/// The states of J1 in C1, which has a second job to keep it from settling.
fn job_states() -> Vec<(&'static str, Scene)> {
    let made = |then: &dyn Fn(&mut Scene)| {
        let mut scene = Scene::new();
        scene.campaign(C1, Intake::Closed, &[J1, J2]);
        scene.register(W1);
        scene.register(W2);
        then(&mut scene);
        scene
    };
    let claimed = |then: &dyn Fn(&mut Scene)| {
        made(&|s| {
            start(s);
            s.claims(W1, J1);
            then(s);
        })
    };
    let ended = |ending: Ending| {
        claimed(&|s| {
            s.does(end(J1, token(1), ending.clone()));
        })
    };
    let sweep = |s: &mut Scene| {
        s.now += 30;
        s.does(Command::Heartbeat { session: W2 });
        s.does(Command::Sweep);
    };
    vec![
        ("PENDING in a CREATED campaign", made(&|_| {})),
        ("PENDING", made(&start)),
        (
            "PENDING, swept",
            claimed(&|s| {
                s.now += 20;
                s.does(Command::Heartbeat { session: W2 });
                s.now -= 20;
                sweep(s);
            }),
        ),
        ("PROCESSING", claimed(&|_| {})),
        (
            "PAUSED with the queue, PENDING",
            made(&|s| {
                start(s);
                trip_openai(s);
            }),
        ),
        ("PAUSED with the queue, PROCESSING", claimed(&trip_openai)),
        (
            "PAUSED by hand, PROCESSING",
            claimed(&|s| {
                s.does(Command::PauseJob { job: J1 });
            }),
        ),
        ("COMPLETED", ended(Ending::Complete)),
        ("FAILED", ended(Ending::FailPermanent)),
        (
            "CANCELLED",
            made(&|s| {
                start(s);
                s.does(Command::CancelJob { job: J1 });
            }),
        ),
        (
            "CANCELLED, lease alive",
            claimed(&|s| {
                s.does(Command::CancelJob { job: J1 });
            }),
        ),
        (
            "CANCELLED with its campaign, leased",
            claimed(&|s| {
                s.does(Command::CancelCampaign { campaign: C1 });
            }),
        ),
        (
            "FAILED in a CANCELLED campaign",
            claimed(&|s| {
                s.does(end(J1, token(1), Ending::FailPermanent));
                s.does(Command::CancelCampaign { campaign: C1 });
            }),
        ),
    ]
}

#[test]
fn r21_r24_r26_job_every_state_and_command() {
    let mut table = Table::new(job_states());
    table.row("claim, by W2", &worker(), |_| Command::ClaimJob {
        session: W2,
        job: J1,
    });
    table.row("pause", &ada(), |_| Command::PauseJob { job: J1 });
    table.row("cancel", &ada(), |_| Command::CancelJob { job: J1 });
    table.row("retry", &ada(), |_| Command::RetryJob { job: J1 });
    table.row("cancel its campaign", &ada(), |_| Command::CancelCampaign {
        campaign: C1,
    });
    table.row("expire its lease", &ada(), |_| Command::ExpireLease {
        job: J1,
    });
    table.row("expire its lease, by automation", &automation(), |_| {
        Command::ExpireLease { job: J1 }
    });
    table.row("sweep, W1 alive", &By::SYSTEM, |_| Command::Sweep);
    for (_, scene) in &mut table.states {
        scene.now += 100;
    }
    table.row("sweep, all sessions expired", &By::SYSTEM, |_| {
        Command::Sweep
    });
    table.row("retry, all sessions expired", &ada(), |_| {
        Command::RetryJob { job: J1 }
    });
    insta::assert_snapshot!(table.text);
}

#[test]
fn r24_session_every_state_and_command() {
    let mut table = Table::new(vec![
        (
            "alive, holding J1",
            running(|s| {
                s.claims(W1, J1);
            }),
        ),
        (
            "alive, holding J1, which is PAUSED",
            running(|s| {
                s.claims(W1, J1);
                s.does(Command::PauseJob { job: J1 });
            }),
        ),
        (
            "alive, holding J1, which is CANCELLED",
            running(|s| {
                s.claims(W1, J1);
                s.does(Command::CancelJob { job: J1 });
            }),
        ),
        (
            "expired, holding J1",
            running(|s| {
                s.claims(W1, J1);
                s.now += 30;
            }),
        ),
        (
            "swept",
            running(|s| {
                s.claims(W1, J1);
                s.now += 30;
                s.does(Command::Sweep);
            }),
        ),
        (
            "swept, then the clock stepped back",
            running(|s| {
                s.claims(W1, J1);
                s.now += 30;
                s.does(Command::Sweep);
                s.now -= 30;
            }),
        ),
        (
            "deregistered",
            running(|s| {
                s.claims(W1, J1);
                s.does(Command::Deregister { session: W1 });
            }),
        ),
        ("unknown", Scene::new()),
    ]);
    let register = |services: &[&str]| Command::Register {
        session: W2,
        name: andon::ActorName::new("w2").unwrap(),
        services: services.iter().map(|name| service(name)).collect(),
        lease: LEASE,
    };
    table.row("heartbeat", &worker(), |_| Command::Heartbeat {
        session: W1,
    });
    table.row("claim", &worker(), |_| Command::Claim {
        session: W1,
        limit: 1,
    });
    table.row("deregister", &worker(), |_| Command::Deregister {
        session: W1,
    });
    table.row("sweep", &By::SYSTEM, |_| Command::Sweep);
    table.row("register anew", &worker(), |_| register(&["openai"]));
    table.row("register for an unknown service", &worker(), |_| {
        register(&["opemai"])
    });
    insta::assert_snapshot!(table.text);
}

/// The states of J1 as the holder of token 1 finds it.
fn report_states() -> Vec<(&'static str, Scene)> {
    let kept = [
        "PROCESSING",
        "PENDING, swept",
        "PAUSED with the queue, PROCESSING",
        "CANCELLED, lease alive",
        "CANCELLED with its campaign, leased",
    ];
    let mut states: Vec<(&'static str, Scene)> = job_states()
        .into_iter()
        .filter(|(name, _)| kept.contains(name))
        .collect();
    let swept = states
        .iter()
        .find(|(name, _)| *name == "PENDING, swept")
        .map(|(_, scene)| scene.clone())
        .unwrap();
    let mut claimed_again = swept;
    claimed_again.claims(W2, J1);
    states.push(("swept, claimed again by W2", claimed_again));
    let processing = states[1].1.clone();
    assert_eq!(processing.job(J1), andon::JobStatus::Processing);
    let after = |ending: Ending| {
        let mut scene = processing.clone();
        scene.does(end(J1, token(1), ending));
        scene
    };
    states.push(("COMPLETED under it", after(Ending::Complete)));
    states.push(("released under it", after(Ending::Release)));
    let mut retried = processing.clone();
    retried.does(Command::CancelJob { job: J1 });
    retried.does(end(J1, token(1), Ending::Complete));
    retried.does(Command::RetryJob { job: J1 });
    states.push(("cancelled, ended, retried", retried));
    states
}

#[test]
fn r22_r25_r34_report_every_state_and_command() {
    let mut table = Table::new(report_states());
    let ends = |ending: Ending| move |_: &Scene| end(J1, token(1), ending.clone());
    table.row("complete", &worker(), ends(Ending::Complete));
    table.row("complete, spawning J3", &worker(), |_| {
        complete_and_spawn(J1, token(1), vec![NewJob::new(J3)])
    });
    table.row("service error, current version", &worker(), |s| {
        end(J1, token(1), service_error(J1, s.version()))
    });
    table.row("service error, version 0", &worker(), |_| {
        end(J1, token(1), service_error(J1, version(0)))
    });
    table.row("service error of an unknown service", &worker(), |_| {
        let mut ending = service_error(J1, version(1));
        if let Ending::FailService { report, .. } = &mut ending {
            report.service = service("opemai");
        }
        end(J1, token(1), ending)
    });
    let retry_after = None;
    table.row(
        "other retryable error",
        &worker(),
        ends(Ending::FailRetryable { retry_after }),
    );
    table.row("permanent error", &worker(), ends(Ending::FailPermanent));
    table.row("release", &worker(), ends(Ending::Release));
    let delay = std::time::Duration::from_mins(5);
    table.row("snooze 5 min", &worker(), ends(Ending::Snooze { delay }));
    let calls = |outcome: CallOutcome| {
        move |s: &Scene| Command::CallReport {
            job: J1,
            token: token(1),
            call: call(1),
            service: openai(),
            outcome: outcome.clone(),
            version: Some(s.version()),
        }
    };
    table.row("call-report, failure", &worker(), calls(failure()));
    table.row(
        "call-report, success",
        &worker(),
        calls(CallOutcome::Success),
    );
    table.row("record a step", &worker(), |_| Command::RecordStep {
        job: J1,
        token: token(1),
        step: step_name("write_copy"),
        result: "copy".into(),
    });
    table.row("complete, under a token never given", &worker(), |_| {
        end(J1, token(9), Ending::Complete)
    });
    insta::assert_snapshot!(table.text);
}

/// The table "Commands in states that the rules above leave open" of section 6, row by row.
#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one entry for each cell of the table"
)]
fn section_6_commands_in_states_that_the_rules_leave_open() {
    use Intake::{Closed, OpenEnded};
    let mut text = String::new();
    let mut row = |command: &str, cells: Vec<(&str, Scene, By, Command)>| {
        let _ = writeln!(text, "{command}");
        for (state, mut scene, by, command) in cells {
            let outcome = outcome_in_words(&mut scene, &by, command);
            let _ = writeln!(text, "    {state:<38} {outcome}");
        }
        text.push('\n');
    };
    let created = || with_campaign(Closed, &[J1], |_| {});
    let started = || with_campaign(Closed, &[J1], start);
    let completed = || with_campaign(Closed, &[J1], |s| finish(s, Ending::Complete));
    let failed = || with_campaign(Closed, &[J1], |s| finish(s, Ending::FailPermanent));
    let claimed = || {
        running(|s| {
            s.claims(W1, J1);
        })
    };
    let (start_c1, cancel_c1) = (
        Command::StartCampaign { campaign: C1 },
        Command::CancelCampaign { campaign: C1 },
    );
    let close_c1 = Command::CloseCampaign { campaign: C1 };
    let (retry, cancel) = (
        Command::RetryJob { job: J1 },
        Command::CancelJob { job: J1 },
    );
    let cancelled = || {
        let mut scene = started();
        scene.does(Command::CancelCampaign { campaign: C1 });
        scene
    };
    row("start", vec![("not CREATED", started(), ada(), start_c1)]);
    let mut paused = started();
    paused.does(Command::PauseQueue);
    row(
        "cancel campaign",
        vec![
            ("CREATED", created(), ada(), cancel_c1.clone()),
            ("RUNNING", started(), ada(), cancel_c1.clone()),
            ("RUNNING, paused", paused.clone(), ada(), cancel_c1.clone()),
            ("COMPLETED", completed(), ada(), cancel_c1.clone()),
            ("FAILED", failed(), ada(), cancel_c1.clone()),
            ("CANCELLED", cancelled(), ada(), cancel_c1),
        ],
    );
    row(
        "close",
        vec![
            (
                "CREATED",
                with_campaign(OpenEnded, &[], |_| {}),
                ada(),
                close_c1.clone(),
            ),
            ("not open-ended", started(), ada(), close_c1.clone()),
            ("final", completed(), ada(), close_c1),
        ],
    );
    let mut created_cancelled = created();
    created_cancelled.does(Command::CancelJob { job: J1 });
    row(
        "retry job",
        vec![
            ("PENDING", started(), ada(), retry.clone()),
            ("PROCESSING", claimed(), ada(), retry.clone()),
            ("PAUSED", paused, ada(), retry.clone()),
            ("COMPLETED", completed(), ada(), retry.clone()),
            ("job in a CREATED campaign", created_cancelled, ada(), retry),
        ],
    );
    row(
        "cancel job",
        vec![
            ("final", failed(), ada(), cancel.clone()),
            ("in a CREATED campaign", created(), ada(), cancel.clone()),
            ("last unfinished job", started(), ada(), cancel),
        ],
    );
    let open = |name: &str| Command::OpenBreaker {
        service: service(name),
    };
    row(
        "open by hand",
        vec![
            ("unknown", Scene::new(), ada(), open("opemai")),
            (
                "retired service",
                running(retire_openai),
                ada(),
                open("openai"),
            ),
        ],
    );
    let tick = |then: fn(&mut Scene)| {
        let mut scene = with_cool_down(then);
        scene.now += 1000;
        scene
    };
    row(
        "tick",
        vec![
            ("CLOSED", tick(|_| {}), By::SYSTEM, Command::Tick),
            (
                "HALF_OPEN",
                tick(half_open_openai),
                By::SYSTEM,
                Command::Tick,
            ),
            ("held", tick(open_openai), By::SYSTEM, Command::Tick),
        ],
    );
    let mut expired = claimed();
    expired.now += 30;
    let mut swept = expired.clone();
    swept.does(Command::Sweep);
    let mut deregistered = claimed();
    deregistered.does(Command::Deregister { session: W1 });
    let claim = Command::Claim {
        session: W1,
        limit: 1,
    };
    let beat = Command::Heartbeat { session: W1 };
    for (name, command) in [("claim", claim), ("heartbeat", beat)] {
        row(
            name,
            vec![
                (
                    "session expired",
                    expired.clone(),
                    worker(),
                    command.clone(),
                ),
                ("swept", swept.clone(), worker(), command.clone()),
                ("deregistered", deregistered.clone(), worker(), command),
            ],
        );
    }
    let mut job_cancelled = claimed();
    job_cancelled.does(Command::CancelJob { job: J1 });
    let mut stale = swept.clone();
    stale.register(W2);
    stale.claims(W2, J1);
    let mut ended = claimed();
    ended.does(end(J1, token(1), Ending::Complete));
    for (name, outcome) in [
        ("call-report, failure", failure()),
        ("call-report, success", CallOutcome::Success),
    ] {
        let command = Command::CallReport {
            job: J1,
            token: token(1),
            call: call(1),
            service: openai(),
            outcome,
            version: Some(version(1)),
        };
        row(
            name,
            vec![
                (
                    "job CANCELLED",
                    job_cancelled.clone(),
                    worker(),
                    command.clone(),
                ),
                ("token stale", stale.clone(), worker(), command.clone()),
                ("token ended", ended.clone(), worker(), command),
            ],
        );
    }
    let spawning = complete_and_spawn(J1, token(1), vec![NewJob::new(J3)]);
    let mut campaign_paused = claimed();
    campaign_paused.does(Command::PauseCampaign { campaign: C1 });
    row(
        "complete with spawn",
        vec![
            ("swept token still good", swept, worker(), spawning.clone()),
            ("campaign PAUSED", campaign_paused, worker(), spawning),
        ],
    );
    insta::assert_snapshot!(text);
}
