use stateright::Checker;

use super::*;

/// Every configuration but the one of four transactions, which is left to `andon-model check`.
#[test]
fn i16_and_the_other_rules_hold_in_every_interleaving() {
    let configurations = configurations();
    assert_eq!(configurations.len(), Scenario::ALL.len());
    for configuration in configurations {
        if configuration.states > 10_000 {
            continue;
        }
        let report = configuration.check(1);
        assert!(report.is_right(), "{report}");
    }
}

#[track_caller]
fn check(shape: Shape) {
    let mut is_any = false;
    for wrong in WRONG.iter().filter(|wrong| wrong.shape == shape) {
        is_any = true;
        let trace = wrong.counter_example().unwrap_or_else(|| {
            panic!("{wrong:?}: the model does not find it");
        });
        assert_eq!(trace.steps.len(), wrong.steps, "{:#?}", trace.sentences);
    }
    assert!(is_any, "{shape:?} is in no table");
}

#[test]
fn i16_without_a_lock_a_claim_commits_after_a_pause_has_returned() {
    check(Shape::NoLock);
}

#[test]
fn i16_a_lock_inside_the_claims_statement_comes_too_late() {
    check(Shape::LockInsideClaim);
}

#[test]
fn i16_a_share_of_the_queues_row_misses_a_campaigns_pause() {
    check(Shape::QueueRowOnly);
    // It does see a pause of the queue, since that row is read afresh: which makes it so tempting.
    let model = Scenario::ClaimPauseQueue
        .model(Shape::QueueRowOnly)
        .unwrap();
    model.checker().spawn_bfs().join().assert_properties();
}

#[test]
fn i16_a_gate_that_is_read_before_its_lock_is_an_old_one() {
    check(Shape::GateReadFirst);
}

#[test]
fn i16_locks_in_another_order_deadlock() {
    check(Shape::LocksSwapped);
}

#[test]
fn r27_two_last_endings_that_do_not_lock_the_campaign_leave_it_unsettled() {
    check(Shape::SettleUnlocked);
}

#[test]
fn r27_two_last_endings_that_share_the_campaign_leave_it_unsettled() {
    check(Shape::SettleShared);
}

#[test]
fn r27_endings_that_do_not_look_again_miss_that_nothing_is_pending_any_more() {
    check(Shape::PendingSeenOnce);
}

#[test]
fn r27_late_endings_that_take_their_own_jobs_for_pending_ones_leave_the_campaign_unsettled() {
    check(Shape::OwnPendingShared);
}

#[test]
fn i9_i10_a_claim_that_does_not_lock_its_job_gives_one_token_twice() {
    check(Shape::ClaimUnlocked);
}

#[test]
fn r28_jobs_are_added_to_a_campaign_that_was_closed_meanwhile() {
    check(Shape::EnqueueUnlocked);
}

#[test]
fn r13_a_success_without_the_gate_writes_over_an_opening() {
    check(Shape::SuccessUnlocked);
}

#[test]
fn r21_a_claim_commits_after_a_cancel_that_does_not_hold_the_gate_has_returned() {
    check(Shape::CancelUnlocked);
}

#[test]
fn r21_r24_a_claim_that_does_not_share_its_session_commits_once_that_has_ended() {
    check(Shape::SessionUnlocked);
}

#[test]
fn r24_r26_a_retry_that_locks_the_session_last_deadlocks_with_a_sweep() {
    check(Shape::SessionLast);
}

#[test]
fn r26_a_retry_that_does_not_look_again_sends_back_what_is_held() {
    check(Shape::HolderSeenOnce);
}

#[track_caller]
fn told(shape: Shape, scenario: Scenario, property: &str, sentences: &[&str]) {
    let wrong = WRONG
        .iter()
        .find(|wrong| (wrong.shape, wrong.scenario, wrong.property) == (shape, scenario, property));
    let trace = wrong.unwrap().counter_example().unwrap();
    assert_eq!(trace.sentences, sentences);
}

#[test]
fn a_counter_example_reads_as_numbered_sentences() {
    told(
        Shape::LocksSwapped,
        Scenario::StartPauseCampaign,
        "no deadlock",
        &[
            "1. start takes the shared lock",
            "2. pause campaign locks the campaign",
            "3. start asks for the campaign, and waits for pause campaign",
            "4. pause campaign asks for the exclusive lock, and waits for start",
        ],
    );
    told(
        Shape::LockInsideClaim,
        Scenario::ClaimPauseQueue,
        "I16",
        &[
            "1. claim shares the session's row",
            "2. pause queue takes the exclusive lock",
            "3. claim begins the statement that claims, with its snapshot, asks for the shared lock \
             in it, and waits for pause queue",
            "4. pause queue reads the gate",
            "5. pause queue writes the gate",
            "6. pause queue locks the journal and appends to it",
            "7. pause queue commits: the line is PAUSED",
            "8. claim takes the shared lock, reads gate, campaigns and jobs as of when its \
             statement began",
            "9. claim writes the job",
            "10. pause queue returns to its caller",
            "11. claim commits: the job is claimed",
        ],
    );
}
