//! Cases from the field: public bug reports of job queues and circuit breakers, as scenarios for the
//! rules. The ids B… and Q… are those of the list of cases.

#![expect(
    clippy::panic,
    reason = "a test that cannot go on must fail; the lints know only functions marked as tests"
)]

mod kit;

use std::time::Duration;

use andon::breaker::Hold;
use andon::cause::Holder;
use andon::job::{Sweeping, back_off};
use andon::line::{Enqueued, NewJob, Outcome, Payload};
use andon::permit::{Standing, permit};
use andon::{
    Acknowledging, AnyCampaign, AnyJob, By, CallOutcome, CampaignStage, CampaignStatus, CauseChain,
    CircuitState, Command, Confirmation, Ended, Ending, Epoch, Gate, GateRecord, Intake, JobCounts,
    JobId, JobRecord, JobStage, JobStatus, Monotonic, PermitRequest, Priority, QueueState, Refusal,
    Report, Reporter, Token, UniqueKey, Verdict,
};
use kit::*;

/// The job part and the verdict of an accepted command that ends a lease.
fn ended(outcome: Outcome) -> (Result<Ended, Refusal>, Option<Verdict>) {
    let Outcome::Ended(reply) = outcome else {
        panic!("{outcome:?}");
    };
    (reply.answer.job, reply.answer.verdict)
}

fn is_stale(outcome: Outcome) -> bool {
    matches!(ended(outcome).0, Err(Refusal::StaleLease { .. }))
}

#[test]
fn case_b1_an_error_that_is_not_the_services_ends_the_lease_and_leaves_the_breaker() {
    let retryable = Ending::FailRetryable { retry_after: None };
    for (ending, status) in [
        (Ending::FailPermanent, JobStatus::Failed),
        (retryable, JobStatus::Pending),
    ] {
        let mut scene = Scene::new().running();
        let token = scene.claims(W1, J1);
        let (gate, entries) = (scene.line.gate().clone(), scene.line.journal().len());
        scene.does(end(J1, token, ending));
        assert_eq!(scene.job(J1), status);
        assert_eq!(scene.line.job(J1).unwrap().holder(), None);
        assert_eq!(*scene.line.gate(), gate);
        let of_gate = |entry: &andon::Entry| matches!(entry.event, andon::Event::Gate { .. });
        assert!(!scene.line.journal()[entries..].iter().any(of_gate));
    }
}

#[test]
fn case_b2_nothing_starts_in_half_open_and_it_half_opens_once() {
    let mut scene = Scene::with(settings(1, Some(COOL_DOWN))).running();
    scene.campaign(C2, Intake::Closed, &[J2]);
    scene.openai_fails();
    scene.now += 60;
    scene.register(W2);
    for _ in 0..10 {
        scene.does(Command::Tick);
    }
    let half_opened = scene.journal_from(0);
    let count = half_opened.iter().filter(|k| **k == "breaker_half_opened");
    assert_eq!(count.count(), 1);
    assert!(scene.claims_all(W2).is_empty());
    assert_eq!(
        scene.refused(Command::StartCampaign { campaign: C2 }),
        "Cannot start: the queue is paused; Circuit breaker openai is half-open"
    );
    assert_eq!(
        scene.refused(resume()),
        "Cannot resume: Circuit breaker openai is half-open"
    );
}

#[test]
fn case_b3_a_breaker_held_by_hand_yields_to_no_timer_and_no_success() {
    let mut scene = Scene::with(settings(1, Some(COOL_DOWN))).running();
    scene.openai_fails();
    scene.now += 10;
    scene.does(Command::OpenBreaker { service: openai() });
    scene.now += 60;
    scene.does(Command::Tick);
    scene.now += 1;
    let seen = Some(scene.version());
    scene.does(Command::Report {
        service: openai(),
        outcome: CallOutcome::Success,
        version: seen,
    });
    assert_eq!(scene.breaker(&openai()).0, CircuitState::Open);
    assert_eq!(scene.queue(), QueueState::Paused);
    // D3: it is shown who holds it, beside what opened it.
    let chain = scene.line.campaign_causes(C1).unwrap().to_string();
    assert!(chain.contains("by breaker openai, opened by hand, by operator ada"));
    assert!(chain.contains("health check"));
    scene.resets_openai();
    assert_eq!(scene.breaker(&openai()).0, CircuitState::Closed);
    assert_eq!(scene.queue(), QueueState::Paused);
}

#[test]
fn case_b4_the_cool_down_runs_from_the_current_opening() {
    let mut scene = Scene::with(settings(1, Some(COOL_DOWN))).running();
    scene.openai_fails();
    scene.now = 10;
    scene.resets_openai();
    scene.resumes();
    scene.now = 50;
    scene.openai_fails();
    scene.now = 61;
    scene.does(Command::Tick);
    assert_eq!(scene.breaker(&openai()).0, CircuitState::Open);
    scene.now = 110;
    scene.does(Command::Tick);
    assert_eq!(scene.breaker(&openai()).0, CircuitState::HalfOpen);
}

#[test]
fn case_b5_a_stale_failure_is_told_so_tallied_once_and_gives_the_attempt_back() {
    let mut scene = Scene::new().running();
    let token = scene.claims(W1, J1);
    let permit = scene.version();
    scene.openai_fails();
    scene.resets_openai();
    scene.resumes();
    let late = end(J1, token, service_error(J1, permit));
    let (job, verdict) = ended(scene.does(late.clone()));
    assert!(job.is_ok());
    assert_eq!(verdict, Some(Verdict::Stale));
    assert_eq!(scene.breaker(&openai()), (CircuitState::Closed, 0));
    assert_eq!(scene.job(J1), JobStatus::Pending);
    assert_eq!(scene.line.job(J1).unwrap().attempt(), 0);
    assert!(matches!(scene.does(late), Outcome::EndedBefore(_)));
    let tallied: Vec<u64> = scene.line.tallies().values().map(|t| t.count).collect();
    assert_eq!(tallied, [1]);
    // A new call takes a new permit, and its failure opens the breaker.
    scene.now += 1;
    let token = scene.claims(W1, J1);
    let permit = scene.version();
    let (_, verdict) = ended(scene.does(end(J1, token, service_error(J1, permit))));
    assert_eq!(verdict, Some(Verdict::Opened));
}

#[test]
fn case_b6_cancelled_calls_neither_count_nor_clear_a_count() {
    let mut scene = Scene::with(settings(3, None));
    let jobs: Vec<JobId> = (1..=20).map(JobId::from_u128).collect();
    scene.campaign(C1, Intake::Closed, &jobs);
    scene.does(Command::StartCampaign { campaign: C1 });
    scene.register(W1);
    scene.openai_fails();
    scene.openai_fails();
    for lease in scene.claims_all(W1) {
        scene.does(end(lease.job, lease.token, Ending::Release));
    }
    for job in jobs {
        assert_eq!(scene.job(job), JobStatus::Pending);
        assert_eq!(scene.line.job(job).unwrap().attempt(), 0);
    }
    assert_eq!(scene.breaker(&openai()), (CircuitState::Closed, 2));
    assert_eq!(scene.queue(), QueueState::Active);
}

