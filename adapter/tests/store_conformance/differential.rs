//! The same primitives, in an order that nobody chose, on a store and on the one in memory: both
//! must answer alike.

use andon::event::Tally;
use andon::{
    BreakerSettings, By, CampaignId, CampaignStage, Fingerprint, Gate, Intake, JobStage, Marking,
    Priority, StepName, Verdict,
};
use andon_adapter::store::{
    Access, AttemptRow, CampaignClass, CampaignFilter, CampaignRow, ClaimProposal, Error, GateLock,
    Grain, JobFilter, JobRow, JournalFilter, JournalOrder, Page, SampleFilter, SampleOf, StepRow,
    Tx,
};
use serde_json::json;

use crate::fixture::{self, Subject, number};
use crate::record::{answer, entry};
use crate::series;
use crate::store_sql::{
    at, attempt, campaign, campaign_id, epoch, initialise, job, job_id, mark, operator, service,
    session, session_id, token, with,
};
use crate::work::call;

/// Numbers that are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn one_of<T: Clone>(&mut self, values: &[T]) -> T {
        values[usize::try_from(self.roll(values.len() as u64)).unwrap()].clone()
    }

    fn small(&mut self, below: u64) -> i64 {
        i64::try_from(self.roll(below)).unwrap()
    }

    fn coin(&mut self) -> bool {
        self.roll(2) == 0
    }
}

/// What an answer is compared by: a value in full, an error by its kind.
fn shown<T: std::fmt::Debug>(answer: Result<T, Error>) -> Result<String, &'static str> {
    match answer {
        Ok(value) => Ok(format!("{value:?}")),
        Err(Error::Corrupt(_)) => Err("corrupt"),
        Err(Error::Constraint { .. }) => Err("constraint"),
        Err(_) => Err("other"),
    }
}

fn is_answer(shown: &Result<String, &'static str>) -> bool {
    shown.is_ok()
}

/// One primitive on both. Its arguments are read twice: they are names or constants.
macro_rules! both {
    ($pair:expr, $primitive:ident($($argument:expr),*)) => {{
        let one = shown($pair.0.$primitive($($argument),*).await);
        let two = shown($pair.1.$primitive($($argument),*).await);
        assert_eq!(one, two, "{} of {:?}", stringify!($primitive), ($(&$argument,)*));
        is_answer(&one)
    }};
}

type Pair = (Box<dyn Tx>, Box<dyn Tx>);

/// The numbers that are taken, and those that are free.
struct Numbers {
    taken: Vec<u128>,
    free: Vec<u128>,
}

impl Numbers {
    fn new(taken: Vec<u128>, last: u128) -> Self {
        let free = (1..=last)
            .filter(|number| !taken.contains(number))
            .collect();
        Self { taken, free }
    }

    /// Mostly one that is taken, if any is.
    fn known(&self, dice: &mut Dice) -> u128 {
        Self::mostly(dice, &self.taken, &self.free)
    }

    /// Mostly one that is free, if any is.
    fn new_one(&self, dice: &mut Dice) -> u128 {
        Self::mostly(dice, &self.free, &self.taken)
    }

    fn mostly(dice: &mut Dice, often: &[u128], seldom: &[u128]) -> u128 {
        let is_usual = dice.roll(16) > 0 || seldom.is_empty();
        dice.one_of(if is_usual && !often.is_empty() {
            often
        } else {
            seldom
        })
    }
}

async fn jobs_now(pair: &mut Pair) -> Numbers {
    let all: Vec<_> = (1..=JOBS).map(job_id).collect();
    let rows = pair.1.jobs(&all).await.unwrap();
    let taken = rows.iter().map(|row| number(row.facts.id().as_u128()));
    Numbers::new(taken.collect(), JOBS)
}

async fn campaigns_now(pair: &mut Pair) -> Numbers {
    let all: Vec<_> = (1..=CAMPAIGNS).map(campaign_id).collect();
    let rows = pair.1.campaigns(&all).await.unwrap();
    let taken = rows.iter().map(|row| number(row.facts.id().as_u128()));
    Numbers::new(taken.collect(), CAMPAIGNS)
}

