//! The conformance suite of the ledger: one list of cases that both databases pass, and beside it what only one of
//! them can do (`sqlite_file`, `postgres_server`).
//!
//! Every case is a function of a [`Store`], a ledger of its own. A case that is missing from the list is dead code,
//! which clippy refuses. Rows are damaged and looked at over a second connection, past the ledger.

mod activity;
mod answers;
mod append;
mod damage;
mod erasing;
mod guards;
mod hanging;
mod many;
mod order;
mod people;
mod postgres_server;
mod reading;
mod replaying;
mod rotating;
mod rotating_postgres;
mod secrecy;
mod sqlite_file;
mod store;
mod system;
mod together;

#[cfg(feature = "weakened")]
pub use rotating_postgres::created_while_it_is_moved;
pub use store::{Column, LIMITS, Raw, Store, open_sqlite};

/// Makes a test for each database of every case.
macro_rules! on_both_databases {
    ($($theme:ident { $($case:ident),+ $(,)? })+) => {
        mod sqlite {
            $(mod $theme {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    let store = super::super::Store::sqlite().await;
                    super::super::$theme::$case(&store).await;
                })+
            })+
        }
        mod postgres {
            $(mod $theme {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    let store = super::super::Store::postgres().await;
                    super::super::$theme::$case(&store).await;
                })+
            })+
        }
    };
}

on_both_databases! {
    append {
        a_first_append_commits_event_facts_payload_address_and_answer,
        a_next_append_moves_the_subject_on,
        an_append_decided_on_another_version_writes_nothing,
        one_of_16_racing_first_appends_wins,
        one_of_16_racing_next_appends_wins,
        an_id_that_is_taken_is_refused_and_nothing_written,
        an_append_to_a_partition_without_a_head_writes_nothing,
        an_abandoned_append_is_there_whole_or_not_at_all,
    }
    together {
        an_act_on_several_subjects_commits_the_part_of_each,
        an_act_lies_where_the_order_of_its_subjects_puts_it,
        an_act_of_which_one_part_is_outdated_writes_nothing,
        an_act_of_which_one_part_is_refused_writes_nothing,
        an_act_under_a_used_key_writes_nothing,
        parts_that_no_act_may_have_are_refused,
        acts_in_opposite_orders_do_not_stand_in_each_others_way,
        acts_in_opposite_orders_under_one_key_are_carried_out_once,
        an_abandoned_act_is_there_on_all_its_subjects_or_on_none,
    }
    many {
        many_acts_commit_with_what_came_of_each,
        many_acts_are_as_the_same_acts_one_by_one,
        one_act_that_is_refused_is_no_fault_of_the_others,
        more_acts_than_may_go_together_are_refused,
        many_acts_stand_in_nobodys_way,
        many_abandoned_acts_are_there_all_or_not_at_all,
    }
    answers {
        an_answer_is_read_back_with_its_position,
        a_used_key_writes_nothing,
        a_used_key_is_free_under_another_rpc_or_business,
        one_of_16_racing_calls_with_one_key_wins,
        a_touched_answer_commits_a_write_and_an_untouched_one_none,
        answers_are_forgotten_by_age_and_limit,
    }
    reading {
        facts_come_in_the_order_asked_with_duplicates_and_absent_ones,
        facts_of_10000_subjects_come_in_one_statement,
        a_history_is_paged_with_payloads_and_holds_one_subject,
        changes_are_paged_by_partition_without_payloads,
        heads_are_those_of_every_partition_the_systems_first,
        subjects_are_paged_in_the_order_of_their_keys,
        the_address_that_came_first_is_kept,
        a_subject_is_found_by_its_id_with_its_place,
        what_was_erased_is_none_and_the_event_stays,
    }
    erasing {
        an_erasure_takes_what_is_personal_with_its_commit,
        an_erasure_is_of_one_person_alone,
        what_is_put_off_goes_when_its_time_has_come_and_what_came_later_stays,
        an_erasure_that_need_not_wait_takes_one_with_it_that_was_put_off,
        an_erasure_decided_on_another_version_removes_nothing,
        an_erasure_of_linked_addresses_takes_all_of_them_or_none,
        no_erasure_goes_together_with_acts_of_others,
        erasures_that_are_due_are_carried_out_once_by_however_many,
    }
    order {
        offsets_are_dense_and_in_commit_order_under_32_writers,
        facts_versions_and_as_of_are_of_one_snapshot,
        facts_of_another_fold_version_are_those_of_their_version_while_it_moves_on,
        replay_of_a_ledger_that_is_written_to_finds_nothing,
    }
    system {
        a_change_of_the_system_is_appended_only_at_the_expected_offset,
        one_of_16_racing_changes_of_the_system_wins,
        a_new_ledger_says_what_identifies_it,
        a_key_check_value_is_never_overwritten,
        a_closed_ledger_is_unavailable,
    }
    damage {
        a_damaged_subject_is_corrupt_and_never_facts,
        a_subjects_id_or_key_that_is_none_is_corrupt,
        facts_of_another_fold_version_are_folded_from_the_events,
        a_damaged_subject_is_not_found_by_its_id,
        facts_that_cannot_be_folded_again_are_corrupt,
        a_damaged_event_is_corrupt_wherever_it_is_read,
        an_event_under_another_subject_is_corrupt,
        a_damaged_answer_is_corrupt,
        a_partition_without_a_head_is_corrupt,
        a_damaged_meta_is_corrupt,
        a_damaged_change_of_the_system_is_corrupt,
    }
    guards {
        what_was_recorded_is_never_changed,
    }
    activity {
        activity_comes_in_the_order_asked_with_duplicates_and_strangers,
        activity_is_kept_apart_from_events_and_subjects,
        activity_of_10000_subjects_comes_in_one_statement,
        a_window_keeps_the_latest_message_in_whatever_order_they_come,
        a_send_reported_twice_counts_once,
        the_newest_sends_are_read_newest_first,
        a_permit_is_of_the_request_that_took_it,
        activity_is_forgotten_by_kind_age_and_limit,
        what_may_still_count_is_not_pruned,
        damaged_activity_is_corrupt,
        a_closed_ledger_has_no_activity_to_tell,
    }
    hanging {
        no_call_waits_for_it_longer_than_its_limit,
    }
    replaying {
        a_good_ledger_has_no_difference,
        more_events_and_subjects_than_a_page_are_read,
        each_kind_of_damage_is_found_and_named,
        what_does_not_read_is_named_and_the_rest_is_compared,
        damage_to_the_system_partition_is_found,
    }
    rotating {
        people_are_found_and_written_to_in_every_state,
        many_people_are_moved_a_batch_at_a_time,
        an_act_that_was_sealed_under_the_number_before_is_not_taken,
        a_batch_that_is_abandoned_leaves_everybody_under_one_key,
        what_was_noted_under_both_keys_becomes_one,
        an_erasure_takes_what_lies_under_either_key,
        sealed_values_are_replaced_only_as_they_were_read,
        a_rotation_begins_once_and_ends_once,
        a_number_that_was_in_use_with_another_secret_is_refused,
        rotations_follow_one_another,
        replay_while_people_are_moved_finds_nothing,
    }
    secrecy {
        no_number_is_stored_in_the_clear,
        a_number_in_the_clear_would_be_found,
    }
}
