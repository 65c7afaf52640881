//! What is written to a SQL store is what is read from it, whatever it is; and nothing is left half
//! done.
#![allow(clippy::too_many_lines, reason = "tables of cases, each line one")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use andon::breaker::Standing;
use andon::event::Tally;
use andon::{
    AnyCampaign, BreakerSettings, By, CallNumber, CampaignStage, Entry, ErrorText, Fingerprint,
    Gate, GateRecord, Intake, JobCounts, JobStage, Ledger, Marking, Origin, Priority, StepName,
    Timestamp, Verdict,
};
use andon_adapter::store::{
    Access, CampaignClass, CampaignFilter, CampaignLock, ClaimProposal, GateLock, IdempotencyRow,
    Insertion, JobFilter, JournalFilter, JournalOrder, Page, Program, SessionLock, StepRow,
};
use serde_json::{Value, json};

use store_sql::{
    add, at, attempt, campaign, campaign_id, epoch, initialise, job, job_id, mark, operator,
    processing, running, service, session, session_id, token, version, with,
};
use support::Database;

#[macro_use]
mod store_sql;
mod support;

on_both!(
    a_gate_is_kept_as_it_is,
    campaigns_are_kept_as_they_are,
    campaigns_are_listed_and_counted_by_class,
    jobs_are_kept_as_they_are,
    jobs_are_listed_by_stage_and_class,
    claims_come_in_order,
    counts_are_exact_before_and_after_a_fold,
    attempts_verdicts_and_steps_are_kept,
    sessions_are_kept_and_found_dead,
    the_journal_is_read_in_parts,
    idempotency_keys_and_notes_are_kept,
    tallies_are_of_the_present_state,
    what_is_dropped_is_rolled_back,
    migrations_are_idempotent,
    a_transaction_whose_statement_failed_is_not_committed,
);

/// Through every state of queue and breakers, by the core's own decisions.
async fn a_gate_is_kept_as_it_is(db: Database) {
    let mut gate = initialise(&db.store, &["apollo", "openai"]).await;
    let openai = service("openai");
    let services = [
        (
            openai.clone(),
            BreakerSettings::new(3, Some(Duration::new(5, 17))).unwrap(),
        ),
        (service("perplexity"), BreakerSettings::default()),
    ]
    .into();
    let mut steps = Vec::new();
    let mut next = gate.clone();
    let mut step = |decision: andon::Decision<()>| {
        next.apply(&decision);
        steps.push(next.clone());
        next.clone()
    };
    let g = step(
        gate.decide_configure(&By::SYSTEM, &services, at(1))
            .unwrap(),
    );
    let g = step(
        g.decide_open_breaker(&operator(), &openai, at(2))
            .unwrap()
            .map(drop),
    );
    let g = step(
        g.decide_open_breaker(&operator(), &openai, at(3))
            .unwrap()
            .map(drop),
    );
    let g = step(
        g.decide_reset_breaker(&operator(), &openai, at(4))
            .unwrap()
            .map(drop),
    );
    let g = step(g.decide_pause_queue(&operator(), at(5)).unwrap().map(drop));
    let resume = andon::ResumeRequest {
        seen: None,
        keep: &[],
        unknown: &[],
        marks: andon::Marks::None,
    };
    step(
        g.decide_resume(&operator(), &resume, at(6))
            .unwrap()
            .map(drop),
    );
    for after in steps {
        let mut tx = db.store.begin(Access::Write).await.unwrap();
        tx.gate_lock(GateLock::Exclusive).await.unwrap();
        assert_eq!(tx.gate().await.unwrap(), gate);
        tx.gate_write(&gate, &after).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = db.store.begin(Access::Read).await.unwrap();
        assert_eq!(tx.gate().await.unwrap(), after);
        gate = after;
    }
    let GateRecord { breakers, .. } = gate.record();
    assert_eq!(breakers[0].standing, Standing::Retired);
    assert_eq!(breakers[1].settings.cool_down(), Some(Duration::new(5, 17)));
}

