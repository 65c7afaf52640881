//! I16: once a pause has returned to its caller, no claim or start commits until a resume. R21: no claim
//! commits once its campaign is cancelled, or its session ended. R27: of endings that come at once, one is
//! the last.
//!
//! Shown with real transactions held between their lock and their statement, in both orders, for
//! pauses of the queue, of a campaign, of a job, and by a breaker (cases Q3, B2), for a cancelled
//! campaign, and for sessions that are deregistered or swept. On SQLite one write transaction excludes
//! the other altogether, so the same tests show the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::sync::Arc;
use std::time::Duration;

use andon::{
    Actor, ActorName, BreakerSettings, By, CallNumber, CallOutcome, CampaignId, CampaignStage,
    ErrorText, Fingerprint, Intake, JobId, JobStage, QueueState, Refusal, ServiceName, SessionId,
};
use andon_adapter::line::calls::Calls;
use andon_adapter::line::campaigns::{self, NewCampaign};
use andon_adapter::line::jobs::{self, NewJob};
use andon_adapter::line::work::{self, CallReport, EndingReport, How, Registration};
use andon_adapter::line::{Error, Line, Settings, queue};
use andon_adapter::store::{self, Access, GateLock, SessionLock, SharedStore, Tx};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

mod support;

fn operator() -> By {
    By::actor(Actor::Operator(ActorName::new("ada").unwrap()))
}

fn openai() -> ServiceName {
    ServiceName::new("openai").unwrap()
}

/// A line with one started campaign of `jobs` jobs and one registered worker.
struct Fixture {
    line: Line,
    campaign: CampaignId,
    jobs: Vec<JobId>,
    session: SessionId,
}

async fn fixture(store: SharedStore, jobs_total: usize) -> Fixture {
    fixture_of(store, jobs_total, Intake::Closed).await
}

async fn fixture_of(store: SharedStore, jobs_total: usize, intake: Intake) -> Fixture {
    let settings = Settings {
        services: [(openai(), BreakerSettings::default())].into(),
        ..Settings::default()
    };
    let line = Line::new(store, settings);
    line.start_up().await.unwrap();
    let (campaign, session) = line
        .transact(move |tx| {
            Box::pin(async move {
                let new = NewCampaign {
                    name: "c".into(),
                    description: None,
                    metadata: json!({}),
                    intake,
                    jobs: (0..jobs_total)
                        .map(|_| NewJob::new("k", json!({})))
                        .collect(),
                };
                let (view, _) = campaigns::create(tx, &operator(), &new).await?;
                let campaign = view.row.facts.id();
                campaigns::start(tx, &operator(), campaign).await?;
                let registration = Registration {
                    name: ActorName::new("w").unwrap(),
                    kinds: vec!["k".into()],
                    services: vec![openai()],
                    lease: Duration::from_mins(1),
                };
                let (session, _) = work::register(tx, &registration).await?;
                Ok((campaign, session.id))
            })
        })
        .await
        .unwrap();
    let jobs = line
        .query(move |tx| {
            Box::pin(async move {
                let query = jobs::JobQuery {
                    campaign: Some(campaign),
                    ..Default::default()
                };
                let page = andon_adapter::store::Page {
                    after: None,
                    offset: 0,
                    limit: 200,
                };
                let (_, views) = jobs::list(tx, &query, page).await?;
                Ok(views.into_iter().map(|view| view.row.facts.id()).collect())
            })
        })
        .await
        .unwrap();
    Fixture {
        line,
        campaign,
        jobs,
        session,
    }
}

/// The ways a line, a campaign or a job gets paused.
#[derive(Debug, Clone, Copy)]
enum PauseBy {
    Queue,
    Campaign,
    Job,
    Breaker,
}

const WAYS: [PauseBy; 4] = [
    PauseBy::Queue,
    PauseBy::Campaign,
    PauseBy::Job,
    PauseBy::Breaker,
];

async fn pause(tx: &mut dyn Tx, way: PauseBy, f: &Fixture) -> Result<(), Error> {
    match way {
        PauseBy::Queue => queue::pause(tx, &operator()).await.map(drop),
        PauseBy::Campaign => campaigns::pause(tx, &operator(), f.campaign)
            .await
            .map(drop),
        PauseBy::Job => jobs::pause(tx, &operator(), f.jobs[0]).await.map(drop),
        PauseBy::Breaker => {
            let by = Actor::Worker(ActorName::new("w").unwrap());
            let report = CallReport {
                job: f.jobs[0],
                token: andon::Token::NONE,
                call: CallNumber::new(1).unwrap(),
                service: openai(),
                outcome: CallOutcome::Failure(ErrorText::new("500")),
                version: None,
                step: None,
            };
            work::call_report(tx, &Calls::default(), &by, &report)
                .await
                .map(drop)
        }
    }
}