const CAMPAIGNS: u128 = 7;
const JOBS: u128 = 40;

fn some_campaign(dice: &mut Dice, number: u128) -> CampaignRow {
    let stages = [
        CampaignStage::Created,
        CampaignStage::Running,
        CampaignStage::Running,
        CampaignStage::Completed,
        CampaignStage::Cancelled,
    ];
    let marks = [None, None, Some(mark(1)), Some(mark(2)), Some(mark(3))];
    let mut row = campaign(number, dice.one_of(&stages), dice.one_of(&marks));
    let intake = dice.one_of(&[Intake::OpenEnded, Intake::Closed]);
    row.facts = andon::CampaignRecord {
        intake,
        ..row.facts.record()
    }
    .into();
    row.name = dice.one_of(&["Alpha", "ÄLPHA", "al%ha", "b"]).into();
    row.description = dice.one_of(&[None, Some("why".into())]);
    row.finished_at = dice.one_of(&[None, Some(at(3))]);
    row
}

fn some_job(dice: &mut Dice, number: u128) -> JobRow {
    let mut row = with(job(number, number % CAMPAIGNS + 1), |facts| {
        facts.priority = Priority::try_from(u8::try_from(dice.roll(4)).unwrap()).unwrap();
        facts.run_at = at(dice.small(5) - 3);
        facts.attempt = u32::try_from(dice.roll(3)).unwrap();
        facts.mark = dice.one_of(&[None, Some(mark(1)), Some(mark(2))]);
        facts.token = token(dice.roll(4) + 1);
        facts.stage = dice.one_of(&[
            JobStage::Pending,
            JobStage::Pending,
            JobStage::Processing,
            JobStage::Completed,
            JobStage::Failed,
            JobStage::Cancelled,
        ]);
        let held = Some(session_id(u128::from(dice.roll(3) + 1)));
        facts.session = match facts.stage {
            JobStage::Processing => held,
            JobStage::Pending | JobStage::Cancelled => dice.one_of(&[None, held]),
            JobStage::Completed | JobStage::Failed => None,
        };
    });
    row.kind = dice.one_of(&["k", "l"]).into();
    row.payload = json!({"number": dice.roll(9)});
    row.unique_key = dice.one_of(&[None, Some("one".into()), Some("two".into())]);
    row.finished_at = dice.one_of(&[None, Some(at(8))]);
    row.result = dice.one_of(&[None, Some(json!(null)), Some(json!([1]))]);
    row
}

fn some_attempt(dice: &mut Dice, number: u128) -> AttemptRow {
    let mut row = attempt(number, dice.roll(4));
    row.claimed_at = at(dice.small(4));
    row.ending = dice.one_of(&[None, Some("service".into()), Some("swept".into())]);
    row.error = dice.one_of(&[None, Some("503".into())]);
    row.fingerprint = dice.one_of(&[None, Some(Fingerprint([3; 32]))]);
    row
}

/// A write; whether both went on.
async fn write(pair: &mut Pair, dice: &mut Dice) -> bool {
    let (campaigns, jobs) = (campaigns_now(pair).await, jobs_now(pair).await);
    let number = campaigns.known(dice);
    let (of, second) = (campaign_id(number), dice.small(9));
    match dice.roll(17) {
        0 | 1 => {
            let number = campaigns.new_one(dice);
            let row = some_campaign(dice, number);
            both!(pair, campaign_insert(&row))
        }
        2 => {
            let row = some_campaign(dice, number);
            both!(pair, campaign_write(&row))
        }
        3 if dice.roll(4) == 0 => both!(pair, campaign_delete(of)),
        3..=5 => {
            let some = |_| {
                let number = jobs.new_one(dice);
                some_job(dice, number)
            };
            // Nobody gives one id twice.
            let mut rows: Vec<JobRow> = (0..3).map(some).collect();
            rows.sort_by_key(|row| row.facts.id());
            rows.dedup_by_key(|row| row.facts.id());
            both!(pair, jobs_insert(&rows))
        }
        6 | 7 => {
            let some = |_| {
                let number = jobs.known(dice);
                some_job(dice, number)
            };
            let rows: Vec<JobRow> = (0..2).map(some).collect();
            both!(pair, jobs_write(&rows))
        }
        8 => {
            let stage = dice.one_of(&[JobStage::Pending, JobStage::Processing, JobStage::Failed]);
            let deltas = [(of, stage, second), (of, JobStage::Completed, 1)];
            both!(pair, counts_add(&deltas))
        }
        9 => {
            let limit = u32::try_from(dice.roll(4)).unwrap();
            both!(pair, counts_fold(limit))
        }
        10 | 11 => gate_write(pair, dice, second).await,
        12 => record_write(pair, dice, second).await,
        13 => series_write(pair, dice, number, second).await,
        _ => {
            let number = jobs.known(dice);
            work_write(pair, dice, number, second).await
        }
    }
}

