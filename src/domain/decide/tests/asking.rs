//! Asking for consent, and confirming an opt-out: the two messages that need no consent of their kind.

use super::grants::confirmation;
use super::*;
use crate::domain::event::Asked;
use crate::domain::policy::Asking;

fn asked_for(id: u128, seconds: i64, keys: &[&str], by: Option<&str>) -> Event {
    let asked = Asked {
        purposes: keys.iter().map(|key| purpose(key)).collect(),
        sender_id: by.map(sender),
        notice: None,
    };
    event(id, at(seconds), Act::ConsentRequested(asked))
}

fn may_ask(max_total: u32, cooldown: u64, is_commercial: bool) -> Rules {
    let mut requirements = lenient();
    requirements.asking = Asking {
        max_total,
        cooldown: Duration::from_secs(cooldown),
        is_commercial,
    };
    everywhere(requirements)
}

fn asking(events: &[Event], rules: &Rules, seconds: i64) -> Reason {
    let question = Ask {
        class: Some(MessageClass::ConsentRequest),
        at: seconds,
        ..Ask::default()
    };
    reason(events, rules, &question)
}

#[test]
fn asking_is_limited_and_never_allowed_after_a_withdrawal() {
    let request = || Ask {
        class: Some(MessageClass::ConsentRequest),
        ..Ask::default()
    };
    assert_eq!(reason(&[], &rules(), &request()), Reason::AskLimit);
    assert_eq!(
        reason(&[stop(1, 1, Scope::AllMarketing)], &rules(), &request()),
        Reason::Withdrawn
    );
    let in_window = Ask {
        inbound: Some(DAY - 5),
        ..request()
    };
    assert_eq!(
        reason(&[], &rules(), &in_window),
        Reason::ConsentRequestPermitted
    );
}

#[test]
fn one_may_be_asked_as_often_as_the_policy_says_whoever_asks_and_for_whatever() {
    let asks = [
        asked_for(1, 100, &["offers", "orders"], None),
        asked_for(2, 200, &["orders"], Some("1001")),
        asked_for(3, 300, &["codes"], Some("1002")),
    ];
    for (asked_before, most, expected) in [
        (0, 0, Reason::AskLimit),
        (0, 1, Reason::ConsentRequestPermitted),
        // One ask for two purposes is one.
        (1, 1, Reason::AskLimit),
        (1, 2, Reason::ConsentRequestPermitted),
        (2, 2, Reason::AskLimit),
        (3, 3, Reason::AskLimit),
        (3, 4, Reason::ConsentRequestPermitted),
    ] {
        let found = asking(&asks[..asked_before], &may_ask(most, 0, false), 1_000);
        assert_eq!(found, expected, "{asked_before} of {most}");
    }
}

#[test]
fn a_notice_that_was_dismissed_is_no_ask_and_one_that_was_reported_twice_is_one() {
    let Act::ConsentRequested(asked) = asked_for(1, 100, &["offers"], None).act else {
        unreachable!("made above")
    };
    let dismissed = event(1, at(100), Act::ConsentRequestDeferred(asked));
    let rules = may_ask(1, 0, false);
    let permitted = Reason::ConsentRequestPermitted;
    assert_eq!(asking(&[dismissed], &rules, 1_000), permitted);
    let twice = [1, 2].map(|id| asked_for(id, 100, &["offers"], None));
    assert_eq!(asking(&twice, &may_ask(2, 0, false), 1_000), permitted);
}

#[test]
fn between_two_asks_the_policy_s_time_passes_to_the_second() {
    let asks = [
        asked_for(1, 100, &["offers"], None),
        asked_for(2, 400, &["orders"], Some("1002")),
    ];
    let rules = may_ask(8, 1_000, false);
    assert_eq!(asking(&asks, &rules, 1_399), Reason::AskLimit);
    assert_eq!(
        asking(&asks, &rules, 1_400),
        Reason::ConsentRequestPermitted
    );
    let question = Ask {
        class: Some(MessageClass::ConsentRequest),
        at: 1_399,
        ..Ask::default()
    };
    assert_eq!(ask(&asks, &rules, &question).holds_until, Some(at(1_400)));
}

