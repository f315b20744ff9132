//! The consent service over gRPC, on both databases: what people agree to and take back, and what a sender is told.
//!
//! Every case is a function of a [`Backend`] and starts a server of its own. A case that is missing from the list is
//! dead code, which clippy refuses.

pub mod acts;
mod bad_input;
mod batches;
mod clocks;
mod coherence;
mod confirming;
mod damage;
mod deadlines;
mod decisions;
mod delivering;
mod erasing;
mod evidence;
mod explaining;
mod flow;
mod freshness;
mod history;
mod idempotency;
mod identity;
mod inbound;
mod known;
mod limits;
mod many;
mod overload;
mod rates;
mod recording_many;
mod registries;
mod reported;
mod rules;
mod scopes;
mod sending;
mod slow_ledger;
mod spellings;
mod standing;
mod streams;
mod suppressing;
mod walls;
mod wire;

use crate::harness::Backend;

/// Makes a test for each database of every case.
macro_rules! on_both_databases {
    ($($theme:ident { $($case:ident),+ $(,)? })+) => {
        mod sqlite {
            $(mod $theme {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::super::$theme::$case(super::super::Backend::Sqlite).await;
                })+
            })+
        }
        mod postgres {
            $(mod $theme {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::super::$theme::$case(super::super::Backend::Postgres).await;
                })+
            })+
        }
    };
}