async fn series_write(pair: &mut Pair, dice: &mut Dice, number: u128, second: i64) -> bool {
    let (grain, limit) = (
        dice.one_of(&Grain::ALL),
        u32::try_from(dice.roll(4)).unwrap(),
    );
    let of = dice.one_of(&[SampleOf::Line, series::of(number)]);
    match dice.roll(5) {
        0 | 1 => {
            let rows = [series::sample(of, grain, second, dice.roll(9))];
            both!(pair, samples_write(&rows))
        }
        2 => both!(pair, samples_prune(grain, at(second - 3), limit)),
        3 => {
            let rows = [series::calls("openai", second, dice.roll(9), dice.roll(2))];
            both!(pair, call_counts_add(&rows))
        }
        _ => both!(pair, call_counts_prune(at(60 * (second - 3)), limit)),
    }
}

async fn work_write(pair: &mut Pair, dice: &mut Dice, number: u128, second: i64) -> bool {
    let (job, under) = (job_id(number), token(dice.roll(5)));
    let row = some_attempt(dice, number);
    match dice.roll(7) {
        0 | 1 => both!(pair, attempts_insert(std::slice::from_ref(&row))),
        2 => both!(pair, attempts_write(std::slice::from_ref(&row))),
        3 => {
            let (number, openai) = (call(dice.roll(3)), service("openai"));
            let verdict = dice.one_of(&[Verdict::Opened, Verdict::Stale]);
            both!(
                pair,
                verdict_insert(job, under, number, &openai, verdict, at(0))
            )
        }
        4 => {
            let name = StepName::new(dice.one_of(&["a", "b"])).unwrap();
            let result = json!(dice.roll(9));
            let step = StepRow {
                job,
                name,
                token: under,
                result,
                at: at(second),
            };
            both!(pair, step_insert(&step))
        }
        5 => {
            let from = session_id(u128::from(dice.roll(3) + 1));
            both!(pair, lease_lost_insert(from, job))
        }
        _ => {
            let mut row = session(u128::from(dice.roll(3) + 1));
            row.facts.expires_at = at(second);
            row.facts.ended_at = dice.one_of(&[None, Some(at(1))]);
            let known = pair.1.session(row.facts.id).await.unwrap();
            if known.is_none() || dice.roll(16) == 0 {
                both!(pair, session_insert(&row))
            } else {
                both!(pair, session_write(&row.facts))
            }
        }
    }
}

async fn record_write(pair: &mut Pair, dice: &mut Dice, second: i64) -> bool {
    let key = dice.one_of(&["a", "b", "c"]);
    match dice.roll(5) {
        0 => both!(pair, idempotency_insert(&answer(key, second))),
        1 => both!(pair, idempotency_prune(at(second))),
        2 => both!(pair, note_write(key, "value")),
        _ => {
            let some = |_| entry(dice.roll(50) + 1);
            let entries: Vec<_> = (0..3).map(some).collect();
            both!(pair, journal_append(&entries))
        }
    }
}

