//! The consent service over gRPC, on both databases: what people agree to and take back, and what a sender is told.
//!
//! Every case is a function of a [`Backend`] and starts a server of its own. A case that is missing from the list is
//! dead code, which clippy refuses.

mod acts;
mod flow;
mod idempotency;
mod scopes;
mod spellings;

use crate::harness::Backend;

/// Makes a test for each database of every case.
macro_rules! on_both_databases {
    ($($theme:ident { $($case:ident),+ $(,)? })+) => {
        mod sqlite {
            $(mod $theme {
                $(#[tokio::test]
                async fn $case() {
                    super::super::$theme::$case(super::super::Backend::Sqlite).await;
                })+
            })+
        }
        mod postgres {
            $(mod $theme {
                $(#[tokio::test]
                async fn $case() {
                    super::super::$theme::$case(super::super::Backend::Postgres).await;
                })+
            })+
        }
    };
}

on_both_databases! {
    flow {
        a_grant_allows_a_withdrawal_denies_and_a_later_grant_allows_again,
        the_main_road_holds_on_the_systems_clock,
        a_person_never_seen_is_denied_and_has_neither_states_nor_history,
        a_withdrawal_of_somebody_never_seen_stands_until_a_later_act,
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
    scopes {
        an_opt_out_covers_what_its_scope_says_and_nothing_else,
        a_wide_opt_out_covers_what_was_never_named_and_what_comes_later,
        an_opt_out_of_a_purpose_that_is_not_in_the_catalogue_holds_once_it_is,
        of_several_scopes_the_widest_counts_and_none_is_everything,
        an_opt_out_from_one_sender_leaves_the_others,
        an_opt_out_from_a_sender_that_nobody_knows_is_kept,
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
}