async fn campaigns_are_kept_as_they_are(db: Database) {
    let mut plain = campaign(1, CampaignStage::Created, None);
    plain.facts = AnyCampaign::created(plain.facts.id(), Intake::Closed);
    let mut full = campaign(2, CampaignStage::Cancelled, Some(mark(4)));
    full.name = "Ünïcode ✓ 'quoted' \\ %".into();
    full.description = Some(String::new());
    full.metadata = json!({"a": [1, 2.5, null, {"b": "ü"}]});
    full.started_at = Some(at(-1));
    full.finished_at = Some(Timestamp::from_micros(1));
    add(&db.store, &[plain.clone(), full.clone()], &[]).await;

    let ids = [campaign_id(2), campaign_id(9), campaign_id(1)];
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    let locked = tx
        .campaigns_lock(&ids.map(|id| (id, CampaignLock::Exclusive)))
        .await
        .unwrap();
    assert_eq!(locked, [plain.clone(), full.clone()]);
    assert_eq!(tx.campaigns(&ids).await.unwrap(), locked);
    assert_eq!(tx.campaigns_marked(epoch(4)).await.unwrap(), 1);
    assert_eq!(tx.campaigns_marked(epoch(5)).await.unwrap(), 0);
    let mut changed = plain.clone();
    changed.facts = campaign(1, CampaignStage::Running, Some(mark(9))).facts;
    tx.campaign_write(&changed).await.unwrap();
    tx.campaign_write(&changed).await.unwrap();
    changed.revision = 2;
    assert_eq!(tx.campaigns(&[campaign_id(1)]).await.unwrap(), [changed]);
    tx.campaign_delete(campaign_id(2)).await.unwrap();
    assert!(tx.campaigns(&[campaign_id(2)]).await.unwrap().is_empty());
    assert!(tx.campaign_delete(campaign_id(2)).await.is_err());
}

async fn campaigns_are_listed_and_counted_by_class(db: Database) {
    let rows = [
        campaign(1, CampaignStage::Created, None),
        running(2),
        campaign(3, CampaignStage::Running, Some(mark(2))),
        campaign(4, CampaignStage::Running, Some(mark(3))),
        campaign(5, CampaignStage::Failed, Some(mark(3))),
    ];
    add(&db.store, &rows, &[]).await;
    let mut tx = db.store.begin(Access::Read).await.unwrap();
    let class = |stage, marking| CampaignClass { stage, marking };
    let totals = tx.campaign_totals(epoch(3)).await.unwrap();
    let expected = BTreeMap::from([
        (class(CampaignStage::Created, Marking::Unmarked), 1),
        (class(CampaignStage::Running, Marking::Unmarked), 2),
        (class(CampaignStage::Running, Marking::Marked), 1),
        (class(CampaignStage::Failed, Marking::Marked), 1),
    ]);
    assert_eq!(totals, expected);
    let all = Page {
        after: None,
        offset: 0,
        limit: 10,
    };
    let mut ids = async |filter: &CampaignFilter, page| -> Vec<u128> {
        let rows = tx.campaign_list(filter, page).await.unwrap();
        if (page.offset, page.after) == (0, None) {
            assert_eq!(tx.campaign_count(filter).await.unwrap(), rows.len() as u64);
        }
        rows.iter()
            .map(|row| row.facts.id().as_u128() & 0xff)
            .collect()
    };
    let any = CampaignFilter::default();
    assert_eq!(ids(&any, all).await, [5, 4, 3, 2, 1]);
    assert_eq!(
        ids(
            &any,
            Page {
                offset: 1,
                limit: 2,
                ..all
            }
        )
        .await,
        [4, 3]
    );
    assert_eq!(
        ids(
            &any,
            Page {
                after: Some(campaign_id(3)),
                ..all
            }
        )
        .await,
        [2, 1]
    );
    let of = |classes: &[CampaignClass]| CampaignFilter {
        classes: Some(classes.to_vec()),
        epoch: Some(epoch(3)),
        name_contains: None,
    };
    let (marked, unmarked) = (
        class(CampaignStage::Running, Marking::Marked),
        class(CampaignStage::Running, Marking::Unmarked),
    );
    assert_eq!(ids(&of(&[marked]), all).await, [4]);
    assert_eq!(ids(&of(&[unmarked]), all).await, [3, 2]);
    assert_eq!(ids(&of(&[]), all).await, [0u128; 0]);
    let without_epoch = CampaignFilter {
        epoch: None,
        ..of(&[marked, unmarked])
    };
    assert_eq!(ids(&without_epoch, all).await, [4, 3, 2]);
    let named = |part: &str| CampaignFilter {
        name_contains: Some(part.into()),
        ..any.clone()
    };
    assert_eq!(ids(&named("cAmpaign 3"), all).await, [3]);
    assert_eq!(ids(&named("%"), all).await, [0u128; 0]);
}