#[test]
fn case_b7_of_six_failures_at_once_one_opens_and_five_give_their_attempts_back() {
    let mut scene = Scene::new();
    let jobs: Vec<JobId> = (1..=6).map(JobId::from_u128).collect();
    scene.campaign(C1, Intake::Closed, &jobs);
    scene.does(Command::StartCampaign { campaign: C1 });
    scene.register(W1);
    let leases = scene.claims_all(W1);
    let permit = scene.version();
    let entries = scene.line.journal().len();
    let mut verdicts = vec![];
    for lease in &leases {
        let failed = end(lease.job, lease.token, service_error(lease.job, permit));
        verdicts.push(ended(scene.does(failed)).1);
    }
    assert_eq!(verdicts[0], Some(Verdict::Opened));
    assert!(verdicts[1..].iter().all(|v| *v == Some(Verdict::Stale)));
    assert_eq!(
        scene.journal_from(entries),
        ["breaker_opened", "queue_paused"]
    );
    let first = scene
        .line
        .gate()
        .breaker(&openai())
        .unwrap()
        .opening()
        .cloned();
    let first = first.unwrap().origin.describe();
    assert!(first.contains(&leases[0].job.to_string()), "{first}");
    let attempts: Vec<u32> = jobs
        .iter()
        .map(|job| scene.line.job(*job).unwrap().attempt())
        .collect();
    assert_eq!(attempts, [1, 0, 0, 0, 0, 0]);
}

#[test]
fn case_b8_a_success_that_began_before_the_opening_closes_nothing() {
    let mut scene = Scene::new();
    scene.campaign(C1, Intake::Closed, &[J1, J2]);
    scene.does(Command::StartCampaign { campaign: C1 });
    scene.register(W1);
    let (first, second) = (scene.claims(W1, J1), scene.claims(W1, J2));
    let permit = scene.version();
    scene.does(end(J1, first, service_error(J1, permit)));
    let success = |version| Command::Report {
        service: openai(),
        outcome: CallOutcome::Success,
        version,
    };
    scene.does(Command::CallReport {
        job: J2,
        token: second,
        call: call(1),
        service: openai(),
        outcome: CallOutcome::Success,
        version: Some(permit),
    });
    scene.does(end(J2, second, Ending::Complete));
    scene.does(success(Some(permit)));
    scene.does(success(None));
    assert_eq!(scene.job(J2), JobStatus::Completed);
    assert_eq!(scene.line.result(J2, second), Some("a result"));
    assert_eq!(scene.breaker(&openai()).0, CircuitState::Open);
    assert_eq!(scene.queue(), QueueState::Paused);
}

#[test]
fn case_b9_successes_on_a_closed_breaker_write_nothing_and_a_reset_says_it_was_closed() {
    let mut scene = Scene::new().running();
    let line = scene.line.clone();
    for _ in 0..1_000 {
        let version = Some(scene.version());
        scene
            .line
            .execute(
                &worker(),
                Command::Report {
                    service: openai(),
                    outcome: CallOutcome::Success,
                    version,
                },
                at(scene.now),
            )
            .unwrap();
    }
    assert!(scene.line == line);
    let since = scene.line.gate().breaker(&openai()).unwrap().since();
    let reset = Command::ResetBreaker { service: openai() };
    let now = at(scene.now);
    let first = scene.line.execute_once("key", &ada(), reset.clone(), now);
    let Ok(Outcome::Reset(outcome)) = &first else {
        panic!("{first:?}");
    };
    assert_eq!(outcome.was, CircuitState::Closed);
    assert_eq!(scene.line.gate().breaker(&openai()).unwrap().since(), since);
    let line = scene.line.clone();
    assert_eq!(scene.line.execute_once("key", &ada(), reset, now), first);
    assert!(scene.line == line);
}

#[test]
fn case_b10_starting_again_with_the_same_configuration_changes_nothing() {
    let mut scene = Scene::new().running();
    scene.openai_fails();
    let line = scene.line.clone();
    scene.now += 1_000;
    scene.does(Command::Configure {
        services: [
            (openai(), settings(1, None)),
            (service("apollo"), settings(1, None)),
        ]
        .into(),
    });
    assert!(scene.line == line);
}

#[test]
fn case_b12_a_call_that_never_ends_holds_nothing_for_ever() {
    let mut scene = Scene::new().running();
    let token = scene.claims(W1, J1);
    scene.now += 30;
    scene.does(Command::Sweep);
    assert_eq!(scene.job(J1), JobStatus::Pending);
    assert_eq!(scene.line.job(J1).unwrap().attempt(), 1);
    assert_eq!(scene.breaker(&openai()), (CircuitState::Closed, 0));
    let mut claimed_again = scene.clone();
    claimed_again.register(W2);
    claimed_again.claims(W2, J1);
    assert!(is_stale(claimed_again.does(end(
        J1,
        token,
        Ending::Complete
    ))));
    let kept: Vec<&str> = claimed_again.line.kept(J1, token).collect();
    assert_eq!(kept, ["a result"]);
    assert!(
        ended(scene.does(end(J1, token, Ending::Complete)))
            .0
            .is_ok()
    );
    assert_eq!(scene.job(J1), JobStatus::Completed);
}

#[test]
fn case_b13_a_clock_that_steps_revives_no_session_and_resumes_nothing() {
    let noon = 12 * 3600;
    let mut scene = Scene::with(settings(1, Some(COOL_DOWN)));
    scene.now = noon;
    scene.campaign(C1, Intake::Closed, &[J1]);
    scene.does(Command::StartCampaign { campaign: C1 });
    scene.register(W1);
    let token = scene.claims(W1, J1);
    scene.openai_fails();
    scene.now = noon - 3600;
    scene.does(Command::Tick);
    scene.does(Command::Heartbeat { session: W1 });
    scene.does(Command::Sweep);
    assert_eq!(scene.line.job(J1).unwrap().holder(), Some(W1));
    assert_eq!(scene.breaker(&openai()).0, CircuitState::Open);
    scene.now = noon + 5400;
    scene.does(Command::Tick);
    scene.does(Command::Sweep);
    assert_eq!(scene.breaker(&openai()).0, CircuitState::HalfOpen);
    assert_eq!(scene.queue(), QueueState::Paused);
    // The session has ended: stepping back again does not bring it back.
    scene.now = noon;
    scene.refused(Command::Heartbeat { session: W1 });
    scene.resets_openai();
    scene.resumes();
    scene.now = noon + 5400;
    scene.register(W2);
    assert!(scene.claims(W2, J1) > token);
    assert!(is_stale(scene.does(end(J1, token, Ending::Complete))));
}