on_both_databases! {
    recording_many {
        many_acts_are_recorded_as_one_by_one,
        many_acts_repeated_get_their_first_answers,
    }
    flow {
        a_grant_allows_a_withdrawal_denies_and_a_later_grant_allows_again,
        the_main_road_holds_on_the_systems_clock,
        a_person_never_seen_is_denied_and_has_neither_states_nor_history,
        a_withdrawal_of_somebody_never_seen_stands_until_a_later_act,
        a_withdrawal_older_than_the_grant_does_not_undo_it,
        of_a_grant_and_a_withdrawal_at_one_instant_the_withdrawal_counts,
        a_withdrawal_known_to_the_second_counts_to_its_end,
        against_a_withdrawal_by_another_clock_a_grant_must_be_clearly_later,
        a_withdrawal_in_the_future_counts_from_now,
        a_grant_a_little_in_the_future_counts_from_now,
        an_import_never_undoes_an_opt_out,
        implied_consent_allows_until_its_term_ends_and_never_after_an_opt_out,
        a_refusal_denies_until_a_later_grant,
        having_been_asked_is_no_consent,
        of_16_grants_at_once_every_one_counts,
        what_is_agreed_with_one_business_says_nothing_to_another,
    }
    clocks {
        a_clock_that_was_set_back_puts_no_act_before_what_is_recorded,
        an_instant_that_was_never_set_makes_an_opt_out_count_from_now,
        a_stop_at_once_beats_a_grant_by_a_clock_that_runs_ahead,
    }
    scopes {
        an_opt_out_covers_what_its_scope_says_and_nothing_else,
        a_wide_opt_out_covers_what_was_never_named_and_what_comes_later,
        an_opt_out_of_a_purpose_that_is_not_in_the_catalogue_holds_once_it_is,
        of_several_scopes_the_widest_counts_and_none_is_everything,
        an_opt_out_from_one_sender_leaves_the_others,
        an_opt_out_from_a_sender_that_nobody_knows_holds_for_all,
        a_grant_to_one_sender_counts_for_that_one_alone,
        a_later_act_reopens_its_own_scope_alone,
        who_ended_it_makes_the_state,
        what_the_platform_stopped_no_grant_reopens,
    }
    spellings {
        an_opt_out_through_any_spelling_holds_for_all,
        an_opt_out_of_somebody_never_seen_holds_for_all_spellings,
        a_grant_allows_its_own_spelling_and_its_twin_alone,
        numbers_that_only_look_alike_are_different_people,
        a_user_id_is_somebody_of_its_own_and_taken_verbatim,
    }
    idempotency {
        a_repeated_record_answers_as_the_first_did,
        a_key_with_other_content_is_refused_and_nothing_stored,
        a_key_is_free_for_another_call_and_another_business,
        a_repeated_confirmation_answers_as_the_first_did,
        a_repeated_opt_out_answers_the_first_ids_and_times,
        an_opt_out_with_a_used_key_is_another_opt_out,
        an_opt_out_without_a_usable_key_is_an_event_each_time,
        of_16_calls_at_once_with_one_key_one_counts_and_all_hear_of_it,
        of_16_opt_outs_at_once_with_one_key_and_16_people_none_is_lost,
        of_16_grants_at_once_with_one_key_and_16_people_one_is_stored,
    }
    confirming {
        a_request_waits_and_its_confirmation_allows,
        what_was_never_requested_cannot_be_confirmed,
        a_confirmation_counts_only_from_the_address_that_was_asked,
        a_request_expires,
        what_has_lapsed_or_still_holds_is_renewed_by_a_new_request,
        a_confirmation_must_be_later_than_its_request,
        a_confirmation_does_not_beat_a_withdrawal_newer_than_the_request,
        a_new_request_that_is_confirmed_beats_an_older_withdrawal,
        only_the_purposes_that_are_named_are_confirmed,
        a_confirmation_of_two_requests_confirms_both,
        of_16_confirmations_at_once_one_counts,
        what_is_wrong_with_a_confirmation_is_named,
    }
    suppressing {
        a_suppression_beats_every_grant_until_it_is_lifted,
        a_suppression_ends_by_itself_at_its_time,
        what_the_person_made_only_a_proven_later_act_of_the_person_lifts,
        lifting_is_no_grant_and_reaches_no_typed_opt_out,
        a_platform_stop_and_what_does_not_exist_cannot_be_lifted,
        a_suppression_that_says_too_little_or_too_much_is_refused,
    }
    erasing {
        an_erased_person_is_sent_nothing_and_nothing_personal_is_left,
        what_restricts_outlives_an_erasure_and_a_new_act_of_the_person_ends_it,
        a_window_from_before_an_erasure_is_closed_and_a_later_message_opens_one,
        an_erasure_is_of_all_addresses_that_are_linked,
        an_address_that_is_linked_with_an_erased_one_takes_the_erasure_over,
        an_erasure_repeated_answers_as_the_first_did_and_another_one_does_no_harm,
        a_person_never_seen_is_not_found_whoever_else_has_seen_them,
        what_is_wrong_with_an_erasure_is_named,
        proof_that_the_policy_has_kept_goes_when_its_time_has_come,
    }
    inbound {
        an_opt_out_in_the_persons_own_words_is_taken_at_once,
        the_button_that_whatsapp_offers_ends_marketing_by_payload_or_text,
        what_may_be_an_opt_out_pauses_marketing_until_it_is_settled,
        a_near_miss_and_an_ordinary_message_change_nothing,
        a_yes_confirms_only_while_something_waits_for_it,
        a_no_refuses_what_waits_and_nothing_else,
        a_message_opens_the_service_window_for_exactly_a_day,
        a_report_that_comes_twice_is_one_and_an_edited_message_is_another,
        whatsapps_own_stop_holds_until_its_own_resume,
        a_sign_up_in_whatsapp_grants_what_its_notice_names,
        an_opt_out_may_be_confirmed_once_by_the_number_that_heard_it,
        an_opt_out_is_heard_whatever_number_it_comes_from_or_to,
        what_is_wrong_with_a_report_is_named,
    }
    identity {
        an_opt_out_through_one_address_holds_for_the_linked_one,
        a_link_is_made_once_and_lets_a_grant_count_at_the_twin,
        a_message_that_links_and_comes_twice_is_answered_twice_alike,
        a_number_that_comes_with_another_user_id_is_in_doubt_until_the_person_acts,
        with_a_person_who_moves_go_the_opt_outs_and_no_grant,
        a_user_id_that_changes_leaves_the_number_without_doubt,
        an_opt_out_reaches_an_address_that_is_linked_through_another,
        opposite_acts_on_linked_addresses_at_once_are_all_kept,
    }
    registries {
        marketing_waits_for_every_registry_and_again_when_an_answer_is_too_old,
        a_listing_bars_marketing_at_once_until_the_registry_says_otherwise,
        of_a_reassigned_number_earlier_consent_is_void_and_later_is_not,
        a_check_of_no_registry_or_at_no_possible_time_is_refused,
    }
    sending {
        the_cap_of_a_purpose_defers_to_the_exact_instant,
        the_cap_of_a_jurisdiction_counts_advertising_for_all_purposes,
        reports_count_from_when_a_message_was_sent_in_whatever_order_they_come,
        a_request_for_consent_is_an_act_that_counts_as_an_ask,
        a_message_counts_for_all_spellings_and_aliases,
        a_message_counts_at_every_address_of_the_person,
        what_is_wrong_with_a_send_is_named_and_an_unknown_person_is_not_wrong,
    }
    delivering {
        whatsapps_opt_out_bars_marketing_and_nothing_else,
        whatsapps_opt_out_is_of_one_number_and_ends_when_that_one_is_resumed,
        three_failures_in_a_row_make_an_address_unreachable_for_30_days,
        whoever_says_yes_or_no_is_reached_too,
        whatsapps_own_limit_defers_marketing_for_a_day,
        a_changed_identity_key_puts_it_in_doubt_whose_number_it_is,
        what_is_no_fault_of_the_recipient_changes_nothing,
        a_providers_own_word_for_opted_out_is_one,
        an_opt_out_is_refused_for_nothing_but_its_business_and_recipient,
        an_opt_out_of_somebody_never_seen_holds_and_in_the_future_is_now,
        in_a_burst_only_whatsapps_own_opt_outs_are_believed,
        a_burst_is_a_share_of_what_was_reported_as_sent,
    }
    evidence {
        each_rule_refuses_with_its_own_reason_and_field,
        a_number_that_no_country_has_is_refused_in_a_grant_alone,
        a_business_may_let_consents_count_that_did_not_name_whatsapp,
        implied_consent_is_refused_where_purpose_or_jurisdiction_do_not_know_it,
        missing_evidence_names_its_field,
        every_field_that_can_be_required_can_be_given,
        a_consent_that_is_too_weak_for_the_jurisdiction_is_refused,
        everything_that_is_wrong_is_said_at_once,
    }
    explaining {
        an_allow_is_explained_by_the_consent_that_carries_it,
        each_denial_names_its_rule_and_what_would_have_to_change,
        what_the_policy_asks_for_names_its_entry,
        a_deferral_names_the_hours_and_when_to_ask_again,
        an_instant_of_the_past_does_not_know_later_consents_but_every_restriction,
        an_instant_of_the_future_knows_what_ends_until_then,
        only_the_events_that_bear_on_the_question_are_shown_with_their_evidence,
        what_the_person_wrote_is_part_of_the_explanation,
        a_confirmation_of_an_opt_out_is_explained_without_using_its_permit_up,
        what_was_sent_and_what_failed_is_part_of_the_explanation,
        linked_addresses_show_what_was_agreed_to_at_the_other_one,
        explaining_changes_nothing_and_a_person_never_seen_has_no_events,
        a_question_that_cannot_be_asked_is_refused,
    }
    history {
        an_act_is_listed_as_it_was_recorded,
        an_opt_out_is_listed_as_it_was_recorded,
        implied_consent_is_listed_with_its_basis,
        a_refusal_is_listed_with_how_and_to_what,
        pages_follow_each_other_without_gap_or_overlap,
        a_page_goes_on_where_it_ended_while_others_write,
        a_token_of_another_list_is_refused,
    }
    standing {
        each_state_is_told,
        a_pending_request_is_told_as_pending,
        a_record_says_what_the_consent_rests_on,
        states_are_listed_by_purpose_and_sender,
        a_state_is_told_as_of_an_instant_but_restrictions_count_whatever_it_says,
        what_is_not_in_the_catalogue_is_no_question,
    }
    rules {
        each_class_asks_for_consent_in_its_own_way,
        a_template_counts_if_its_class_is_stricter,
        a_consent_ends_when_its_term_does,
        an_answer_holds_for_five_seconds_and_never_beyond_the_consent,
        the_term_of_an_answer_is_a_setting,
        a_held_sender_sends_nothing_from_now_on,
        new_processing_ends_the_consents_to_the_old_one,
        a_decision_names_the_version_of_its_rules,
        another_policy_is_another_version_and_decides_from_the_start,
    }
    freshness {
        every_offered_requirement_is_met,
        a_token_of_another_ledger_or_an_altered_one_is_refused,
        a_ledger_that_lost_what_a_token_proves_does_not_answer,
        what_would_weaken_the_promise_is_refused,
        fully_consistent_reads_the_ledger_itself,
    }
    batches {
        results_stand_in_the_order_of_the_request,
        a_malformed_recipient_fails_alone,
        the_largest_batches_pass_a_default_client,
        a_batch_that_cannot_be_asked_is_refused_whole,
        a_batch_holds_no_longer_than_any_of_its_answers,
        every_decision_has_an_id_of_its_own,
    }
    streams {
        answers_stand_in_the_order_of_the_audience,
        a_malformed_recipient_fails_its_own_item,
        an_opt_out_between_two_chunks_counts_for_the_second,
        a_stream_goes_on_where_another_one_broke_off,
        what_cannot_be_asked_ends_the_stream_after_the_answers_before_it,
        the_largest_chunks_pass_a_default_client,
        a_message_over_the_limit_ends_the_stream_as_it_does_a_call,
        whoever_does_not_read_is_not_read_from_and_stops_nobody_else,
        a_stream_ends_at_its_deadline,
        at_the_servers_end_a_stream_ends_between_two_chunks_and_goes_on_elsewhere,
        a_stream_that_nobody_reads_holds_the_end_up_no_longer_than_the_grace,
    }
    many {
        a_single_miss_is_answered_while_a_batch_is_read,
    }
    limits {
        a_record_takes_what_fits_and_refuses_one_more,
        the_largest_record_is_taken_and_listed_whole,
        a_question_takes_what_fits_and_refuses_one_more,
        a_confirmation_takes_what_fits_and_refuses_one_more,
        numbers_have_from_7_to_15_digits,
        an_opt_out_is_cut_to_size,
    }
    bad_input {
        an_address_that_is_none_is_refused_by_every_call,
        a_recipient_that_is_missing_is_refused_by_every_call,
        a_name_that_the_catalogue_does_not_have_is_refused,
        a_check_lacking_what_its_class_needs_is_refused,
        an_enum_number_that_is_not_known_is_refused,
        an_opt_out_is_taken_whatever_else_is_wrong_with_it,
        an_instant_at_which_nobody_can_have_agreed_is_refused,
        control_characters_are_refused_where_an_identifier_stands,
        fields_that_contradict_each_other_are_refused,
    }
    wire {
        text_that_is_not_utf8_is_refused_with_the_path_of_its_field,
        bytes_that_are_no_message_are_refused,
        fields_that_are_not_known_are_ignored,
        a_message_over_the_limit_is_refused_and_one_below_is_taken,
        more_than_four_mebibytes_are_refused_by_default,
        exactly_what_the_contract_announces_is_unimplemented,
        health_answers_for_the_server_and_each_service,
        reflection_lists_the_services_and_knows_every_message,
        reflection_can_be_switched_off,
    }
    deadlines {
        a_write_goes_on_when_its_caller_stops_waiting,
        a_change_of_the_catalogue_goes_on_when_its_caller_stops_waiting,
        a_shutdown_waits_for_a_write_that_nobody_waits_for,
    }
    damage {
        facts_that_do_not_read_are_no_decision,
        a_history_that_does_not_read_is_not_shown_in_part,
    }
    rates {
        a_caller_that_asks_too_fast_is_refused_and_its_opt_outs_are_not,
    }
    walls {
        facts_of_another_business_are_no_decision,
        events_of_another_business_are_neither_shown_nor_folded,
        evidence_and_answers_of_another_business_are_not_given,
    }
    coherence {
        no_answer_is_from_before_an_acknowledged_write_of_one_person,
        no_answer_is_from_before_an_acknowledged_write_of_several_people,
        the_hammer_catches_a_cache_that_keeps_what_it_loaded_unchecked,
    }
    known {
        what_is_old_or_guessed_wrong_or_repeated_loses_nothing_and_writes_nothing_twice,
    }
    decisions {
        while_one_person_agrees_and_withdraws_every_check_says_what_holds,
        while_several_people_agree_and_withdraw_every_check_says_what_holds,
    }
}
