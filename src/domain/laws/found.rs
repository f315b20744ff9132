//! The smallest histories that broke a law when random ones were tried, each a case of its own.
//!
//! They stay, so that what was wrong once stays right; what a law says is in the other files.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cases::Case;
use super::histories::{SECOND, confirmation_of};
use super::*;
use crate::domain::event::NoticeShown;
use crate::domain::facts::Facts;
use crate::domain::policy::Policy;
use crate::domain::policy::tests::{code, entry, lenient};
use crate::domain::rules::tests::{catalog, rules_with};
use crate::domain::standing::standing;
use crate::domain::vocabulary::ConsentState;

pub(super) fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * SECOND + 1)
}

pub(super) fn by(source: TimeSource, event: Event) -> Event {
    Event {
        time_source: source,
        ..event
    }
}

pub(super) fn grant(time: i64, key: &str) -> Event {
    on(seconds(time), Act::ConsentGiven(terms(key)))
}

pub(super) fn stop(time: i64, scope: Scope) -> Event {
    on(seconds(time), Act::Restricted(withdrawn(scope)))
}

pub(super) fn decisive(case: &Case) -> Reason {
    case.verdict().reasons()[0]
}

#[test]
fn a_second_stop_by_another_clock_does_not_hide_the_first() {
    let denied = question("offers")
        .and(by(TimeSource::Platform, stop(100, Scope::Everything)))
        .and(grant(110, "offers"));
    assert_eq!(decisive(&denied), Reason::Withdrawn);
    assert_eq!(
        decisive(&denied.and(stop(105, Scope::Everything))),
        Reason::Withdrawn
    );
}

#[test]
fn a_second_suppression_that_ends_does_not_end_the_first() {
    let suppression = |time, until: Option<i64>| {
        let mut act = suppressed(SuppressionBasis::NationalRegistry, Scope::Everything, None);
        act.until = until.map(seconds);
        on(seconds(time), Act::Suppressed(act))
    };
    let denied = question("offers")
        .and(grant(10, "offers"))
        .and(suppression(100, None));
    assert_eq!(decisive(&denied), Reason::Suppressed);
    assert_eq!(
        decisive(&denied.and(suppression(200, Some(300)))),
        Reason::Suppressed
    );
}

#[test]
fn a_new_holders_insufficient_consent_does_not_revive_the_old_holders() {
    let wrong = suppressed(SuppressionBasis::WrongNumber, Scope::Everything, None);
    let mut weak = terms("offers");
    weak.notice = Some(NoticeShown {
        notice: crate::domain::id::NoticeRef {
            notice_id: crate::domain::id::NoticeId::parse("gone").unwrap(),
            version: 1,
            language: crate::domain::id::Language::parse("en").unwrap(),
        },
        sha256: String::new(),
        processing_version: 1,
    });
    weak.consent_type = ConsentType::Expressed;
    let case = question("offers")
        .and(grant(100, "offers"))
        .and(on(seconds(200), Act::Suppressed(wrong)))
        .and(on(seconds(300), Act::ConsentGiven(weak)));
    assert!(!allows(&case), "{:?}", case.verdict());
}

#[test]
fn a_message_of_the_person_does_not_lift_a_suppression_of_the_purpose() {
    let order = suppressed(
        SuppressionBasis::CourtOrder,
        Scope::Purposes(vec![purpose("support")]),
        None,
    );
    let mut case = question("support").and(on(seconds(100), Act::Suppressed(order)));
    case.inbound = Some(seconds(200));
    assert_eq!(decisive(&case), Reason::Suppressed);
}

#[test]
fn a_message_of_the_person_does_not_reopen_a_purpose_that_was_withdrawn_by_name() {
    let mut case = question("support").and(stop(100, Scope::Purposes(vec![purpose("support")])));
    case.inbound = Some(seconds(200));
    assert_eq!(decisive(&case), Reason::Withdrawn);
}