#[test]
fn where_asking_is_commercial_it_needs_a_consent_an_implied_one_at_least() {
    let rules = may_ask(8, 0, true);
    let implied = with(1, 100, |t| {
        t.consent_type = ConsentType::Implied;
        t.implied = Some(Implied {
            basis: ImpliedBasis::Purchase,
            basis_time: at(100),
        });
    });
    assert_eq!(asking(&[], &rules, 500), Reason::AskLimit);
    let from_purchase = [implied];
    assert_eq!(
        asking(&from_purchase, &rules, 1_099),
        Reason::ConsentRequestPermitted
    );
    assert_eq!(asking(&from_purchase, &rules, 1_100), Reason::AskLimit);
    let stopped = [from_purchase[0].clone(), stop(2, 200, Scope::AllMarketing)];
    assert_eq!(asking(&stopped, &rules, 500), Reason::Withdrawn);
}

#[test]
fn where_asking_is_commercial_a_consent_after_an_opt_out_is_enough_again() {
    let rules = may_ask(8, 0, true);
    let events = [stop(1, 100, Scope::AllMarketing), given(2, 200, "offers")];
    let permitted = Reason::ConsentRequestPermitted;
    assert_eq!(asking(&events, &rules, 500), permitted);
}

#[test]
fn only_a_confirmation_that_the_person_began_is_asked_for() {
    let mut requirements = lenient();
    requirements.confirmation = Confirmation::Required;
    let rules = everywhere(requirements);
    let import = with(1, 100, |t| t.indication_method = IndicationMethod::Import);
    let permitted = Reason::ConsentRequestPermitted;
    assert_eq!(asking(&[given(1, 100, "offers")], &rules, 150), permitted);
    assert_eq!(asking(&[import], &rules, 150), Reason::AskLimit);
}

#[test]
fn what_was_confirmed_is_not_asked_for_again_and_a_newer_request_is() {
    let mut requirements = lenient();
    requirements.confirmation = Confirmation::Required;
    let rules = everywhere(requirements);
    let request = given(1, 100, "offers");
    let confirmed = confirmation(3, &request, 110);
    let mut of_orders = confirmed.clone();
    if let Act::ConsentConfirmed(confirmed) = &mut of_orders.act {
        confirmed.requests[0].terms.purposes = vec![purpose("orders")];
    }
    let elsewhere = Event {
        spelling: Spelling::Mexico52,
        ..confirmed.clone()
    };
    let newer = given(4, 130, "offers");
    let permitted = Reason::ConsentRequestPermitted;
    for (events, expected) in [
        (vec![request.clone()], permitted),
        (vec![request.clone(), confirmed.clone()], Reason::AskLimit),
        (vec![request.clone(), of_orders], permitted),
        (vec![request.clone(), elsewhere], permitted),
        (vec![request, confirmed, newer], permitted),
    ] {
        assert_eq!(asking(&events, &rules, 150), expected, "{events:?}");
    }
}

#[test]
fn one_is_asked_again_only_after_an_act_of_ones_own_that_is_later_than_the_no() {
    let rules = may_ask(8, 0, false);
    let no = stop(1, 200, Scope::AllMarketing);
    for (events, expected) in [
        (vec![no.clone()], Reason::Withdrawn),
        (vec![no.clone(), given(2, 100, "offers")], Reason::Withdrawn),
        (vec![no.clone(), given(2, 300, "orders")], Reason::Withdrawn),
        (
            vec![no, given(2, 300, "offers")],
            Reason::ConsentRequestPermitted,
        ),
    ] {
        assert_eq!(asking(&events, &rules, 1_000), expected, "{events:?}");
    }
}

fn written(seconds: i64, kind: RestrictionKind, to: Option<&str>) -> Event {
    let mut stop = stop(7, seconds, Scope::Everything);
    if let Act::Restricted(restriction) = &mut stop.act {
        restriction.kind = kind;
        restriction.received_by = to.map(sender);
    }
    stop
}