#[test]
fn case_b14_retried_late_added_and_swept_jobs_are_all_paused_with_the_line() {
    let mut scene = Scene::new();
    let failed: Vec<JobId> = (1..=5).map(JobId::from_u128).collect();
    scene.campaign(C1, Intake::OpenEnded, &failed);
    scene.does(Command::StartCampaign { campaign: C1 });
    scene.register(W1);
    for lease in scene.claims_all(W1) {
        scene.does(end(lease.job, lease.token, Ending::FailPermanent));
    }
    let delayed = (6..=8).map(|id| {
        let mut job = NewJob::new(JobId::from_u128(id));
        job.run_at = Some(at(20));
        job
    });
    let held = NewJob::new(JobId::from_u128(9));
    let jobs = delayed.chain([held]).collect();
    scene.does(Command::Enqueue { campaign: C1, jobs });
    scene.claims(W1, JobId::from_u128(9));
    scene.openai_fails();
    for job in &failed {
        scene.does(Command::RetryJob { job: *job });
    }
    let added = (10..=11)
        .map(|id| NewJob::new(JobId::from_u128(id)))
        .collect();
    scene.does(Command::Enqueue {
        campaign: C1,
        jobs: added,
    });
    scene.now = 40;
    scene.does(Command::Sweep);
    scene.register(W2);
    let all: Vec<JobId> = (1..=11).map(JobId::from_u128).collect();
    let chain = scene.line.job_causes(all[0]).unwrap();
    for job in &all {
        assert_eq!(scene.job(*job), JobStatus::Paused);
        assert_eq!(scene.line.job_causes(*job), Some(chain.clone()));
    }
    assert!(scene.claims_all(W2).is_empty());
    scene.resets_openai();
    scene.resumes();
    let mut claimed: Vec<JobId> = scene.claims_all(W2).iter().map(|l| l.job).collect();
    claimed.sort();
    assert_eq!(claimed, all);
}

#[test]
fn case_b16_a_changed_configuration_keeps_state_count_and_since() {
    let mut scene = Scene::with(settings(3, None)).running();
    scene.openai_fails();
    scene.openai_fails();
    let since = scene.line.gate().breaker(&openai()).unwrap().since();
    let declare = |threshold| Command::Configure {
        services: [
            (openai(), settings(threshold, None)),
            (service("apollo"), settings(1, None)),
        ]
        .into(),
    };
    for threshold in [5, 1] {
        scene.does(declare(threshold));
        let breaker = scene.line.gate().breaker(&openai()).unwrap();
        assert_eq!(scene.breaker(&openai()), (CircuitState::Closed, 2));
        assert_eq!(breaker.since(), since);
        assert_eq!(scene.queue(), QueueState::Active);
    }
    scene.openai_fails();
    assert_eq!(scene.breaker(&openai()).0, CircuitState::Open);
    // Removed while OPEN: it goes on blocking.
    scene.does(Command::Configure {
        services: [(service("apollo"), settings(1, None))].into(),
    });
    assert_eq!(
        scene.refused(resume()),
        "Cannot resume: Circuit breaker openai is open"
    );
    scene.resets_openai();
    scene.resumes();
    scene.refused(Command::OpenBreaker { service: openai() });
}

#[test]
fn case_q1_a_job_made_due_during_a_pause_is_there_after_the_resume() {
    let mut scene = Scene::new();
    let mut later = NewJob::new(J3);
    later.run_at = Some(at(3_600));
    scene.campaign(C1, Intake::Closed, &[J1, J2]);
    scene.does(Command::Enqueue {
        campaign: C1,
        jobs: vec![later],
    });
    scene.does(Command::StartCampaign { campaign: C1 });
    scene.openai_fails();
    scene.now = 3_600;
    scene.resets_openai();
    let entries = scene.line.journal().len();
    scene.resumes();
    assert_eq!(scene.journal_from(entries), ["queue_resumed"]);
    scene.register(W1);
    assert_eq!(scene.claims_all(W1).len(), 3);
}

#[test]
fn case_q2_jobs_retried_during_a_pause_wait_for_the_resume_and_run_once() {
    let mut scene = Scene::new();
    let jobs: Vec<JobId> = (1..=15).map(JobId::from_u128).collect();
    scene.campaign(C1, Intake::Closed, &jobs);
    scene.does(Command::StartCampaign { campaign: C1 });
    scene.register(W1);
    for job in &jobs[..5] {
        let token = scene.claims(W1, *job);
        scene.does(end(*job, token, Ending::FailPermanent));
    }
    scene.openai_fails();
    for job in &jobs[..5] {
        scene.does(Command::RetryJob { job: *job });
        assert_eq!(scene.job(*job), JobStatus::Paused);
    }
    scene.register(W2);
    assert!(scene.claims_all(W1).is_empty() && scene.claims_all(W2).is_empty());
    scene.resets_openai();
    scene.resumes();
    assert_eq!(scene.claims_all(W1).len(), 15);
    assert!(scene.claims_all(W2).is_empty());
}

#[test]
fn case_q4_work_that_ends_during_a_pause_leaves_the_pause_as_it_is() {
    let mut scene = Scene::new().running();
    let token = scene.claims(W1, J1);
    scene.does(Command::PauseCampaign { campaign: C1 });
    let causes = scene.line.campaign_causes(C1);
    scene.does(complete_and_spawn(J1, token, vec![NewJob::new(J2)]));
    assert_eq!(scene.job(J1), JobStatus::Completed);
    assert_eq!(scene.job(J2), JobStatus::Paused);
    assert_eq!(scene.campaign_is(C1), CampaignStatus::Paused);
    assert_eq!(scene.line.campaign_causes(C1), causes);
    scene.resumes();
    assert_eq!(scene.job(J2), JobStatus::Pending);
}

#[test]
fn case_q5_a_deploy_sets_nothing_going() {
    let mut scene = Scene::new().running();
    scene.openai_fails();
    let queue = scene.line.gate().queue().cause().cloned();
    let epoch = scene.line.gate().epoch();
    scene.now += 100;
    scene.does(Command::Configure {
        services: [
            (openai(), settings(5, Some(COOL_DOWN))),
            (service("apollo"), settings(1, None)),
            (service("instantly"), settings(1, None)),
        ]
        .into(),
    });
    assert_eq!(scene.queue(), QueueState::Paused);
    assert_eq!(scene.line.gate().queue().cause().cloned(), queue);
    assert_eq!(scene.line.gate().epoch(), epoch);
    scene.register(W2);
    assert!(scene.claims_all(W2).is_empty());
}