async fn jobs_are_kept_as_they_are(db: Database) {
    let mut full = processing(job(2, 1), 1);
    full = with(full, |facts| {
        facts.mark = Some(mark(1));
        facts.priority = Priority::HIGHEST;
        facts.max_attempts = u32::MAX;
        facts.run_at = at(-3);
    });
    full.payload = json!(["\"", "ü", 1.5, -9_007_199_254_740_993_i64, u64::MAX, null]);
    full.unique_key = Some("a 'key' \\".into());
    full.finished_at = Some(at(9));
    // No result and the result `null` are two things.
    full.result = Some(Value::Null);
    let plain = job(1, 1);
    add(&db.store, &[running(1)], &[full.clone(), plain.clone()]).await;

    let mut tx = db.store.begin(Access::Write).await.unwrap();
    let ids = [job_id(2), job_id(3), job_id(1)];
    assert_eq!(
        tx.jobs_lock(&ids).await.unwrap(),
        [plain.clone(), full.clone()]
    );
    assert_eq!(tx.jobs(&ids).await.unwrap(), [plain.clone(), full.clone()]);
    assert_eq!(tx.jobs_held(session_id(1)).await.unwrap(), [job_id(2)]);
    let done = with(full.clone(), |facts| {
        facts.stage = JobStage::Completed;
        facts.session = None;
        facts.mark = None;
    });
    let swept = with(plain, |facts| facts.session = Some(session_id(1)));
    tx.jobs_write(&[done.clone(), swept.clone()]).await.unwrap();
    assert_eq!(tx.jobs(&ids).await.unwrap(), [swept, done.clone()]);
    assert!(tx.jobs_held(session_id(1)).await.unwrap().is_empty());
    let cancelled = with(full, |facts| facts.stage = JobStage::Cancelled);
    tx.jobs_write(&[cancelled]).await.unwrap();
    assert_eq!(tx.jobs_held(session_id(1)).await.unwrap(), [job_id(2)]);

    let mut again = job(5, 1);
    again.unique_key = done.unique_key.clone();
    let mut first = job(6, 1);
    first.unique_key = Some("new".into());
    let mut second = job(7, 1);
    second.unique_key = Some("new".into());
    let inserted = tx
        .jobs_insert(&[again, first.clone(), second, job(8, 1)])
        .await
        .unwrap();
    let [
        Insertion::Existed(old),
        Insertion::Added(six),
        Insertion::Existed(six_again),
        Insertion::Added(eight),
    ] = inserted.as_slice()
    else {
        panic!("{inserted:?}");
    };
    assert_eq!(
        (old.facts.id(), *six, *eight),
        (job_id(2), job_id(6), job_id(8))
    );
    assert_eq!(**six_again, first);
    assert!(tx.jobs_write(&[job(77, 1)]).await.is_err());
}