#[test]
fn where_the_policy_has_no_rule_nothing_is_allowed() {
    let none = || Policy::new(BTreeMap::new(), Vec::new(), String::new());
    let mut in_window = question("support");
    in_window.inbound = Some(seconds(1_000));
    assert!(!allows(&in_window.under(none())), "SERVICE");
    let mut ask = Case {
        class: MessageClass::ConsentRequest,
        ..question("offers")
    };
    ask.inbound = Some(seconds(1_000));
    assert!(!allows(&ask.under(none())), "CONSENT_REQUEST");
    let mut catalog = catalog();
    catalog.purposes.get_mut("orders").unwrap().consent_required = false;
    let free = Case {
        rules: rules_with(catalog, none()),
        ..question("orders")
    };
    assert!(!allows(&free), "UTILITY without consent");
}

#[test]
fn an_answer_does_not_outlast_the_rules_it_was_made_by() {
    let mut first = entry(lenient());
    first.effective_to = Some(Timestamp::from_micros(86_400 * SECOND));
    let mut second = entry(lenient());
    second.effective_from = Timestamp::from_micros(86_400 * SECOND);
    Arc::make_mut(&mut second.requirements).consent_type = ConsentType::ExplicitlyExpressed;
    let jurisdictions = BTreeMap::from([(code("ZZ"), vec![first, second])]);
    let mut weak = terms("offers");
    weak.consent_type = ConsentType::Expressed;
    let case = question("offers")
        .and(on(seconds(100), Act::ConsentGiven(weak)))
        .under(Policy::new(jurisdictions, Vec::new(), String::new()));
    let later = Case {
        at: Timestamp::from_micros(86_400 * SECOND),
        ..case.clone()
    };
    assert!(allows(&case) && !allows(&later));
    assert_eq!(case.verdict().holds_until, Some(later.at));
}

#[test]
fn a_request_that_is_confirmed_twice_is_no_renewed_consent() {
    let request = grant(100, "offers");
    let confirmed = |time| on(seconds(time), confirmation_of(&request, terms("offers")));
    let case = question("offers")
        .and(request.clone())
        .and(confirmed(110))
        .and(confirmed(120));
    let facts = Facts::fold(&case.events);
    let grant = facts
        .grants
        .iter()
        .find(|grant| grant.confirmed_at.is_some())
        .unwrap();
    assert_eq!(
        grant.confirmed_at,
        Some(seconds(110)),
        "the earlier confirmation counts"
    );
    let standing = standing(
        &facts,
        &case.rules,
        case.purpose(),
        None,
        Spelling::Verbatim,
        &[],
        case.at,
    );
    assert_eq!(standing.state, ConsentState::Given);
}

#[test]
fn a_second_consent_by_another_clock_does_not_end_the_first() {
    let allowed = question("offers")
        .and(stop(100, Scope::Everything))
        .and(grant(150, "offers"));
    assert!(allows(&allowed));
    assert!(allows(
        &allowed.and(by(TimeSource::Platform, grant(200, "offers")))
    ));
}

#[test]
fn a_state_does_not_say_given_where_a_withdrawal_denies() {
    let mut catalog = catalog();
    catalog
        .purposes
        .get_mut("orders")
        .unwrap()
        .requested_by_recipient = true;
    let case = Case {
        rules: rules_with(
            catalog,
            crate::domain::policy::tests::policy(&[("ZZ", lenient())]),
        ),
        ..question("orders")
    };
    let case = case
        .and(grant(100, "orders"))
        .and(stop(200, Scope::Everything));
    assert_eq!(decisive(&case), Reason::Withdrawn);
    let facts = Facts::fold(&case.events);
    let standing = standing(
        &facts,
        &case.rules,
        case.purpose(),
        None,
        Spelling::Verbatim,
        &[],
        case.at,
    );
    assert_eq!(standing.state, ConsentState::Withdrawn);
}