#[test]
fn case_q6_a_sweep_that_comes_too_late_changes_no_finished_job() {
    let mut scene = Scene::new().running();
    let token = scene.claims(W1, J1);
    scene.now += 30;
    scene.does(end(J1, token, Ending::Complete));
    let completed = scene.line.job(J1).cloned();
    scene.does(Command::Sweep);
    assert_eq!(scene.line.job(J1).cloned(), completed);
    // Released and claimed by another before the sweep: the new lease stands.
    let mut scene = Scene::new().running();
    let token = scene.claims(W1, J1);
    scene.now += 30;
    scene.does(end(J1, token, Ending::Release));
    scene.register(W2);
    scene.claims(W2, J1);
    scene.does(Command::Sweep);
    assert_eq!(scene.line.job(J1).unwrap().holder(), Some(W2));
}

#[test]
fn case_q7_the_sweep_needs_no_active_line() {
    let mut scene = Scene::new().running();
    scene.claims(W1, J1);
    scene.openai_fails();
    scene.now += 30;
    scene.does(Command::Sweep);
    assert_eq!(scene.line.job(J1).unwrap().holder(), None);
    assert_eq!(scene.job(J1), JobStatus::Paused);
}

#[test]
fn case_q8_a_holder_that_lost_its_lease_writes_nothing_onto_the_job() {
    let mut scene = Scene::new().running();
    let old = scene.claims(W1, J1);
    scene.now += 30;
    scene.does(Command::Sweep);
    scene.register(W2);
    let new = scene.claims(W2, J1);
    let job = scene.line.job(J1).cloned();
    scene.refused(Command::Heartbeat { session: W1 });
    let retryable = Ending::FailRetryable { retry_after: None };
    assert!(is_stale(scene.does(end(J1, old, retryable))));
    assert!(is_stale(scene.does(complete_and_spawn(
        J1,
        old,
        vec![NewJob::new(J2)]
    ))));
    scene.does(Command::RecordStep {
        job: J1,
        token: old,
        step: step_name("write_copy"),
        result: "late".into(),
    });
    assert_eq!(scene.line.job(J1).cloned(), job);
    assert_eq!(scene.line.job(J2), None);
    assert_eq!(scene.line.step(J1, &step_name("write_copy")), None);
    assert!(ended(scene.does(end(J1, new, Ending::Complete))).0.is_ok());
}

#[test]
fn case_q9_a_unique_key_is_held_by_one_job_whatever_its_stage() {
    let mut scene = Scene::new();
    scene.campaign(C1, Intake::OpenEnded, &[]);
    let keyed = |id: JobId, payload: &str| {
        let mut job = NewJob::new(id);
        job.unique_key = Some(UniqueKey::new("lead 7").unwrap());
        job.payload = payload.into();
        Command::Enqueue {
            campaign: C1,
            jobs: vec![job],
        }
    };
    scene.does(keyed(J1, "one"));
    scene.does(Command::StartCampaign { campaign: C1 });
    scene.register(W1);
    let token = scene.claims(W1, J1);
    scene.does(end(J1, token, Ending::Complete));
    for (payload, same) in [("one", Payload::Same), ("two", Payload::Differs)] {
        let existed = Enqueued::Existed {
            job: J1,
            stage: andon::JobStage::Completed,
            payload: same,
        };
        assert_eq!(
            scene.does(keyed(J2, payload)),
            Outcome::Enqueued(vec![existed])
        );
    }
    assert_eq!(scene.line.jobs().count(), 1);
}

#[test]
fn case_q11_a_cancel_is_final_keeps_the_late_result_and_lets_a_failure_count() {
    let mut cancelled = Scene::new().running();
    let token = cancelled.claims(W1, J1);
    cancelled.does(Command::CancelCampaign { campaign: C1 });
    let mut scene = cancelled.clone();
    let (job, _) = ended(scene.does(end(J1, token, Ending::Complete)));
    assert!(matches!(job, Err(Refusal::Cancelled { .. })));
    assert_eq!(scene.line.kept(J1, token).collect::<Vec<_>>(), ["a result"]);
    let mut scene = cancelled;
    let permit = scene.version();
    let (job, verdict) = ended(scene.does(end(J1, token, service_error(J1, permit))));
    assert!(matches!(job, Err(Refusal::Cancelled { .. })));
    assert_eq!(verdict, Some(Verdict::Opened));
    assert_eq!(scene.job(J1), JobStatus::Cancelled);
    assert_eq!(scene.queue(), QueueState::Paused);
}

#[test]
fn case_q13_a_campaign_whose_job_spawns_others_settles_once_after_the_last() {
    let mut scene = Scene::new().running();
    let token = scene.claims(W1, J1);
    let spawn = (20..25)
        .map(|id| NewJob::new(JobId::from_u128(id)))
        .collect();
    scene.does(complete_and_spawn(J1, token, spawn));
    assert_eq!(scene.campaign_is(C1), CampaignStatus::Running);
    let added = Command::Enqueue {
        campaign: C1,
        jobs: vec![NewJob::new(J2)],
    };
    for lease in scene.claims_all(W1) {
        assert_eq!(scene.campaign_is(C1), CampaignStatus::Running);
        scene.refused(added.clone());
        scene.does(end(lease.job, lease.token, Ending::Complete));
    }
    assert_eq!(scene.campaign_is(C1), CampaignStatus::Completed);
    let settled = scene.journal_from(0);
    let settled = settled.iter().filter(|kind| **kind == "campaign_settled");
    assert_eq!(settled.count(), 1);
    scene.refused(added);
}

#[test]
fn case_q20_a_long_pause_fails_nothing_and_due_jobs_wait_for_the_resume() {
    let mut scene = Scene::new();
    let mut later = NewJob::new(J2);
    later.run_at = Some(at(300));
    scene.campaign(C1, Intake::Closed, &[J1]);
    scene.does(Command::Enqueue {
        campaign: C1,
        jobs: vec![later],
    });
    scene.does(Command::StartCampaign { campaign: C1 });
    scene.register(W1);
    scene.claims(W1, J1);
    scene.openai_fails();
    for _ in 0..10 {
        scene.now += 20;
        scene.does(Command::Heartbeat { session: W1 });
    }
    assert_eq!(scene.line.job(J1).unwrap().holder(), Some(W1));
    scene.now += 3 * 24 * 3600;
    scene.does(Command::Sweep);
    assert_eq!(scene.job(J1), JobStatus::Paused);
    scene.register(W2);
    assert!(scene.claims_all(W2).is_empty());
    scene.resets_openai();
    scene.resumes();
    assert_eq!(scene.claims_all(W2).len(), 2);
}