async fn gate_write(pair: &mut Pair, dice: &mut Dice, second: i64) -> bool {
    let before: Gate = pair.0.gate().await.unwrap();
    let named = service(dice.one_of(&["apollo", "openai", "perplexity"]));
    let tally = dice.one_of(&[Tally::Stale, Tally::WhileOpen]);
    let services = [(named.clone(), BreakerSettings::default())].into();
    let decision = match dice.roll(5) {
        4 => before
            .decide_acknowledge(&operator(), before.epoch(), at(second))
            .map(|d| d.map(drop)),
        0 => before
            .decide_pause_queue(&operator(), at(second))
            .map(|d| d.map(drop)),
        1 => before
            .decide_open_breaker(&operator(), &named, at(second))
            .map(|d| d.map(drop)),
        2 => before
            .decide_reset_breaker(&operator(), &named, at(second))
            .map(|d| d.map(drop)),
        _ => before.decide_configure(&By::SYSTEM, &services, at(second)),
    };
    let Ok(decision) = decision else {
        let nothing: Option<&andon::Origin> = None;
        return both!(
            pair,
            tally_add(&named, before.version(), tally, nothing, at(second))
        );
    };
    let mut after = before.clone();
    after.apply(&decision);
    both!(pair, gate_write(&before, &after))
}

/// Every primitive that reads.
async fn read(pair: &mut Pair, dice: &mut Dice) {
    let of_epoch = epoch(dice.roll(4) + 1);
    let campaigns: Vec<_> = (1..=8).map(campaign_id).collect();
    let jobs: Vec<_> = (1..=JOBS + 1).map(job_id).collect();
    let one = campaign_id(u128::from(dice.roll(8) + 1));
    let limit = u32::try_from(dice.roll(5)).unwrap();
    let (now, after) = (at(dice.small(9)), dice.one_of(&[None, Some(one)]));
    both!(pair, gate());
    both!(pair, tallies());
    both!(pair, campaigns(&campaigns));
    both!(pair, campaigns_marked(of_epoch));
    both!(pair, campaign_totals(of_epoch));
    both!(pair, campaigns_unsettled(limit));
    both!(pair, job_counts(&campaigns));
    both!(pair, pending_around(&jobs));
    both!(pair, job_totals(of_epoch));
    both!(pair, jobs(&jobs));
    both!(pair, oldest_pending());
    both!(pair, claim_campaigns(of_epoch, after, limit));
    both!(pair, attempts_failed(one, limit));
    both!(pair, steps(&jobs));
    both!(pair, sessions_dead(now, limit));
    both!(pair, sessions_alive(now));
    for n in 1..=3 {
        both!(pair, session(session_id(n)));
        both!(pair, jobs_held(session_id(n)));
        both!(pair, jobs_suspect(session_id(n)));
    }
    for key in ["a", "b", "c"] {
        both!(pair, idempotency(key));
        both!(pair, note(key));
    }
    let keys: Vec<_> = jobs.iter().map(|job| (*job, token(dice.roll(4)))).collect();
    both!(pair, attempts(&keys));
    both!(pair, attempts_of(jobs[3]));
    lists(pair, dice).await;
    series_read(pair, dice, number(one.as_u128()), after).await;
}

async fn series_read(pair: &mut Pair, dice: &mut Dice, one: u128, after: Option<CampaignId>) {
    let (since, until) = (at(dice.small(9)), at(dice.small(9)));
    let (grain, limit) = (
        dice.one_of(&Grain::ALL),
        u32::try_from(dice.roll(5)).unwrap(),
    );
    let filter = SampleFilter {
        of: dice.one_of(&[SampleOf::Line, series::of(one)]),
        grain,
        since,
        until,
        limit,
    };
    let asked = [SampleOf::Line, series::of(one), series::of(one + 1)];
    let (openai, hour) = (service("openai"), at(3600));
    both!(pair, campaigns_running(after, limit));
    both!(pair, campaigns_ended_unsampled(since, until, limit));
    both!(pair, samples(&filter));
    both!(pair, samples_latest(&asked, grain, until));
    both!(pair, call_counts(&openai, since, hour));
}