#[test]
fn two_grants_that_each_come_after_one_of_two_ends_do_not_overcome_both() {
    let wrong = suppressed(SuppressionBasis::WrongNumber, Scope::Everything, None);
    let by_platform = |event| by(TimeSource::Platform, event);
    let stopped = question("offers")
        .and(by_platform(on(seconds(1_000), Act::Suppressed(wrong))))
        .and(stop(1_000, Scope::Everything));
    // The clocks may differ by five minutes: neither grant is known to come after both.
    let given = stopped
        .and(by_platform(grant(1_001, "offers")))
        .and(grant(1_001, "offers"));
    assert_eq!(decisive(&given), Reason::NoConsent);
    let mut catalog = catalog();
    catalog.purposes.get_mut("offers").unwrap().message_class = MessageClass::Utility;
    catalog.purposes.get_mut("offers").unwrap().consent_required = false;
    let rules = rules_with(
        catalog,
        crate::domain::policy::tests::policy(&[("ZZ", lenient())]),
    );
    let free = Case {
        rules,
        class: MessageClass::Utility,
        ..given
    };
    assert!(!allows(&free), "{:?}", free.verdict());
}

#[test]
fn a_request_whose_time_to_be_confirmed_is_over_does_not_reopen_asking() {
    let mut required = lenient();
    required.confirmation = crate::domain::policy::Confirmation::Required;
    required.asking.max_total = 8;
    let rules = rules_with(
        catalog(),
        crate::domain::policy::tests::policy(&[("ZZ", required)]),
    );
    let requested = Case {
        rules,
        class: MessageClass::ConsentRequest,
        ..question("offers")
    };
    let requested = requested
        .and(stop(100, Scope::Everything))
        .and(grant(200, "offers"));
    let asked = |time, inbound: Option<i64>| Case {
        at: seconds(time),
        inbound: inbound.map(seconds),
        ..requested.clone()
    };
    assert!(allows(&asked(299, None)), "it may be asked to be confirmed");
    assert_eq!(
        decisive(&asked(300, None)),
        Reason::Withdrawn,
        "by the policy"
    );
    assert_eq!(
        decisive(&asked(300, Some(250))),
        Reason::Withdrawn,
        "in a window"
    );
}

/// The question to confirm an opt-out that was written to a sender at this instant.
fn confirming(opt_out: Restriction, time: Timestamp) -> Case {
    let sender = SenderId::parse("1001").unwrap();
    let opt_out = Restriction {
        received_by: Some(sender.clone()),
        ..opt_out
    };
    Case {
        class: MessageClass::OptOutConfirmation,
        sender: Some(sender),
        ..question("offers").and(on(time, Act::Restricted(opt_out)))
    }
}

#[test]
fn an_opt_out_known_to_the_second_is_not_confirmed_five_minutes_after_it_began() {
    let time = Timestamp::from_micros(1_000 * SECOND);
    let asked = |micros| Case {
        at: Timestamp::from_micros(1_300 * SECOND + micros),
        ..confirming(withdrawn(Scope::Everything), time)
    };
    assert_eq!(decisive(&asked(-1)), Reason::OptOutConfirmationPermitted);
    assert_eq!(decisive(&asked(0)), Reason::Withdrawn);
}

#[test]
fn an_import_is_not_confirmed_to_the_sender_that_it_names() {
    let mut batch = withdrawn(Scope::Everything);
    batch.import_batch_id = Some(crate::domain::id::ImportBatchId::parse("crm").unwrap());
    let mut method = withdrawn(Scope::Everything);
    method.withdrawal_method = Some(crate::domain::vocabulary::WithdrawalMethod::Import);
    for import in [batch, method] {
        let asked = Case {
            at: seconds(1_010),
            ..confirming(import, seconds(1_000))
        };
        assert_eq!(decisive(&asked), Reason::Withdrawn);
    }
}