async fn jobs_are_listed_by_stage_and_class(db: Database) {
    let mut other = job(3, 2);
    other.kind = "other".into();
    let jobs = [job(1, 1), processing(job(2, 1), 1), other, job(4, 2)];
    add(
        &db.store,
        &[
            running(1),
            campaign(2, CampaignStage::Running, Some(mark(1))),
        ],
        &jobs,
    )
    .await;
    let mut tx = db.store.begin(Access::Read).await.unwrap();
    let all = Page {
        after: None,
        offset: 0,
        limit: 10,
    };
    let mut ids = async |filter: &JobFilter, page| -> Vec<u128> {
        let rows = tx.job_list(filter, page).await.unwrap();
        rows.iter()
            .map(|row| row.facts.id().as_u128() & 0xff)
            .collect()
    };
    let any = JobFilter::default();
    assert_eq!(ids(&any, all).await, [4, 3, 2, 1]);
    assert_eq!(
        ids(
            &any,
            Page {
                offset: 1,
                limit: 1,
                after: Some(job_id(4))
            }
        )
        .await,
        [2]
    );
    assert_eq!(
        ids(
            &JobFilter {
                campaign: Some(campaign_id(1)),
                ..any.clone()
            },
            all
        )
        .await,
        [2, 1]
    );
    assert_eq!(
        ids(
            &JobFilter {
                kind: Some("other".into()),
                ..any.clone()
            },
            all
        )
        .await,
        [3]
    );
    let class = |marking| CampaignClass {
        stage: CampaignStage::Running,
        marking,
    };
    let filter = JobFilter {
        classes: Some(vec![
            (JobStage::Pending, class(Marking::Marked)),
            (JobStage::Processing, class(Marking::Unmarked)),
        ]),
        epoch: Some(epoch(1)),
        ..any
    };
    assert_eq!(ids(&filter, all).await, [4, 3, 2]);
    assert_eq!(
        ids(
            &JobFilter {
                epoch: Some(epoch(2)),
                ..filter
            },
            all
        )
        .await,
        [2]
    );
}

async fn claims_come_in_order(db: Database) {
    let with_order = |number, of, priority: u8, due, kind: &str| {
        let mut row = with(job(number, of), |facts| {
            facts.priority = Priority::try_from(priority).unwrap();
            facts.run_at = at(due);
        });
        row.kind = kind.into();
        row
    };
    let jobs = [
        with_order(1, 1, 0, -9, "k"),
        with_order(2, 1, 3, -1, "k"),
        with_order(3, 1, 3, -2, "l"),
        with_order(4, 1, 3, -2, "k"),
        with_order(5, 1, 3, 5, "k"),
        with_order(6, 1, 3, -50, "m"),
        with_order(7, 2, 1, 0, "k"),
        with_order(8, 3, 1, 0, "k"),
        processing(with_order(9, 1, 3, -99, "k"), 1),
    ];
    let campaigns = [
        running(1),
        running(2),
        campaign(3, CampaignStage::Created, None),
        running(4),
    ];
    add(&db.store, &campaigns, &jobs).await;
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    let candidates = tx.claim_campaigns(epoch(1), None, 10).await.unwrap();
    let ids: Vec<_> = candidates.iter().map(|row| row.facts.id()).collect();
    assert_eq!(ids, [campaign_id(1), campaign_id(2)]);
    let after = tx
        .claim_campaigns(epoch(1), Some(campaign_id(1)), 10)
        .await
        .unwrap();
    assert_eq!(after.len(), 1);
    let mut propose = async |per_campaign| -> Vec<u128> {
        let proposal = ClaimProposal {
            campaigns: vec![
                campaign_id(2),
                campaign_id(1),
                campaign_id(1),
                campaign_id(4),
            ],
            kinds: vec!["k".into(), "l".into(), "k".into()],
            per_campaign,
            now: at(0),
        };
        let rows = tx.claim_propose(&proposal).await.unwrap();
        rows.iter()
            .map(|row| row.facts.id().as_u128() & 0xff)
            .collect()
    };
    assert_eq!(propose(10).await, [7, 3, 4, 2, 1]);
    assert_eq!(propose(2).await, [7, 3, 4]);
    assert_eq!(propose(0).await, [0u128; 0]);
    assert_eq!(tx.oldest_pending().await.unwrap(), Some(at(-50)));
}