async fn committed(f: &Fixture, way: PauseBy) {
    let mut tx = f.line.store().begin(Access::Write).await.unwrap();
    pause(&mut *tx, way, f).await.unwrap();
    tx.commit().await.unwrap();
}

async fn claimed_now(f: &Fixture) -> usize {
    let (turn, session) = (f.line.turn(), f.session);
    f.line
        .transact(move |tx| {
            let turn = turn.clone();
            Box::pin(async move { Ok(work::claim(tx, &turn, session, 10, None).await?.0.len()) })
        })
        .await
        .unwrap()
}

/// The claim holds the shared lock first: the pause waits for it, and the claim stands.
async fn a_pause_waits_for_a_claim_that_holds_the_gate(store: SharedStore, way: PauseBy) {
    let f = Arc::new(fixture(store, 3).await);
    let mut claim = f.line.store().begin(Access::Write).await.unwrap();
    claim.gate_lock(GateLock::Shared).await.unwrap();
    let pausing = tokio::spawn({
        let f = Arc::clone(&f);
        async move { committed(&f, way).await }
    });
    // The pause cannot return while the claim is under way, however often it gets to run.
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert!(
            !pausing.is_finished(),
            "{way:?} returned while a claim held the gate"
        );
    }
    let (leases, _) = work::claim(&mut *claim, &f.line.turn(), f.session, 1, None)
        .await
        .unwrap();
    assert_eq!(leases.len(), 1, "{way:?}");
    claim.commit().await.unwrap();
    pausing.await.unwrap();
    assert_eq!(
        claimed_now(&f).await,
        0,
        "{way:?}: nothing is claimed after the pause returned"
    );
}