#[test]
fn r21_campaigns_take_turns_and_within_one_priority_goes_first() {
    let mut scene = Scene::new();
    let ids: Vec<JobId> = (1..=4).map(JobId::from_u128).collect();
    let job = |id: &JobId, priority: u8| {
        let mut job = NewJob::new(*id);
        job.priority = Priority::try_from(priority).unwrap();
        job
    };
    scene.campaign(C1, Intake::OpenEnded, &[]);
    scene.campaign(C2, Intake::OpenEnded, &[]);
    scene.does(Command::Enqueue {
        campaign: C1,
        jobs: vec![job(&ids[0], 0), job(&ids[1], 3), job(&ids[2], 0)],
    });
    scene.does(Command::Enqueue {
        campaign: C2,
        jobs: vec![job(&ids[3], 0)],
    });
    for campaign in [C1, C2] {
        scene.does(Command::StartCampaign { campaign });
    }
    scene.register(W1);
    let order: Vec<JobId> = scene.claims_all(W1).iter().map(|l| l.job).collect();
    assert_eq!(order, [ids[1], ids[3], ids[0], ids[2]]);
}

#[test]
fn r34_a_recorded_step_is_given_after_release_sweep_and_retry() {
    let mut scene = Scene::new().running();
    let write = step_name("write_copy");
    let record = |token, result: &str| Command::RecordStep {
        job: J1,
        token,
        step: step_name("write_copy"),
        result: result.into(),
    };
    let token = scene.claims(W1, J1);
    scene.does(record(token, "copy"));
    scene.does(record(token, "other copy"));
    assert_eq!(scene.line.step(J1, &write), Some("copy"));
    scene.does(end(J1, token, Ending::Release));
    let lease = &scene.claims_all(W1)[0];
    assert_eq!(lease.steps.get(&write).map(String::as_str), Some("copy"));
    scene.now += 30;
    scene.does(Command::Sweep);
    scene.register(W2);
    let token = scene.claims(W2, J1);
    scene.does(end(J1, token, Ending::FailPermanent));
    scene.does(Command::RetryJob { job: J1 });
    let lease = &scene.claims_all(W2)[0];
    assert_eq!(lease.steps.get(&write).map(String::as_str), Some("copy"));
}

#[test]
fn r17_a_tick_by_anyone_at_any_time_is_harmless() {
    let mut scene = Scene::with(settings(1, Some(Duration::from_mins(1)))).running();
    let line = scene.line.clone();
    for now in [0, 1_000, -1_000] {
        scene.now = now;
        scene.execute(&By::SYSTEM, Command::Tick).unwrap();
    }
    assert!(scene.line == line);
}

#[test]
fn r3_a_breaker_that_opens_pauses_every_running_campaign_and_its_jobs_in_that_step() {
    let mut scene = Scene::new();
    for (campaign, job) in [(C1, J1), (C2, J2)] {
        scene.campaign(campaign, Intake::Closed, &[job]);
        scene.does(Command::StartCampaign { campaign });
    }
    scene.openai_fails();
    for (campaign, job) in [(C1, J1), (C2, J2)] {
        assert_eq!(scene.campaign_is(campaign), CampaignStatus::Paused);
        assert_eq!(scene.job(job), JobStatus::Paused);
    }
}

#[test]
fn r4_a_paused_job_pauses_its_campaign_and_no_other() {
    let mut scene = Scene::new();
    scene.campaign(C1, Intake::Closed, &[J1, J2]);
    scene.campaign(C2, Intake::Closed, &[J3]);
    for campaign in [C1, C2] {
        scene.does(Command::StartCampaign { campaign });
    }
    scene.does(Command::PauseJob { job: J1 });
    assert_eq!(scene.campaign_is(C1), CampaignStatus::Paused);
    assert_eq!(scene.job(J2), JobStatus::Paused);
    assert_eq!(scene.campaign_is(C2), CampaignStatus::Running);
    assert_eq!(scene.job(J3), JobStatus::Pending);
    assert_eq!(scene.queue(), QueueState::Active);
    // The campaign's second pause is shown beside the first.
    scene.does(Command::PauseJob { job: J2 });
    let causes = scene.line.campaign_causes(C1).unwrap().causes;
    let jobs = [J1, J2].map(|job| format!("with job {job}"));
    assert_eq!(causes.len(), 2);
    for (cause, job) in causes.iter().zip(jobs) {
        assert!(cause.to_string().contains(&job), "{cause}");
    }
}

#[test]
fn r6_only_what_runs_can_be_paused() {
    let mut scene = Scene::new();
    scene.campaign(C1, Intake::Closed, &[J1]);
    let (campaign, job) = (
        Command::PauseCampaign { campaign: C1 },
        Command::PauseJob { job: J1 },
    );
    assert!(scene.refused(campaign.clone()).ends_with("it is CREATED"));
    assert!(
        scene
            .refused(job.clone())
            .ends_with("its campaign is CREATED")
    );
    scene.does(Command::StartCampaign { campaign: C1 });
    scene.does(Command::CancelCampaign { campaign: C1 });
    assert!(scene.refused(campaign).ends_with("it is CANCELLED"));
    assert!(scene.refused(job).ends_with("its campaign is CANCELLED"));
}

#[test]
fn r14_a_breaker_opens_once_for_one_opening_and_keeps_its_first_error() {
    let mut scene = Scene::with(settings(1, Some(COOL_DOWN))).running();
    scene.openai_fails();
    let opening = |scene: &Scene| {
        let breaker = scene.line.gate().breaker(&openai()).unwrap();
        (breaker.opening().cloned(), breaker.since())
    };
    let (first, since) = opening(&scene);
    for _ in 0..5 {
        scene.openai_fails();
    }
    assert_eq!(opening(&scene), (first.clone(), since));
    scene.now += 60;
    scene.does(Command::Tick);
    scene.openai_fails();
    assert_eq!(opening(&scene).0, first);
    assert!(opening(&scene).1 > since);
    let kinds = scene.journal_from(0);
    let count = |kind: &str| kinds.iter().filter(|k| **k == kind).count();
    assert_eq!((count("breaker_opened"), count("breaker_reopened")), (1, 1));
}

#[test]
fn r35_a_line_in_another_database_pauses_and_says_so() {
    let mut scene = Scene::new().running();
    let detail = andon::ErrorText::new("system identifier 7 instead of 4");
    scene.does(Command::DatabaseChanged { detail });
    assert_eq!(scene.queue(), QueueState::Paused);
    let chain = scene.line.campaign_causes(C1).unwrap().to_string();
    assert!(chain.contains("because the database changed"), "{chain}");
    assert!(chain.ends_with("waiting for resume"), "{chain}");
    scene.resumes();
    assert_eq!(scene.queue(), QueueState::Active);
}

