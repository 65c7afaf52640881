//! The contract of `Store` and `Tx`, written once and run for every store.
//!
//! Where stores may differ, the difference is a capability that each declares ([`fixture`]); no test
//! asks which store it has before it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "the functions below are the tests: they stand outside of #[test], once for all stores"
)]

#[path = "store_conformance/fixture.rs"]
mod fixture;
mod store_sql;
mod support;

#[path = "store_conformance/campaigns.rs"]
mod campaigns;
#[path = "store_conformance/claims.rs"]
mod claims;
#[path = "store_conformance/counts.rs"]
mod counts;
#[path = "store_conformance/differential.rs"]
mod differential;
#[path = "store_conformance/gate.rs"]
mod gate;
#[path = "store_conformance/jobs.rs"]
mod jobs;
#[path = "store_conformance/locks.rs"]
mod locks;
#[path = "store_conformance/pages.rs"]
mod pages;
#[path = "store_conformance/record.rs"]
mod record;
#[path = "store_conformance/retention.rs"]
mod retention;
#[path = "store_conformance/series.rs"]
mod series;
#[path = "store_conformance/transactions.rs"]
mod transactions;
#[path = "store_conformance/work.rs"]
mod work;

macro_rules! tests {
    ($store:ident: $($test:ident in $module:ident,)*) => {
        mod $store {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                crate::$module::$test(crate::fixture::$store().await).await;
            })*
        }
    };
}

macro_rules! on_every_store {
    ($($tests:tt)*) => {
        tests!(memory: $($tests)*);
        tests!(sqlite: $($tests)*);
        tests!(postgres: $($tests)*);
    };
}

on_every_store! {
    a_transaction_that_is_dropped_leaves_nothing in transactions,
    d4_a_reader_keeps_one_snapshot in transactions,
    a_transaction_for_reading_writes_nothing in transactions,
    a_transaction_whose_primitive_failed_is_not_committed in transactions,
    r17_the_clock_is_the_one_that_was_set in transactions,
    r35_a_store_has_one_identity_and_no_two_share_it in transactions,
    the_schema_is_current_after_a_migration_and_a_second_does_nothing in transactions,
    a_hint_reaches_everyone_who_listens in transactions,

    r35_a_line_is_initialised_once in gate,
    a_gate_is_read_as_it_was_written in gate,
    only_rows_that_differ_are_written in gate,
    i1_an_active_queue_with_an_open_breaker_is_not_committed in gate,
    i1_a_step_may_write_in_any_order in gate,
    r7_a_paused_queue_becomes_active_only_with_a_new_epoch in gate,
    i12_epoch_and_version_never_go_back in gate,
    r30_a_write_to_a_missing_row_is_corrupt in gate,
    r30_a_damaged_gate_is_corrupt_and_never_a_default in gate,
    r18_a_tally_keeps_its_first_and_its_last in gate,
    r18_tallies_are_of_the_present_state in gate,

    campaigns_are_read_as_they_were_written in campaigns,
    campaigns_are_locked_and_read_by_id_each_once in campaigns,
    a_write_adds_one_to_the_revision in campaigns,
    a_deleted_campaign_takes_all_that_is_its_own in campaigns,
    r10_marked_campaigns_are_counted_whatever_their_stage in campaigns,
    d1_campaigns_are_listed_and_counted_by_class in campaigns,
    names_are_searched_as_they_are_ignoring_case in campaigns,
    r27_unsettled_campaigns_are_found_by_their_counts in campaigns,

    case_q19_pages_of_campaigns_show_each_once in pages,
    case_q19_pages_of_jobs_show_each_once in pages,
    numbered_pages_tile_the_list in pages,

    jobs_are_read_as_they_were_written in jobs,
    no_result_and_the_result_null_are_two_things in jobs,
    jobs_are_locked_and_read_by_id_each_once in jobs,
    a_write_leaves_what_is_written_once in jobs,
    r29_of_two_jobs_with_one_key_the_first_stands in jobs,
    r29_a_key_is_held_whatever_the_stage in jobs,
    r28_a_job_without_a_campaign_is_refused in jobs,
    i11_an_id_is_given_once in jobs,
    d2_jobs_are_listed_by_stage_and_class in jobs,
    r24_a_session_holds_what_is_processing_or_cancelled_under_way in jobs,
    of_what_a_session_holds_only_what_plainly_goes_on_is_not_suspect in jobs,
    r24_what_was_taken_from_a_session_is_suspect_until_it_ends in jobs,
    the_oldest_pending_job_of_running_campaigns_is_found in jobs,
    times_far_out_stay_far_out in jobs,
    json_is_kept_or_refused_and_never_altered in jobs,

    r21_candidates_are_running_unmarked_and_have_pending_jobs in claims,
    r21_candidates_take_turns in claims,
    r21_claims_are_proposed_by_priority_then_due_date_then_id in claims,
    r21_the_prefilter_proposes_exactly_what_the_core_lets_be_claimed in claims,
    r21_proposals_are_bounded in claims,
    r21_only_pending_due_jobs_of_the_named_kinds_are_proposed in claims,

    counts_are_exact_with_deltas_and_after_each_fold in counts,
    counts_of_a_transaction_include_its_own_changes in counts,
    totals_are_by_stage_and_class_of_the_campaign in counts,

    attempts_are_read_as_they_were_written in work,
    i9_a_token_has_one_attempt in work,
    attempts_that_failed_are_listed_latest_first in work,
    r16_of_two_verdicts_on_a_call_the_first_stands in work,
    r34_of_two_results_of_a_step_the_first_stands in work,
    steps_are_read_by_job_in_order_of_time in work,
    sessions_are_read_as_they_were_written in work,
    r24_dead_sessions_are_those_that_expired_or_still_hold_jobs in work,

    r31_the_journal_is_read_as_it_was_written_in_both_orders in record,
    r31_the_journal_is_filtered in record,
    r31_the_journal_is_paged_by_its_numbers in record,
    i14_the_first_answer_under_a_key_is_kept in record,
    i14_old_answers_are_forgotten_and_new_ones_are_not in record,
    notes_are_written_over in record,

    r29_old_jobs_are_proposed_in_order in retention,
    i11_a_removed_job_is_counted_and_known in retention,
    r31_entries_go_behind_the_checkpoint in retention,

    samples_are_read_as_they_were_written_in_order_of_time in series,
    a_bucket_has_one_sample in series,
    the_latest_sample_of_each_is_found in series,
    old_samples_are_deleted_a_bounded_number_at_a_time in series,
    samples_go_with_their_campaign in series,
    running_campaigns_take_turns_to_be_sampled in series,
    campaigns_that_ended_are_found_until_they_are_sampled in series,
    r18_counts_of_calls_are_added_up_and_saturate in series,
    old_counts_of_calls_are_deleted_a_bounded_number_at_a_time in series,

    i16_a_gate_change_waits_for_claims_and_claims_wait_for_it in locks,
    i16_claims_share_the_gate in locks,
    r27_endings_share_a_campaign_and_what_changes_it_waits_for_them in locks,
    who_locks_a_row_second_sees_what_the_first_wrote in locks,
    r21_what_ends_a_session_waits_for_its_claims_and_they_for_it in locks,
    r21_claims_and_a_heartbeat_of_one_session_do_not_wait in locks,
    i14_a_key_in_use_is_waited_for in locks,
    r29_who_adds_a_key_second_waits_for_the_first in locks,
    r31_entries_become_visible_in_the_order_of_their_numbers in locks,
    r21_claims_pass_over_what_others_hold in locks,

    it_answers_as_the_store_in_memory_does in differential,
}