fn confirming(events: &[Event], by: Option<&str>, seconds: i64) -> Verdict {
    let question = Ask {
        class: Some(MessageClass::OptOutConfirmation),
        sender: by,
        at: seconds,
        ..Ask::default()
    };
    ask(events, &rules(), &question)
}

#[test]
fn an_opt_out_is_confirmed_for_less_than_five_minutes_by_the_sender_that_it_was_written_to() {
    let stop = [written(1_000, RestrictionKind::Withdrawn, Some("1001"))];
    for (by, seconds, expected) in [
        (Some("1001"), 999, Reason::Withdrawn),
        (Some("1001"), 1_000, Reason::OptOutConfirmationPermitted),
        (
            Some("1001"),
            1_000 + 299,
            Reason::OptOutConfirmationPermitted,
        ),
        (Some("1001"), 1_000 + 300, Reason::Withdrawn),
        (Some("1002"), 1_010, Reason::Withdrawn),
        (None, 1_010, Reason::Withdrawn),
    ] {
        let verdict = confirming(&stop, by, seconds);
        assert_eq!(verdict.reasons()[0], expected, "{by:?} at {seconds}");
    }
    let permitted = confirming(&stop, Some("1001"), 1_010);
    assert_eq!(permitted.rests_on, Some(stop[0].event_id));
    assert_eq!(permitted.holds_until, Some(at(1_300)));
    assert_eq!(
        confirming(&[], Some("1001"), 1_010).reasons(),
        [Reason::NoConsent]
    );
}

#[test]
fn only_an_opt_out_of_the_person_that_came_as_a_message_is_confirmed() {
    let permitted = Reason::OptOutConfirmationPermitted;
    for (kind, to, expected) in [
        (RestrictionKind::Refused, Some("1001"), permitted),
        (RestrictionKind::Withdrawn, None, Reason::Withdrawn),
        (RestrictionKind::Revoked, Some("1001"), Reason::Revoked),
        (
            RestrictionKind::Invalidated,
            Some("1001"),
            Reason::Invalidated,
        ),
    ] {
        let verdict = confirming(&[written(1_000, kind, to)], Some("1001"), 1_010);
        assert_eq!(verdict.reasons()[0], expected, "{kind} to {to:?}");
    }
}

#[test]
fn a_confirmation_overlooks_what_the_person_said_before_and_nothing_else() {
    let stop = written(1_000, RestrictionKind::Withdrawn, Some("1001"));
    let overlay = |basis, seconds| {
        let mut made = suppression(basis, seconds, None);
        made.event_id = crate::domain::id::EventId(uuid::Uuid::from_u128(9));
        made
    };
    let permitted = Reason::OptOutConfirmationPermitted;
    for (beside, expected) in [
        (written(900, RestrictionKind::Refused, None), permitted),
        (written(1_000, RestrictionKind::Refused, None), permitted),
        (
            written(1_001, RestrictionKind::Refused, None),
            Reason::Refused,
        ),
        (
            written(900, RestrictionKind::Revoked, None),
            Reason::Revoked,
        ),
        (overlay(SuppressionBasis::Objection, 900), permitted),
        (overlay(SuppressionBasis::PlatformStop, 900), permitted),
        (
            overlay(SuppressionBasis::PlatformStop, 1_001),
            Reason::PlatformStopped,
        ),
        (
            overlay(SuppressionBasis::CourtOrder, 900),
            Reason::Suppressed,
        ),
        (
            overlay(SuppressionBasis::NationalRegistry, 900),
            Reason::Suppressed,
        ),
        (
            looked_up(9, 900, "dnc", RegistryResult::Listed),
            Reason::Suppressed,
        ),
    ] {
        let events = [stop.clone(), beside.clone()];
        let verdict = confirming(&events, Some("1001"), 1_010);
        assert_eq!(verdict.reasons()[0], expected, "{beside:?}");
    }
}