async fn lists(pair: &mut Pair, dice: &mut Dice) {
    let stages = [
        CampaignStage::Created,
        CampaignStage::Running,
        CampaignStage::Cancelled,
    ];
    let class = |dice: &mut Dice| CampaignClass {
        stage: dice.one_of(&stages),
        marking: dice.one_of(&[Marking::Marked, Marking::Unmarked]),
    };
    let page = |dice: &mut Dice| (dice.roll(3), u32::try_from(dice.roll(9)).unwrap());
    let (offset, limit) = page(dice);
    let filter = CampaignFilter {
        classes: dice.coin().then(|| vec![class(dice), class(dice)]),
        epoch: dice.one_of(&[None, Some(epoch(2))]),
        name_contains: dice.one_of(&[None, Some("äl".into()), Some("%".into()), Some("A".into())]),
    };
    let after = dice.one_of(&[None, Some(campaign_id(5))]);
    both!(
        pair,
        campaign_list(
            &filter,
            Page {
                after,
                offset,
                limit
            }
        )
    );
    both!(pair, campaign_count(&filter));
    let (offset, limit) = page(dice);
    let stages = [JobStage::Pending, JobStage::Processing, JobStage::Completed];
    let filter = JobFilter {
        campaign: dice.one_of(&[None, Some(campaign_id(2))]),
        kind: dice.one_of(&[None, Some("k".into())]),
        classes: dice.coin().then(|| {
            vec![
                (dice.one_of(&stages), class(dice)),
                (JobStage::Pending, class(dice)),
            ]
        }),
        epoch: dice.one_of(&[None, Some(epoch(2))]),
    };
    let after = dice.one_of(&[None, Some(job_id(12))]);
    both!(
        pair,
        job_list(
            &filter,
            Page {
                after,
                offset,
                limit
            }
        )
    );
    let filter = JournalFilter {
        kinds: dice.one_of(&[vec![], vec!["queue_paused".into(), "breaker_closed".into()]]),
        service: dice.one_of(&[None, Some(service("openai"))]),
        campaign: dice.one_of(&[None, None, Some(campaign_id(1))]),
        since: dice.one_of(&[None, Some(at(20))]),
        until: dice.one_of(&[None, Some(at(40))]),
        order: dice.one_of(&[JournalOrder::NewestFirst, JournalOrder::OldestFirst]),
        limit,
        ..JournalFilter::default()
    };
    // Without their numbers, which a database may leave gaps in.
    let one = pair
        .0
        .journal(&filter)
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.entry);
    let two = pair
        .1
        .journal(&filter)
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.entry);
    assert!(one.eq(two), "{filter:?}");
}

async fn propose(pair: &mut Pair, dice: &mut Dice) {
    let proposal = ClaimProposal {
        campaigns: (0..dice.roll(5))
            .map(|_| campaign_id(u128::from(dice.roll(8) + 1)))
            .collect(),
        kinds: dice.one_of(&[vec![], vec!["k".into()], vec!["l".into(), "k".into()]]),
        per_campaign: u32::try_from(dice.roll(4)).unwrap(),
        now: at(dice.small(4) - 2),
    };
    both!(pair, claim_propose(&proposal));
}

pub async fn it_answers_as_the_store_in_memory_does(subject: Subject) {
    let memory = fixture::memory().await;
    for store in [&subject.store, &memory.store] {
        initialise(store, &["apollo", "openai"]).await;
    }
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let (mut committed, mut writes) = (0, 0);
    for _ in 0..300 {
        let mut pair = (subject.write().await, memory.write().await);
        both!(pair, gate_lock(GateLock::Exclusive));
        let mut is_sound = true;
        for _ in 0..=dice.roll(4) {
            is_sound = write(&mut pair, &mut dice).await;
            if !is_sound {
                break;
            }
            writes += 1;
            propose(&mut pair, &mut dice).await;
        }
        // A transaction that was refused may not go on; one in five is rolled back.
        if is_sound {
            read(&mut pair, &mut dice).await;
            if dice.roll(5) > 0 {
                pair.0.commit().await.unwrap();
                pair.1.commit().await.unwrap();
                committed += 1;
            }
        }
        let mut pair = (
            subject.read().await,
            memory.store.begin(Access::Read).await.unwrap(),
        );
        read(&mut pair, &mut dice).await;
    }
    assert!(
        committed > 80 && writes > 300,
        "{committed} commits and {writes} writes say little"
    );
}