async fn counts_are_exact_before_and_after_a_fold(db: Database) {
    let mut jobs: Vec<_> = (0..7).map(|number| job(number, 1)).collect();
    jobs.extend((10..13).map(|number| job(number, 2)));
    add(
        &db.store,
        &[
            running(1),
            campaign(2, CampaignStage::Running, Some(mark(1))),
        ],
        &jobs,
    )
    .await;
    let class = |marking| CampaignClass {
        stage: CampaignStage::Running,
        marking,
    };
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    tx.counts_add(&[
        (campaign_id(1), JobStage::Pending, -2),
        (campaign_id(1), JobStage::Completed, 2),
    ])
    .await
    .unwrap();
    let mut folded = Vec::new();
    loop {
        let counts = tx
            .job_counts(&[campaign_id(1), campaign_id(2), campaign_id(3)])
            .await
            .unwrap();
        let one = JobCounts {
            pending: 5,
            completed: 2,
            ..JobCounts::default()
        };
        let two = JobCounts {
            pending: 3,
            ..JobCounts::default()
        };
        assert_eq!(
            counts,
            BTreeMap::from([(campaign_id(1), one), (campaign_id(2), two)])
        );
        let totals = tx.job_totals(epoch(1)).await.unwrap();
        assert_eq!(totals[&(JobStage::Pending, class(Marking::Unmarked))], 5);
        assert_eq!(totals[&(JobStage::Pending, class(Marking::Marked))], 3);
        assert_eq!(totals[&(JobStage::Completed, class(Marking::Unmarked))], 2);
        let candidates = tx.claim_campaigns(epoch(1), None, 10).await.unwrap();
        assert_eq!(candidates.len(), 1);
        assert!(tx.campaigns_unsettled(10).await.unwrap().is_empty());
        if folded.last() == Some(&0) {
            break;
        }
        folded.push(tx.counts_fold(5).await.unwrap());
    }
    assert_eq!(folded, [5, 5, 2, 0]);
    let mut closed = running(1);
    closed.facts = AnyCampaign::from(andon::CampaignRecord {
        intake: Intake::Closed,
        ..closed.facts.record()
    });
    tx.campaign_write(&closed).await.unwrap();
    assert!(tx.campaigns_unsettled(10).await.unwrap().is_empty());
    let last = [
        (campaign_id(1), JobStage::Pending, -5),
        (campaign_id(1), JobStage::Failed, 5),
    ];
    tx.counts_add(&last).await.unwrap();
    assert_eq!(tx.campaigns_unsettled(10).await.unwrap(), [campaign_id(1)]);
    assert!(
        tx.claim_campaigns(epoch(1), None, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

async fn attempts_verdicts_and_steps_are_kept(db: Database) {
    add(&db.store, &[running(1)], &[job(1, 1), job(2, 1)]).await;
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    let mut full = attempt(1, 2);
    full.ended_at = Some(at(8));
    full.ending = Some("service".into());
    full.fingerprint = Some(Fingerprint([0xab; 32]));
    full.answer = Some(Value::Null);
    full.error = Some("500".into());
    full.kept_result = Some(json!({"kept": true}));
    let plain = attempt(1, 1);
    tx.attempts_insert(&[full.clone(), plain.clone(), attempt(2, 1)])
        .await
        .unwrap();
    assert_eq!(
        tx.attempts_of(job_id(1)).await.unwrap(),
        [plain.clone(), full.clone()]
    );
    assert_eq!(
        tx.attempts_failed(campaign_id(1), 5).await.unwrap(),
        [full.clone()]
    );
    let openai = service("openai");
    let call = |number| CallNumber::new(number).unwrap();
    for verdict in [Verdict::Opened, Verdict::Stale] {
        let (job, of) = (job_id(1), token(2));
        tx.verdict_insert(job, of, call(7), &openai, verdict, at(3))
            .await
            .unwrap();
    }
    full.verdicts = [(call(7), Verdict::Opened)].into();
    let keys = [
        (job_id(1), token(2)),
        (job_id(1), token(9)),
        (job_id(2), token(1)),
    ];
    assert_eq!(
        tx.attempts(&keys).await.unwrap(),
        [full.clone(), attempt(2, 1)]
    );
    let mut ended = plain;
    ended.error = Some("timeout".into());
    ended.ended_at = Some(at(99));
    tx.attempts_write(&[ended.clone()]).await.unwrap();
    assert_eq!(
        tx.attempts_failed(campaign_id(1), 5).await.unwrap(),
        [full, ended.clone()]
    );
    assert!(tx.attempts_write(&[attempt(1, 44)]).await.is_err());
    drop(tx);

    let mut tx = db.store.begin(Access::Write).await.unwrap();
    let step = |name: &str, result| StepRow {
        job: job_id(1),
        name: StepName::new(name).unwrap(),
        token: token(1),
        result,
        at: at(1),
    };
    tx.step_insert(&step("verify", json!(null))).await.unwrap();
    tx.step_insert(&step("verify", json!(2))).await.unwrap();
    tx.step_insert(&step("write", json!([3]))).await.unwrap();
    let steps = tx.steps(&[job_id(2), job_id(1)]).await.unwrap();
    assert_eq!(
        steps,
        [step("verify", json!(null)), step("write", json!([3]))]
    );
}

async fn sessions_are_kept_and_found_dead(db: Database) {
    add(&db.store, &[running(1)], &[processing(job(1, 1), 1)]).await;
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    tx.session_insert(&session(1)).await.unwrap();
    tx.session_insert(&session(2)).await.unwrap();
    let mut row = tx.session(session_id(1)).await.unwrap().unwrap();
    assert_eq!(row, session(1));
    assert_eq!(
        tx.session_lock(session_id(3), SessionLock::End)
            .await
            .unwrap(),
        None
    );
    assert!(tx.sessions_dead(at(29), 9).await.unwrap().is_empty());
    assert_eq!(
        tx.sessions_alive(at(29)).await.unwrap(),
        [session(1), session(2)]
    );
    row.facts = row.facts.heartbeat(at(20)).unwrap();
    tx.session_write(&row.facts).await.unwrap();
    assert_eq!(tx.sessions_dead(at(30), 9).await.unwrap(), [session_id(2)]);
    assert_eq!(tx.sessions_alive(at(30)).await.unwrap(), [row.clone()]);
    for number in [1, 2] {
        tx.session_write(&session(number).facts.end(at(31)))
            .await
            .unwrap();
    }
    // The first one still holds a job, the second one has nothing left to sweep.
    assert_eq!(tx.sessions_dead(at(99), 9).await.unwrap(), [session_id(1)]);
    tx.jobs_write(&[with(job(1, 1), |facts| facts.session = Some(session_id(1)))])
        .await
        .unwrap();
    assert!(tx.sessions_dead(at(99), 9).await.unwrap().is_empty());
}

async fn the_journal_is_read_in_parts(db: Database) {
    let gate = Gate::initial();
    let openai = service("openai");
    let mut ledger = Ledger::default();
    let services = [(openai.clone(), BreakerSettings::default())].into();
    let declared = gate
        .decide_configure(&By::SYSTEM, &services, at(1))
        .unwrap();
    let created =
        AnyCampaign::decide_create(&gate, campaign_id(1), Intake::Closed, &operator(), at(2));
    let refused = Entry::new(
        declared.stamp,
        &operator(),
        andon::Event::Refused {
            command: andon::RefusedCommand::Reset,
            service: Some(openai.clone()),
            refusal: ErrorText::new("no"),
        },
    );
    let entries = [
        Entry::new(declared.stamp, &declared.by, declared.events[0].clone()),
        Entry::new(created.stamp, &created.by, created.events[0].clone()),
        refused,
    ];
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    tx.journal_append(&entries).await.unwrap();
    tx.journal_append(&[]).await.unwrap();
    let all = JournalFilter {
        limit: 10,
        order: JournalOrder::OldestFirst,
        ..Default::default()
    };
    let rows = tx.journal(&all).await.unwrap();
    assert_eq!(
        rows.iter().map(|row| row.entry.clone()).collect::<Vec<_>>(),
        entries
    );
    for row in &rows {
        ledger.fold(&row.entry);
    }
    assert_eq!(ledger.campaigns.len(), 1);
    let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
    let mut read = async |filter: JournalFilter| -> Vec<i64> {
        tx.journal(&filter)
            .await
            .unwrap()
            .iter()
            .map(|row| row.seq)
            .collect()
    };
    let newest = JournalFilter {
        order: JournalOrder::NewestFirst,
        ..all.clone()
    };
    assert_eq!(
        read(JournalFilter { limit: 2, ..newest }).await,
        [seqs[2], seqs[1]]
    );
    assert_eq!(
        read(JournalFilter {
            after_seq: Some(seqs[0]),
            ..all.clone()
        })
        .await,
        seqs[1..]
    );
    assert_eq!(
        read(JournalFilter {
            before_seq: Some(seqs[1]),
            ..all.clone()
        })
        .await,
        seqs[..1]
    );
    assert_eq!(
        read(JournalFilter {
            service: Some(openai),
            ..all.clone()
        })
        .await,
        [seqs[0], seqs[2]]
    );
    assert_eq!(
        read(JournalFilter {
            campaign: Some(campaign_id(1)),
            ..all.clone()
        })
        .await,
        [seqs[1]]
    );
    let kinds = vec!["reset_refused".into(), "campaign_created".into()];
    assert_eq!(
        read(JournalFilter {
            kinds,
            ..all.clone()
        })
        .await,
        seqs[1..]
    );
    assert_eq!(
        read(JournalFilter {
            since: Some(at(2)),
            ..all.clone()
        })
        .await,
        [seqs[1]]
    );
    assert_eq!(
        read(JournalFilter {
            until: Some(at(1)),
            ..all
        })
        .await,
        [seqs[0], seqs[2]]
    );
}

async fn idempotency_keys_and_notes_are_kept(db: Database) {
    let row = IdempotencyRow {
        key: "ada POST /x 'k'".into(),
        request: Fingerprint([7; 32]),
        status: 409,
        body: json!({"code": "x"}),
        at: at(0),
    };
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    assert_eq!(tx.idempotency_lock(&row.key).await.unwrap(), None);
    tx.idempotency_insert(&row).await.unwrap();
    assert_eq!(tx.idempotency(&row.key).await.unwrap(), Some(row.clone()));
    assert_eq!(tx.idempotency_lock(&row.key).await.unwrap(), Some(row));
    assert_eq!(tx.idempotency_prune(at(0)).await.unwrap(), 0);
    assert_eq!(tx.idempotency_prune(at(1)).await.unwrap(), 1);
    assert_eq!(tx.note("identity").await.unwrap(), None);
    tx.note_write("identity", "one").await.unwrap();
    tx.note_write("identity", "two").await.unwrap();
    assert_eq!(tx.note("identity").await.unwrap().as_deref(), Some("two"));
    tx.notify().await.unwrap();
    tx.commit().await.unwrap();
}

async fn tallies_are_of_the_present_state(db: Database) {
    let gate = initialise(&db.store, &["openai"]).await;
    let openai = service("openai");
    let since = gate.breaker(&openai).unwrap().since();
    let origin = |error: &str| Origin::Call {
        service: openai.clone(),
        job: job_id(1),
        error: ErrorText::new(error),
    };
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    for (seconds, error) in [(1, "first"), (2, "second"), (3, "last")] {
        let origin = origin(error);
        tx.tally_add(&openai, since, Tally::Stale, Some(&origin), at(seconds))
            .await
            .unwrap();
    }
    tx.tally_add(&openai, since, Tally::WhileOpen, None, at(4))
        .await
        .unwrap();
    tx.tally_add(&openai, version(0), Tally::Stale, None, at(5))
        .await
        .unwrap();
    let tallies = tx.tallies().await.unwrap();
    assert_eq!(tallies.len(), 2);
    assert_eq!(
        (tallies[0].tally, tallies[0].count, tallies[0].since),
        (Tally::Stale, 3, since)
    );
    assert_eq!((tallies[0].first_at, tallies[0].last_at), (at(1), at(3)));
    assert_eq!(
        (&tallies[0].first, &tallies[0].last),
        (&Some(origin("first")), &Some(origin("last")))
    );
    assert_eq!(
        (tallies[1].tally, &tallies[1].first),
        (Tally::WhileOpen, &None)
    );
    tx.commit().await.unwrap();
    // R18: a count never overflows.
    db.raw
        .execute("UPDATE andon_tallies SET count = 9223372036854775807")
        .await;
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    tx.tally_add(&openai, since, Tally::Stale, None, at(6))
        .await
        .unwrap();
    assert_eq!(tx.tallies().await.unwrap()[0].count, i64::MAX as u64);
}

/// A transaction that is dropped, and a future of it that is dropped in the middle, leave nothing.
async fn what_is_dropped_is_rolled_back(db: Database) {
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    tx.campaign_insert(&running(1)).await.unwrap();
    drop(tx);
    let jobs: Vec<_> = (0..2000).map(|number| job(number, 1)).collect();
    for micros in [0, 50, 500, 2_000, 10_000, 40_000] {
        let mut tx = db.store.begin(Access::Write).await.unwrap();
        tx.campaign_insert(&running(1)).await.unwrap();
        let cut_off = tokio::time::timeout(Duration::from_micros(micros), tx.jobs_insert(&jobs));
        let was_cut_off = cut_off.await.is_err();
        if was_cut_off {
            // Part of it may have been done: it must not be committed.
            assert!(tx.commit().await.is_err());
        }
    }
    let begin = tokio::time::timeout(Duration::from_micros(1), db.store.begin(Access::Write));
    drop(begin.await);
    assert_eq!(db.raw.int("SELECT count(*) FROM andon_campaigns").await, 0);
    assert_eq!(db.raw.int("SELECT count(*) FROM andon_jobs").await, 0);
    // The connections are good for the next ones.
    add(&db.store, &[running(1)], &jobs[..1]).await;
    assert_eq!(db.raw.int("SELECT count(*) FROM andon_jobs").await, 1);
}

async fn migrations_are_idempotent(db: Database) {
    db.store.check_schema(Program::Starting).await.unwrap();
    assert_eq!(db.store.migrate().await.unwrap(), [""; 0]);
    assert_eq!(
        db.store.identity().await.unwrap(),
        db.store.identity().await.unwrap()
    );
    // A newer program's schema, and one that was altered, are refused.
    db.raw
        .execute("UPDATE andon_migrations SET version = 99 WHERE version = 1")
        .await;
    let refusal = db.store.check_schema(Program::Starting).await.unwrap_err();
    let text = refusal.to_string();
    assert!(
        text.starts_with("the database schema has migration 0099_line, which this andon ("),
        "{text}"
    );
    assert!(
        text.ends_with(") does not have, or has otherwise: run the andon that applied it"),
        "{text}"
    );
    assert!(db.store.migrate().await.is_err());
    db.raw.execute("DROP TABLE andon_migrations").await;
    assert!(db.store.check_schema(Program::Starting).await.is_err());
    db.raw.execute("DROP TABLE andon_steps").await;
    let mut tx = db.store.begin(Access::Read).await.unwrap();
    let error = tx.steps(&[job_id(1)]).await.unwrap_err();
    assert!(
        matches!(error, andon_adapter::store::Error::SchemaNotCurrent),
        "{error:?}"
    );
}

/// `PostgreSQL` answers COMMIT of a failed transaction with a silent ROLLBACK; nobody is told so here.
async fn a_transaction_whose_statement_failed_is_not_committed(db: Database) {
    add(&db.store, &[running(1)], &[]).await;
    let mut tx = db.store.begin(Access::Write).await.unwrap();
    tx.note_write("a", "b").await.unwrap();
    assert!(tx.campaign_insert(&running(1)).await.is_err());
    assert!(tx.commit().await.is_err());
    assert_eq!(
        db.raw
            .int("SELECT count(*) FROM andon_notes WHERE name = 'a'")
            .await,
        0
    );
}