/// How a record was spoilt, and what must be said of it.
type Spoilt<R> = (fn(&mut R), &'static str);

#[test]
fn r30_i1_i20_gate_rows_that_contradict_each_other_are_refused() {
    // `openai` is the second of the breakers, after `apollo`.
    let closed: &[Spoilt<GateRecord>] = &[
        (
            |r| r.breakers[1].hold = Hold::Held,
            "has an opening or a hold",
        ),
        (
            |r| r.breakers[1].opened_at = Some(at(0)),
            "has an opening or a hold",
        ),
        (
            |r| r.breakers[1].since = r.queue.version.next().unwrap(),
            "`since` is greater",
        ),
        (
            |r| r.breakers.push(r.breakers[0].clone()),
            "it stands twice",
        ),
    ];
    let open: &[Spoilt<GateRecord>] = &[
        (
            |r| r.queue.pause = None,
            "ACTIVE while breaker openai is open",
        ),
        (|r| r.breakers[1].opening = None, "has no opening"),
        (|r| r.breakers[1].opened_at = None, "has no opening"),
        (
            |r| r.breakers[1].state = CircuitState::Closed,
            "has an opening or a hold",
        ),
        (
            |r| r.queue.again = r.queue.pause.take(),
            "it was paused again, yet never paused",
        ),
    ];
    let half_open: &[Spoilt<GateRecord>] = &[
        (
            |r| r.breakers[1].hold = Hold::Held,
            "it is half-open, yet held",
        ),
        (|r| r.breakers[1].opening = None, "has no opening"),
        (
            |r| r.queue.pause = None,
            "ACTIVE while breaker openai is half_open",
        ),
    ];
    let mut scene = Scene::with(settings(1, Some(COOL_DOWN)));
    let mut look = |state: CircuitState, all: &[Spoilt<GateRecord>], next: Command| {
        assert_eq!(scene.breaker(&openai()).0, state);
        let gate = scene.line.gate();
        assert_eq!(Gate::try_from(gate.record()).as_ref(), Ok(gate));
        for (spoil, problem) in all {
            let mut record = gate.record();
            spoil(&mut record);
            let corrupt = Gate::try_from(record).unwrap_err();
            assert!(corrupt.to_string().contains(problem), "{corrupt}");
        }
        scene.now += 60;
        scene.does(next);
    };
    let failed = Command::Report {
        service: openai(),
        outcome: failure(),
        version: None,
    };
    look(CircuitState::Closed, closed, failed);
    look(CircuitState::Open, open, Command::Tick);
    look(CircuitState::HalfOpen, half_open, Command::Tick);
    // What a person opened is OPEN, held, and read as such.
    scene.does(Command::OpenBreaker { service: openai() });
    let gate = scene.line.gate();
    assert_eq!(Gate::try_from(gate.record()).as_ref(), Ok(gate));
}

#[test]
fn r30_job_rows_that_contradict_themselves_are_refused() {
    let mut scene = Scene::new().running();
    scene.claims(W1, J1);
    let job = scene.line.job(J1).unwrap();
    assert_eq!(AnyJob::try_from(job.record()).as_ref(), Ok(job));
    let spoilt: &[Spoilt<JobRecord>] = &[
        (|r| r.max_attempts = 0, "its max_attempts is 0"),
        (|r| r.token = Token::NONE, "yet was never claimed"),
        (|r| r.session = None, "yet no worker session holds it"),
        (|r| r.stage = JobStage::Completed, "it is final, yet"),
        (|r| r.stage = JobStage::Failed, "it is final, yet"),
    ];
    for (spoil, problem) in spoilt {
        let mut record = job.record();
        spoil(&mut record);
        let corrupt = AnyJob::try_from(record).unwrap_err();
        assert!(corrupt.to_string().contains(problem), "{corrupt}");
    }
}

#[test]
fn r30_i12_a_mark_of_an_epoch_that_has_not_come_is_refused() {
    let mut scene = Scene::new().running();
    let check = |scene: &Scene, campaign: &AnyCampaign, job: &AnyJob| {
        let gate = scene.line.gate();
        [campaign.check(gate), job.check(gate)].map(|checked| checked.err().map(|c| c.row))
    };
    let stored = |scene: &Scene| {
        let (campaign, job) = (scene.line.campaign(C1), scene.line.job(J1));
        (campaign.unwrap().clone(), job.unwrap().clone())
    };
    let (campaign, job) = stored(&scene);
    assert_eq!(check(&scene, &campaign, &job), [None, None]);
    // A current mark and a void one are as good as none.
    scene.does(Command::PauseJob { job: J1 });
    let before = scene.clone();
    let (campaign, job) = stored(&scene);
    assert_eq!(check(&scene, &campaign, &job), [None, None]);
    scene.resumes();
    assert_eq!(check(&scene, &campaign, &job), [None, None]);
    // What the next epoch marked is not of the line as it was before.
    scene.does(Command::PauseJob { job: J1 });
    let (campaign, job) = stored(&scene);
    let rows = [format!("campaign {C1}"), format!("job {J1}")];
    assert_eq!(check(&before, &campaign, &job), rows.map(Some));
}

/// R18: a count at its largest stays there: it does not begin again at 0, below the threshold.
#[test]
fn r18_a_count_at_its_end_stays_and_opens() {
    let mut record = Scene::new().line.gate().record();
    for breaker in &mut record.breakers {
        // As after a threshold was lowered.
        breaker.failure_count = u32::MAX;
    }
    let service = record.breakers[0].service.clone();
    let gate = Gate::try_from(record).unwrap();
    let report = andon::Report {
        service: service.clone(),
        outcome: CallOutcome::Failure(andon::ErrorText::new("503")),
        version: None,
        reporter: andon::gate::Reporter::HealthCheck,
    };
    let decision = gate.decide_report(&By::SYSTEM, &report, at(0)).unwrap();
    assert_eq!(decision.outcome, Verdict::Opened);
    let mut after = gate.clone();
    after.apply(&decision);
    assert_eq!(after.breaker(&service).unwrap().failure_count(), u32::MAX);
}

#[test]
fn r9_r21_a_mark_that_a_resume_has_voided_holds_no_claim_back() {
    let mut scene = Scene::new().running();
    scene.does(Command::PauseJob { job: J1 });
    assert!(scene.claims_all(W1).is_empty());
    scene.resumes();
    // The marks are still stored; only the epoch has moved on.
    assert!(scene.line.campaign(C1).unwrap().mark().is_some());
    assert!(scene.line.job(J1).unwrap().mark().is_some());
    assert_eq!(scene.claims_all(W1).len(), 1);
}

#[test]
fn r27_a_campaign_without_jobs_settles_by_no_background_pass() {
    let mut scene = Scene::new().running();
    let gate = scene.line.gate().clone();
    let campaign = scene.line.campaign(C1).unwrap().clone();
    assert_eq!(campaign.intake(), Intake::Closed);
    let settled = |jobs| campaign.decide_settle(&gate, jobs, at(0)).outcome;
    assert_eq!(settled(JobCounts::default()), None);
    let failed = JobCounts::default().with(JobStage::Failed);
    assert_eq!(settled(failed), Some(CampaignStage::Failed));
    assert_eq!(settled(failed.with(JobStage::Pending)), None);
    scene.does(Command::CancelJob { job: J1 });
    assert_eq!(scene.campaign_is(C1), CampaignStatus::Cancelled);
}

#[test]
fn d3_the_chain_names_every_holder_and_which_was_first() {
    let mut scene = Scene::new().running();
    let chain = |scene: &Scene| scene.line.job_causes(J1).unwrap();
    assert!(chain(&scene).is_empty());
    assert_eq!(chain(&scene).first(), None);
    assert!(!chain(&scene).waits_for_resume());
    assert_eq!(chain(&scene).to_string(), "");
    scene.does(Command::PauseJob { job: J1 });
    assert!(chain(&scene).waits_for_resume());
    scene.does(Command::PauseQueue);
    scene.openai_fails();
    let holders: Vec<Holder> = chain(&scene).causes.into_iter().map(|c| c.holder).collect();
    let breaker = |circuit_state| Holder::Breaker {
        service: openai(),
        circuit_state,
    };
    assert_eq!(
        holders,
        [
            Holder::Job { job: J1 },
            Holder::Campaign { campaign: C1 },
            Holder::Queue,
            breaker(CircuitState::Open),
        ]
    );
    // The job and its campaign were paused in one step; of the two the nearer one is named.
    let first = chain(&scene).first().map(|cause| cause.holder.clone());
    assert_eq!(first, Some(Holder::Job { job: J1 }));
    let of_queue = CauseChain::of_queue(scene.line.gate());
    assert_eq!(of_queue.first().unwrap().holder, Holder::Queue);
    assert!(!of_queue.waits_for_resume());
    assert!(!chain(&scene).waits_for_resume());
    scene.resets_openai();
    assert!(chain(&scene).waits_for_resume());
}

#[test]
fn r13_a_success_on_a_closed_breaker_without_a_count_leaves_nothing_to_write() {
    let mut scene = Scene::with(settings(3, None));
    let success = |scene: &Scene| {
        let report = Report {
            service: openai(),
            outcome: CallOutcome::Success,
            version: Some(scene.version()),
            reporter: Reporter::Call(J1),
        };
        let decision = scene.line.gate().decide_report(&worker(), &report, at(0));
        let decision = decision.unwrap();
        assert_eq!(decision.outcome, Verdict::Counted);
        let kinds = decision.events.iter().map(andon::Event::kind);
        kinds.collect::<Vec<_>>()
    };
    assert!(success(&scene).is_empty());
    scene.openai_fails();
    assert_eq!(success(&scene), ["count_cleared"]);
}

#[test]
fn r21_priorities_go_from_0_to_3() {
    for number in 0..=3 {
        let priority = Priority::try_from(number).unwrap();
        assert_eq!(priority.get(), number);
        assert_eq!(u8::from(priority), number);
    }
    assert!(Priority::try_from(4).is_err());
    assert!(Priority::try_from(u8::MAX).is_err());
}

#[test]
fn i15_a_gate_to_which_a_decision_is_applied_is_the_lines_own() {
    let mut scene = Scene::new().running();
    let mut gate = scene.line.gate().clone();
    let paused = gate.decide_pause_queue(&ada(), at(scene.now)).unwrap();
    gate.apply(&paused);
    scene.does(Command::PauseQueue);
    assert_eq!(gate, *scene.line.gate());
    assert_eq!(gate.queue().state(), QueueState::Paused);
}

#[test]
fn r25_the_back_off_doubles_up_to_a_quarter_of_an_hour_and_a_snooze_has_an_end() {
    let seconds = [0, 1, 2, 3, 4, 10, 11, u32::MAX].map(|attempt| back_off(attempt).as_secs());
    assert_eq!(seconds, [1, 1, 2, 4, 8, 512, 900, 900]);
    let mut scene = Scene::new().running();
    let token = scene.claims(W1, J1);
    let delay = Duration::MAX;
    scene.does(end(J1, token, Ending::Snooze { delay }));
    let days = 30;
    assert_eq!(scene.line.job(J1).unwrap().run_at(), at(days * 24 * 3600));
}

#[test]
fn r24_r25_without_attempts_left_a_failure_and_a_sweep_are_final() {
    let mut scene = Scene::with(settings(9, None));
    scene.campaign(C1, Intake::OpenEnded, &[]);
    let mut once = NewJob::new(J1);
    once.max_attempts = 1;
    let jobs = vec![once];
    scene.does(Command::Enqueue { campaign: C1, jobs });
    scene.does(Command::StartCampaign { campaign: C1 });
    scene.register(W1);
    let token = scene.claims(W1, J1);
    let retry_after = None;
    let failures = [
        service_error(J1, scene.version()),
        Ending::FailRetryable { retry_after },
    ];
    for failed in failures {
        let mut scene = scene.clone();
        scene.does(end(J1, token, failed));
        assert_eq!(scene.job(J1), JobStatus::Failed);
    }
    scene.now += 30;
    scene.does(Command::Sweep);
    assert_eq!(scene.job(J1), JobStatus::Failed);
    assert_eq!(scene.line.job(J1).unwrap().holder(), None);
}

#[test]
fn r30_a_job_is_going_for_the_holder_of_its_token_only() {
    let mut scene = Scene::new().running();
    let first = scene.claims(W1, J1);
    assert_eq!(scene.line.standing(J1, first), Standing::Going);
    scene.does(end(J1, first, Ending::Release));
    assert_eq!(scene.line.standing(J1, first), Standing::Stopped);
    let second = scene.claims(W1, J1);
    assert_eq!(scene.line.standing(J1, first), Standing::Stopped);
    assert_eq!(scene.line.standing(J1, second), Standing::Going);
    scene.does(Command::PauseJob { job: J1 });
    assert_eq!(scene.line.standing(J1, second), Standing::Stopped);
}

#[test]
fn r30_a_confirmation_holds_from_its_question_until_its_time_to_live() {
    let instant = |seconds| Monotonic::from_start(Duration::from_secs(seconds));
    let confirmation = Confirmation {
        queue: QueueState::Active,
        version: version(1),
        asked_at: instant(10),
        ttl: Duration::from_secs(2),
    };
    let is_given = |now| {
        let request = PermitRequest {
            token: token(1),
            call: call(1),
            service: openai(),
            standing: Standing::Going,
            session_expires_at: instant(60),
            deadline: Duration::from_secs(20),
        };
        permit(Some(&confirmation), request, instant(now)).is_ok()
    };
    assert_eq!([9, 10, 11, 12].map(is_given), [false, true, true, false]);
}

#[expect(clippy::unwrap_used, reason = "no test acknowledges a stop of epoch 0")]
fn acknowledge(epoch: u64) -> Command {
    let epoch = Epoch::new(epoch).unwrap();
    Command::Acknowledge { epoch }
}

#[test]
fn r7_an_acknowledgement_is_of_the_stop_that_was_seen_and_resumes_nothing() {
    let mut scene = Scene::new().running();
    assert_eq!(
        scene.refused(acknowledge(1)),
        "there is no stop to acknowledge: the queue is active"
    );
    scene.openai_fails();
    let version = scene.version();
    assert_eq!(
        scene.refused(acknowledge(2)),
        "this is another stop: you saw that of epoch 2, the line has been resumed since and stands \
         in epoch 1; look again before you acknowledge"
    );
    let by_automation = scene.execute(&automation(), acknowledge(1)).unwrap_err();
    assert_eq!(
        by_automation.to_string(),
        "only an operator may acknowledge a stop; automation nightly may not"
    );
    let first = scene.does(acknowledge(1));
    assert_eq!(first, Outcome::Acknowledged(Acknowledging::Acknowledged));
    // R11: whoever is about to resume need not look again.
    assert_eq!(scene.version(), version);
    assert_eq!(scene.queue(), QueueState::Paused);
    assert_eq!(scene.campaign_is(C1), CampaignStatus::Paused);
    assert_eq!(scene.journal_from(0).last(), Some(&"stop_acknowledged"));

    // The first one stands, whoever comes second.
    scene.now += 60;
    let second = scene.does(acknowledge(1));
    assert_eq!(
        second,
        Outcome::Acknowledged(Acknowledging::AlreadyAcknowledged)
    );
    let stands = scene.line.gate().queue().acknowledged().unwrap();
    assert_eq!((stands.at, &stands.actor), (at(0), &ada().actor));
}

#[test]
fn an_acknowledgement_ends_with_its_stop_and_when_another_breaker_opens() {
    let mut scene = Scene::new().running();
    let in_hand = |scene: &Scene| scene.line.gate().queue().acknowledged().is_some();
    scene.openai_fails();
    scene.does(acknowledge(1));
    // What is told nobody new is no reason to ask anew: held by hand, reset, paused again.
    scene.does(Command::OpenBreaker { service: openai() });
    scene.does(Command::PauseQueue);
    scene.resets_openai();
    assert!(in_hand(&scene));
    scene.does(Command::OpenBreaker {
        service: service("apollo"),
    });
    assert!(!in_hand(&scene), "nobody has said that they have this one");
    scene.does(acknowledge(1));
    scene.does(Command::ResetBreaker {
        service: service("apollo"),
    });
    scene.resumes();
    assert!(!in_hand(&scene));
    scene.does(Command::PauseQueue);
    assert!(!in_hand(&scene), "a new stop begins anew");
    scene.refused(acknowledge(1));
    scene.does(acknowledge(2));
}

#[test]
fn r24_a_lease_that_is_expired_by_hand_is_as_one_that_was_swept_but_that_its_session_lives() {
    let mut scene = Scene::new().running();
    let token = scene.claims(W1, J1);
    scene.does(Command::PauseQueue);
    let by_automation = scene.execute(&automation(), Command::ExpireLease { job: J1 });
    assert!(by_automation.is_err());
    let expired = scene.does(Command::ExpireLease { job: J1 });
    assert_eq!(expired, Outcome::LeaseExpired(Sweeping::Returned));
    assert_eq!(scene.job(J1), JobStatus::Paused, "D2");
    assert_eq!(scene.line.job(J1).unwrap().stage(), JobStage::Pending);
    assert_eq!(scene.line.job(J1).unwrap().attempt(), 1);
    assert_eq!(scene.line.standing(J1, token), Standing::Stopped);
    assert_eq!(
        scene.refused(Command::ExpireLease { job: J1 }),
        format!("cannot expire the lease of job {J1}: it is PAUSED, and no worker holds it")
    );
    // The session lives, and is confirmed for nothing of it (R30).
    let Outcome::Alive(beat) = scene.does(Command::Heartbeat { session: W1 }) else {
        panic!("the session lives on");
    };
    assert!(beat.going.is_empty() && beat.stopped.is_empty());
    scene.resumes();
    let mut late = scene.clone();
    assert!(ended(late.does(end(J1, token, Ending::Complete))).0.is_ok());
    assert_eq!(late.job(J1), JobStatus::Completed);
    // Not once it is claimed again.
    let next = scene.claims(W1, J1);
    assert!(next > token);
    assert!(is_stale(scene.does(end(J1, token, Ending::Complete))));
    assert_eq!(scene.line.standing(J1, next), Standing::Going);
}

#[test]
fn r24_r27_a_lease_that_is_expired_by_hand_with_no_attempts_left_fails_the_job() {
    let mut scene = Scene::new().running();
    for attempt in 1..=5 {
        scene.claims(W1, J1);
        let expired = scene.does(Command::ExpireLease { job: J1 });
        let expected = match attempt {
            5 => Sweeping::Failed,
            _ => Sweeping::Returned,
        };
        assert_eq!(expired, Outcome::LeaseExpired(expected), "{attempt}");
    }
    assert_eq!(scene.job(J1), JobStatus::Failed);
    assert_eq!(scene.campaign_is(C1), CampaignStatus::Failed);
    let expired = scene.journal_from(0);
    let count = expired.iter().filter(|kind| **kind == "job_lease_expired");
    assert_eq!(count.count(), 5, "R31: each is in the journal");
}

#[test]
fn r24_r26_of_a_cancelled_job_only_the_lease_is_expired_so_that_it_can_be_retried() {
    let mut scene = Scene::new();
    scene.campaign(C1, Intake::Closed, &[J1, J2]);
    scene.does(Command::StartCampaign { campaign: C1 });
    scene.register(W1);
    scene.claims(W1, J1);
    scene.does(Command::CancelJob { job: J1 });
    scene.refused(Command::RetryJob { job: J1 });
    let expired = scene.does(Command::ExpireLease { job: J1 });
    assert_eq!(expired, Outcome::LeaseExpired(Sweeping::LeaseEnded));
    assert_eq!(scene.job(J1), JobStatus::Cancelled);
    scene.does(Command::RetryJob { job: J1 });
    assert_eq!(scene.job(J1), JobStatus::Pending);
}