/// The pause holds the gate first: the claim waits, and comes back with nothing.
async fn a_claim_waits_for_a_pause_and_gets_nothing(store: SharedStore, way: PauseBy) {
    let f = Arc::new(fixture(store, 3).await);
    let mut pausing = f.line.store().begin(Access::Write).await.unwrap();
    pause(&mut *pausing, way, &f).await.unwrap();
    let claim = tokio::spawn({
        let f = Arc::clone(&f);
        async move { claimed_now(&f).await }
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert!(
            !claim.is_finished(),
            "{way:?}: a claim returned while a pause held the gate"
        );
    }
    pausing.commit().await.unwrap();
    assert_eq!(claim.await.unwrap(), 0, "{way:?}");
}

/// A start is admitted like a claim (R20, I8).
async fn a_start_waits_for_a_pause_and_is_refused(store: SharedStore) {
    let f = Arc::new(fixture(store, 1).await);
    let new = NewCampaign {
        name: "second".into(),
        description: None,
        metadata: json!({}),
        intake: Intake::Closed,
        jobs: vec![NewJob::new("k", json!({}))],
    };
    let second = f
        .line
        .transact(move |tx| {
            let new = new.clone();
            Box::pin(async move { Ok(campaigns::create(tx, &operator(), &new).await?.0) })
        })
        .await
        .unwrap()
        .row
        .facts
        .id();
    let mut pausing = f.line.store().begin(Access::Write).await.unwrap();
    pause(&mut *pausing, PauseBy::Queue, &f).await.unwrap();
    let start = tokio::spawn({
        let line = f.line.clone();
        async move {
            line.transact(move |tx| Box::pin(campaigns_start(tx, second)))
                .await
        }
    });
    pausing.commit().await.unwrap();
    let refusal = start.await.unwrap().unwrap_err();
    assert!(
        refusal
            .to_string()
            .starts_with("Cannot start: the queue is paused"),
        "{refusal}"
    );
}

async fn campaigns_start(tx: &mut dyn Tx, id: CampaignId) -> Result<(), Error> {
    campaigns::start(tx, &operator(), id).await.map(drop)
}

/// Many claimers and one pause, again and again: no claim commits after the pause has returned.
async fn no_claim_commits_after_a_pause_has_returned_under_load(store: SharedStore) {
    let f = Arc::new(fixture(store, 200).await);
    let claimers: Vec<_> = (0..8)
        .map(|_| {
            let f = Arc::clone(&f);
            tokio::spawn(async move {
                let mut claimed = 0;
                loop {
                    let (turn, session) = (f.line.turn(), f.session);
                    let (got, state) = f
                        .line
                        .transact(move |tx| {
                            let turn = turn.clone();
                            Box::pin(async move {
                                let (leases, view) =
                                    work::claim(tx, &turn, session, 1, None).await?;
                                Ok((leases.len(), view.gate.queue().state()))
                            })
                        })
                        .await
                        .unwrap();
                    claimed += got;
                    if state == QueueState::Paused || got == 0 {
                        return claimed;
                    }
                }
            })
        })
        .collect();
    while in_flight(&f).await < 5 {}
    committed(&f, PauseBy::Queue).await;
    let at_pause = in_flight(&f).await;
    let mut claimed = 0;
    for claimer in claimers {
        claimed += claimer.await.unwrap();
    }
    assert_eq!(
        in_flight(&f).await,
        at_pause,
        "a claim committed after the pause had returned"
    );
    assert_eq!(claimed as u64, at_pause);
}

async fn in_flight(f: &Fixture) -> u64 {
    f.line
        .query(|tx| Box::pin(async move { Ok(queue::snapshot(tx).await?.in_flight) }))
        .await
        .unwrap()
}

/// Long enough that what does not wait has ended.
const A_MOMENT: Duration = Duration::from_millis(100);

/// That a transaction waits for another.
async fn waiting<T>(mut transaction: JoinHandle<T>, who: &str) -> JoinHandle<T> {
    let early = tokio::time::timeout(A_MOMENT, &mut transaction).await;
    assert!(early.is_err(), "{who} did not wait");
    transaction
}

/// What takes from a claim, without a pause, what it was going to claim.
#[derive(Debug, Clone, Copy)]
enum TakenBy {
    /// Its campaign is cancelled.
    Cancel,
    /// Its session is deregistered.
    Deregister,
    /// Its session has expired, and is swept.
    Sweep,
}

const TAKERS: [TakenBy; 3] = [TakenBy::Cancel, TakenBy::Deregister, TakenBy::Sweep];

/// Answers how many leases it has taken.
async fn take_away(tx: &mut dyn Tx, by: TakenBy, f: &Fixture) -> Result<u64, Error> {
    match by {
        TakenBy::Cancel => campaigns::cancel(tx, &operator(), f.campaign)
            .await
            .map(|_| 0),
        TakenBy::Deregister => work::deregister(tx, f.session).await.map(|of| of.0),
        TakenBy::Sweep => jobs::sweep(tx, f.session).await,
    }
}

/// The claim is about to commit: it is waited for, and what it took is seen.
async fn what_takes_away_waits_for_the_claim(database: support::Database, by: TakenBy) {
    let f = Arc::new(fixture(database.store.clone(), 1).await);
    let mut claim = f.line.store().begin(Access::Write).await.unwrap();
    let (leases, _) = work::claim(&mut *claim, &f.line.turn(), f.session, 1, None)
        .await
        .unwrap();
    assert_eq!(leases.len(), 1, "{by:?}");
    database.clock.advance(Duration::from_mins(10));
    let taking = tokio::spawn({
        let f = Arc::clone(&f);
        async move {
            let mut tx = f.line.store().begin(Access::Write).await.unwrap();
            let taken = take_away(&mut *tx, by, &f).await.unwrap();
            tx.commit().await.unwrap();
            taken
        }
    });
    let taking = waiting(taking, &format!("{by:?}, for the claim")).await;
    claim.commit().await.unwrap();
    let taken = taking.await.unwrap();
    let is_cancel = matches!(by, TakenBy::Cancel);
    assert_eq!(taken, u64::from(!is_cancel), "{by:?}: it sees the lease");
    let stage = if is_cancel {
        JobStage::Processing
    } else {
        JobStage::Pending
    };
    assert_eq!(job(&f).await.row.facts.stage(), stage, "{by:?}");
}

/// What takes away is about to commit: the claim waits, and comes back with nothing.
async fn a_claim_waits_for_what_takes_away(database: support::Database, by: TakenBy) {
    let f = Arc::new(fixture(database.store.clone(), 1).await);
    let mut taking = f.line.store().begin(Access::Write).await.unwrap();
    // Who sweeps goes by a clock on which the session has expired, the claim by one that is behind.
    let (expired, noon) = (matches!(by, TakenBy::Sweep), database.clock.now());
    if expired {
        database.clock.advance(Duration::from_mins(10));
    }
    take_away(&mut *taking, by, &f).await.unwrap();
    if expired {
        database.clock.set(noon);
    }
    let claim = tokio::spawn({
        let f = Arc::clone(&f);
        async move {
            let mut tx = f.line.store().begin(Access::Write).await.unwrap();
            let claimed = work::claim(&mut *tx, &f.line.turn(), f.session, 1, None).await;
            claimed.map(|(leases, _)| leases.len())
        }
    });
    let claim = waiting(claim, &format!("a claim, for {by:?}")).await;
    taking.commit().await.unwrap();
    match (by, claim.await.unwrap()) {
        (TakenBy::Cancel, Ok(0))
        | (
            TakenBy::Deregister | TakenBy::Sweep,
            Err(Error::Refused(Refusal::SessionEnded { .. })),
        ) => {}
        (by, claimed) => panic!("{by:?}: {claimed:?}"),
    }
    assert_eq!(job(&f).await.row.facts.attempt(), 0, "{by:?}");
}

async fn job(f: &Fixture) -> jobs::JobView {
    let job = f.jobs[0];
    f.line
        .query(move |tx| Box::pin(jobs::view(tx, job)))
        .await
        .unwrap()
}

/// A cancelled job whose lease is held by a session that has died since.
async fn cancelled_and_dead(database: &support::Database) -> Fixture {
    let f = fixture(database.store.clone(), 2).await;
    assert_eq!(claimed_now(&f).await, 2);
    let job = f.jobs[0];
    f.line
        .transact(move |tx| {
            Box::pin(async move { jobs::cancel(tx, &operator(), job).await.map(drop) })
        })
        .await
        .unwrap();
    database.clock.advance(Duration::from_mins(10));
    f
}

/// The sweep holds the session, and then wants the campaign: a retry does not hold that one while it
/// wants the session.
async fn a_retry_waits_for_a_sweep_and_decides_afresh(database: support::Database) {
    let f = Arc::new(cancelled_and_dead(&database).await);
    let mut sweep = f.line.store().begin(Access::Write).await.unwrap();
    sweep
        .session_lock(f.session, SessionLock::End)
        .await
        .unwrap();
    let job_id = f.jobs[0];
    let retry = tokio::spawn({
        let f = Arc::clone(&f);
        async move {
            let mut tx = f.line.store().begin(Access::Write).await.unwrap();
            jobs::retry(&mut *tx, &operator(), job_id).await.map(drop)
        }
    });
    let retry = waiting(retry, "a retry").await;
    assert_eq!(jobs::sweep(&mut *sweep, f.session).await.unwrap(), 2);
    sweep.commit().await.unwrap();
    // It gives up by itself. A deadlock, which the database ends, is a collision too.
    let Err(Error::Store(store::Error::Conflict(why))) = retry.await.unwrap() else {
        panic!("the holder that it saw is gone")
    };
    assert_eq!(
        why.to_string(),
        "the job's holder has changed since it was looked at"
    );
    // Which is what makes the line decide afresh.
    f.line
        .transact(move |tx| {
            Box::pin(async move { jobs::retry(tx, &operator(), job_id).await.map(drop) })
        })
        .await
        .unwrap();
    assert_eq!(job(&f).await.row.facts.stage(), JobStage::Pending);
}

/// The retry holds the session first: the sweep waits, and finds the job gone from it.
async fn a_sweep_waits_for_a_retry(database: support::Database) {
    let f = Arc::new(cancelled_and_dead(&database).await);
    let mut retry = f.line.store().begin(Access::Write).await.unwrap();
    jobs::retry(&mut *retry, &operator(), f.jobs[0])
        .await
        .unwrap();
    let sweep = tokio::spawn({
        let f = Arc::clone(&f);
        async move {
            let mut tx = f.line.store().begin(Access::Write).await.unwrap();
            let swept = jobs::sweep(&mut *tx, f.session).await.unwrap();
            tx.commit().await.unwrap();
            swept
        }
    });
    let sweep = waiting(sweep, "a sweep").await;
    retry.commit().await.unwrap();
    assert_eq!(sweep.await.unwrap(), 1, "the other job");
    assert_eq!(job(&f).await.row.facts.stage(), JobStage::Pending);
}

/// Claims up to so many jobs, in a transaction of its own.
async fn claim(f: &Fixture, limit: u32) -> Vec<EndingReport> {
    let (turn, session) = (f.line.turn(), f.session);
    let leases = f
        .line
        .transact(move |tx| {
            let turn = turn.clone();
            Box::pin(async move { Ok(work::claim(tx, &turn, session, limit, None).await?.0) })
        })
        .await
        .unwrap();
    let complete = |lease: &work::Lease| EndingReport {
        job: lease.job.facts.id(),
        token: lease.job.facts.token(),
        fingerprint: Fingerprint([7; 32]),
        how: How::Complete {
            result: None,
            spawn: Vec::new(),
        },
    };
    leases.iter().map(complete).collect()
}

async fn end(tx: &mut dyn Tx, reports: &[EndingReport]) -> Result<(), Error> {
    let by = Actor::Worker(ActorName::new("w").unwrap());
    let (answers, ..) = work::end(tx, &Calls::default(), &by, reports).await?;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    Ok(())
}

async fn ended(f: Arc<Fixture>, reports: Vec<EndingReport>) {
    f.line
        .transact(move |tx| {
            let reports = reports.clone();
            Box::pin(async move { end(tx, &reports).await })
        })
        .await
        .unwrap();
}

async fn campaign_stage(f: &Fixture) -> CampaignStage {
    let campaign = f.campaign;
    let rows = f
        .line
        .query(move |tx| Box::pin(async move { Ok(tx.campaigns(&[campaign]).await?) }))
        .await
        .unwrap();
    rows[0].facts.stage()
}

/// While a job is PENDING none of them is the last: they do not wait for each other.
async fn endings_go_side_by_side_until_nothing_is_pending(store: SharedStore) {
    let f = Arc::new(fixture(store, 4).await);
    let mut reports = claim(&f, 3).await;
    let (third, second) = (reports.pop().unwrap(), reports.pop().unwrap());
    let mut open = f.line.store().begin(Access::Write).await.unwrap();
    end(&mut *open, &reports).await.unwrap();
    ended(Arc::clone(&f), vec![second]).await;
    open.commit().await.unwrap();

    let last = claim(&f, 1).await;
    let mut open = f.line.store().begin(Access::Write).await.unwrap();
    end(&mut *open, &last).await.unwrap();
    let very_last = tokio::spawn(ended(Arc::clone(&f), vec![third]));
    let very_last = waiting(very_last, "the last ending, for the one before").await;
    open.commit().await.unwrap();
    very_last.await.unwrap();
    assert_eq!(campaign_stage(&f).await, CampaignStage::Completed);
}

/// R28: an addition waits for no ending and for no other addition, nor they for it.
async fn additions_go_side_by_side(store: SharedStore) {
    let f = Arc::new(fixture_of(store, 3, Intake::OpenEnded).await);
    let ended_first = claim(&f, 1).await;
    let more = || [NewJob::new("k", json!({}))];
    let mut one = f.line.store().begin(Access::Write).await.unwrap();
    jobs::enqueue(&mut *one, f.campaign, &more()).await.unwrap();
    let mut two = f.line.store().begin(Access::Write).await.unwrap();
    jobs::enqueue(&mut *two, f.campaign, &more()).await.unwrap();
    ended(Arc::clone(&f), ended_first).await;
    two.commit().await.unwrap();
    one.commit().await.unwrap();
    assert_eq!(claim(&f, 10).await.len(), 4);
}

/// Claims and endings as they come: whatever their order, the campaign is settled by the last.
async fn however_endings_meet_the_last_settles(store: SharedStore) {
    let f = Arc::new(fixture(store, 40).await);
    let workers: Vec<_> = (0..6)
        .map(|worker| {
            let f = Arc::clone(&f);
            tokio::spawn(async move {
                loop {
                    let reports = claim(&f, 1 + worker % 2).await;
                    if reports.is_empty() {
                        return;
                    }
                    ended(Arc::clone(&f), reports).await;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(campaign_stage(&f).await, CampaignStage::Completed);
}

/// More than a server has connections: it runs some, the others wait in it and not for the database, so that
/// a person's pause need not wait behind them.
async fn a_pause_goes_past_what_workers_wait_with(store: SharedStore) {
    let f = Arc::new(fixture(store, 1).await);
    let (begun, release) = (watch::Sender::new(0_usize), watch::Sender::new(()));
    let waiting: Vec<JoinHandle<()>> = (0..100)
        .map(|_| {
            let (f, begun, released) = (Arc::clone(&f), begun.clone(), release.subscribe());
            tokio::spawn(async move {
                let ran = f.line.transact_quietly(move |_| {
                    let (begun, mut released) = (begun.clone(), released.clone());
                    Box::pin(async move {
                        begun.send_modify(|begun| *begun += 1);
                        released.changed().await.unwrap();
                        Ok(())
                    })
                });
                ran.await.unwrap();
            })
        })
        .collect();
    let within = Duration::from_secs(30);
    let mut seen = begun.subscribe();
    tokio::time::timeout(within, seen.wait_for(|begun| *begun == 8))
        .await
        .expect("some of them run")
        .unwrap();
    let pausing = f
        .line
        .transact(|tx| Box::pin(async move { queue::pause(tx, &operator()).await.map(drop) }));
    tokio::time::timeout(within, pausing)
        .await
        .expect("the pause waits for none of them")
        .unwrap();
    assert_eq!(*seen.borrow(), 8, "no more of them have begun");
    release.send_replace(());
    for one in waiting {
        one.await.unwrap();
    }
    assert_eq!(*seen.borrow(), 100);
}

async fn both_orders(way: PauseBy, stores: [support::Database; 2]) {
    let [first, second] = stores;
    a_pause_waits_for_a_claim_that_holds_the_gate(first.store.clone(), way).await;
    a_claim_waits_for_a_pause_and_gets_nothing(second.store.clone(), way).await;
}

async fn two_sqlite() -> [support::Database; 2] {
    [support::sqlite().await, support::sqlite().await]
}

async fn two_postgres() -> [support::Database; 2] {
    [support::postgres().await, support::postgres().await]
}

#[tokio::test(flavor = "multi_thread")]
async fn case_q3_claim_held_across_a_pause_on_postgres() {
    for way in WAYS {
        both_orders(way, two_postgres().await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_q3_claim_held_across_a_pause_on_sqlite() {
    for way in WAYS {
        both_orders(way, two_sqlite().await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_start_waits_for_a_pause_and_is_refused_on_both_stores() {
    let database = support::sqlite().await;
    a_start_waits_for_a_pause_and_is_refused(database.store.clone()).await;
    let database = support::postgres().await;
    a_start_waits_for_a_pause_and_is_refused(database.store.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i16_no_claim_commits_after_a_pause_has_returned_on_both_stores() {
    let database = support::sqlite().await;
    no_claim_commits_after_a_pause_has_returned_under_load(database.store.clone()).await;
    let database = support::postgres().await;
    no_claim_commits_after_a_pause_has_returned_under_load(database.store.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_no_claim_commits_once_its_campaign_is_cancelled_or_its_session_ended_on_both_stores() {
    for by in TAKERS {
        what_takes_away_waits_for_the_claim(support::sqlite().await, by).await;
        a_claim_waits_for_what_takes_away(support::sqlite().await, by).await;
        what_takes_away_waits_for_the_claim(support::postgres().await, by).await;
        a_claim_waits_for_what_takes_away(support::postgres().await, by).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r24_r26_a_retry_and_a_sweep_lock_in_one_order_on_postgres() {
    a_retry_waits_for_a_sweep_and_decides_afresh(support::postgres().await).await;
    a_sweep_waits_for_a_retry(support::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r27_endings_of_a_campaign_go_side_by_side_until_nothing_is_pending_on_postgres() {
    endings_go_side_by_side_until_nothing_is_pending(support::postgres().await.store.clone()).await;
    additions_go_side_by_side(support::postgres().await.store.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r27_however_endings_meet_the_last_settles_the_campaign_on_both_stores() {
    let database = support::sqlite().await;
    however_endings_meet_the_last_settles(database.store.clone()).await;
    for _ in 0..8 {
        let database = support::postgres().await;
        however_endings_meet_the_last_settles(database.store.clone()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r3_a_pause_goes_past_what_workers_wait_with_on_postgres() {
    a_pause_goes_past_what_workers_wait_with(support::postgres().await.store.clone()).await;
}
