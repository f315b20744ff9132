//! Step 10, and the registries of steps 2 and 8: dates, ages and failures, to the second.

use super::*;
use crate::domain::event::Reached;
use crate::domain::policy::tests::entry;
use crate::domain::policy::{PlatformRule, RegistryKind, RegistryRule};

fn american(parts: &[&str]) -> Place {
    Place {
        jurisdictions: parts.iter().map(|part| code(part)).collect(),
        zones: Vec::new(),
    }
}

/// No MARKETING to American numbers between these seconds.
fn prohibiting(from: i64, to: Option<i64>) -> Rules {
    let mut policy = policy(&[("ZZ", lenient())]);
    policy.platform = vec![PlatformRule {
        country: code("US"),
        classes: vec![MessageClass::Marketing],
        effective_from: at(from),
        effective_to: to.map(at),
        source: entry(lenient()).source,
    }];
    rules_with(catalog(), policy)
}

#[test]
fn whatsapp_prohibits_from_its_first_to_before_its_last_instant() {
    let rules = prohibiting(5_000, Some(9_000));
    let consent = [given(1, 100, "offers")];
    let prohibited = || Answer::Denied(vec![Reason::PlatformProhibited]);
    for (seconds, expected) in [
        (4_999, Answer::Allowed),
        (5_000, prohibited()),
        (8_999, prohibited()),
        (9_000, Answer::Allowed),
    ] {
        let found = marketing_at(&consent, &rules, seconds, &american(&["US"]));
        assert_eq!(found, expected, "at {seconds}");
    }
    let question = Ask {
        place: american(&["US"]),
        at: 4_999,
        ..Ask::default()
    };
    let verdict = ask(&consent, &rules, &question);
    assert_eq!(verdict.holds_until, Some(at(5_000)));
}

#[test]
fn a_prohibition_is_about_the_number_s_country_and_its_classes() {
    let rules = prohibiting(0, None);
    let asked = |key, class, place: Place, stated: Option<&str>| {
        let grant = event(1, at(100), {
            let mut terms = terms(key);
            terms.jurisdiction = stated.map(code);
            Act::ConsentGiven(terms)
        });
        let question = Ask {
            key,
            class,
            place,
            ..Ask::default()
        };
        reason(&[grant], &rules, &question)
    };
    let prohibited = Reason::PlatformProhibited;
    let given = Reason::ConsentGiven;
    assert_eq!(
        asked("offers", None, american(&["US-TX"]), None),
        prohibited
    );
    assert_eq!(
        asked("offers", None, american(&["CA", "US"]), None),
        prohibited,
        "it may be American"
    );
    assert_eq!(asked("offers", None, american(&["CA"]), None), given);
    assert_eq!(
        asked("offers", None, american(&["US"]), Some("DE")),
        prohibited,
        "wherever the person lives"
    );
    assert_eq!(asked("offers", None, american(&["DE"]), Some("US")), given);
    assert_eq!(asked("orders", None, american(&["US"]), None), given);
    let as_marketing = Some(MessageClass::Marketing);
    assert_eq!(
        asked("orders", as_marketing, american(&["US"]), None),
        prohibited
    );
}

fn undelivered(days: &[i64]) -> Vec<Event> {
    let failures = (10..).zip(days);
    let failures = failures.map(|(id, day)| failed(id, day * DAY, FailureKind::Undeliverable));
    [given(1, 100, "offers")]
        .into_iter()
        .chain(failures)
        .collect()
}

fn answered(seconds: i64) -> Event {
    let reached = Reached {
        sender_id: sender("1001"),
    };
    event(30, at(seconds), Act::Reached(reached))
}

#[test]
fn three_failures_in_a_row_within_a_month_make_an_address_unreachable_for_a_month() {
    let unreachable = || Answer::Denied(vec![Reason::Unreachable]);
    for (days, seconds, expected) in [
        (vec![1, 2], 3 * DAY, Answer::Allowed),
        (vec![1, 2, 3], 3 * DAY, unreachable()),
        (vec![1, 2, 3], 33 * DAY - 1, unreachable()),
        (vec![1, 2, 3], 33 * DAY, Answer::Allowed),
        // The first and the third 30 days apart, and one more.
        (vec![1, 2, 31], 32 * DAY, unreachable()),
        (vec![1, 2, 32], 33 * DAY, Answer::Allowed),
        (vec![1, 2, 3, 4], 34 * DAY - 1, unreachable()),
        (vec![1, 2, 3, 4, 5, 6], 36 * DAY - 1, unreachable()),
        (vec![1, 2, 3, 4, 5, 6], 36 * DAY, Answer::Allowed),
    ] {
        let found = marketing_at(&undelivered(&days), &rules(), seconds, &NOWHERE);
        assert_eq!(found, expected, "{days:?} at {seconds}");
    }
    // One failure reported three times is one.
    let thrice = undelivered(&[1, 1, 1]);
    let found = marketing_at(&thrice, &rules(), 2 * DAY, &NOWHERE);
    assert_eq!(found, Answer::Allowed);
}

#[test]
fn an_answer_in_between_ends_the_row() {
    let unreachable = || Answer::Denied(vec![Reason::Unreachable]);
    for (reached, expected) in [
        (DAY - 1, unreachable()),
        // An answer of the very instant came after the attempt that failed.
        (DAY, Answer::Allowed),
        (DAY + 1, Answer::Allowed),
        (2 * DAY + 1, Answer::Allowed),
        (3 * DAY + 1, Answer::Allowed),
    ] {
        let mut events = undelivered(&[1, 2, 3]);
        events.push(answered(reached));
        let found = marketing_at(&events, &rules(), 4 * DAY, &NOWHERE);
        assert_eq!(found, expected, "reached at {reached}");
    }
    let mut again = undelivered(&[1, 2, 3, 4, 5, 6]);
    again.push(answered(3 * DAY + 1));
    let found = marketing_at(&again, &rules(), 7 * DAY, &NOWHERE);
    assert_eq!(found, unreachable(), "three since the answer");
}

#[test]
fn an_answer_goes_out_though_deliveries_failed() {
    let events = undelivered(&[1, 2, 3]);
    let asked = |key, inbound| {
        let question = Ask {
            key,
            sender: Some("1001"),
            inbound,
            at: 4 * DAY,
            ..Ask::default()
        };
        let mut events = events.clone();
        events.push(given(2, 100, key));
        reason(&events, &rules(), &question)
    };
    assert_eq!(
        asked("support", Some(4 * DAY - 10)),
        Reason::ServiceWindowOpen
    );
    assert_eq!(asked("orders", None), Reason::Unreachable);
    assert_eq!(asked("codes", None), Reason::Unreachable);
}

fn look_up(name: &str, kind: RegistryKind, unless_consent: Option<ConsentType>) -> Rules {
    everywhere(Requirements {
        registries: vec![RegistryRule {
            registry: RegistryName::parse(name).unwrap(),
            kind,
            max_age: Duration::from_secs(1_000),
            unless_consent,
        }],
        ..lenient()
    })
}

#[test]
fn an_answer_of_a_registry_is_good_until_it_is_too_old() {
    let rules = look_up("dnc", RegistryKind::DoNotContact, None);
    let stale = || Answer::Denied(vec![Reason::RegistryStale]);
    for (result, seconds, expected) in [
        (None, 500, stale()),
        (Some(RegistryResult::NotListed), 500, Answer::Allowed),
        (Some(RegistryResult::NotListed), 1_299, Answer::Allowed),
        (Some(RegistryResult::NotListed), 1_300, stale()),
        (Some(RegistryResult::NoData), 500, stale()),
        (
            Some(RegistryResult::Listed),
            500,
            Answer::Denied(vec![Reason::Suppressed, Reason::RegistryStale]),
        ),
    ] {
        let look_up = result.map(|result| looked_up(9, 300, "dnc", result));
        let events: Vec<Event> = [given(1, 100, "offers")]
            .into_iter()
            .chain(look_up)
            .collect();
        let found = marketing_at(&events, &rules, seconds, &NOWHERE);
        assert_eq!(found, expected, "{result:?} at {seconds}");
    }
    let other = [
        given(1, 100, "offers"),
        looked_up(9, 300, "other", RegistryResult::NotListed),
    ];
    assert_eq!(marketing_at(&other, &rules, 500, &NOWHERE), stale());
}

#[test]
fn a_firm_consent_makes_a_look_up_needless_and_a_listing_none() {
    let firm = Some(ConsentType::ExplicitlyExpressed);
    let rules = look_up("dnc", RegistryKind::DoNotContact, firm);
    let consent = |consent_type| with(1, 100, |t| t.consent_type = consent_type);
    let explicit = consent(ConsentType::ExplicitlyExpressed);
    let weaker = [consent(ConsentType::Expressed)];
    let stale = Answer::Denied(vec![Reason::RegistryStale]);
    assert_eq!(marketing_at(&weaker, &rules, 500, &NOWHERE), stale);
    let alone = [explicit.clone()];
    assert_eq!(marketing_at(&alone, &rules, 500, &NOWHERE), Answer::Allowed);
    let listed = [explicit, looked_up(9, 200, "dnc", RegistryResult::Listed)];
    assert_eq!(
        marketing_at(&listed, &rules, 500, &NOWHERE),
        Answer::Denied(vec![Reason::Suppressed])
    );
}

#[test]
fn a_listing_is_taken_back_by_a_later_answer_of_the_same_registry() {
    let rules = look_up("dnc", RegistryKind::DoNotContact, None);
    let listed = looked_up(8, 300, "dnc", RegistryResult::Listed);
    let events = |clear| [given(1, 100, "offers"), listed.clone(), clear];
    let clear = |seconds| looked_up(9, seconds, "dnc", RegistryResult::NotListed);
    assert_eq!(reason_at(&events(clear(400)), &rules), Reason::ConsentGiven);
    assert_eq!(reason_at(&events(clear(300)), &rules), Reason::Suppressed);
    assert_eq!(reason_at(&events(clear(200)), &rules), Reason::Suppressed);
    let of_another = looked_up(9, 400, "other", RegistryResult::NotListed);
    assert_eq!(reason_at(&events(of_another), &rules), Reason::Suppressed);
    let theirs = |seconds| Event {
        time_source: TimeSource::Platform,
        ..clear(seconds)
    };
    assert_eq!(reason_at(&events(theirs(600)), &rules), Reason::Suppressed);
    assert_eq!(
        reason_at(&events(theirs(601)), &rules),
        Reason::ConsentGiven
    );
}

fn reason_at(events: &[Event], rules: &Rules) -> Reason {
    let question = Ask {
        at: 700,
        ..Ask::default()
    };
    reason(events, rules, &question)
}

#[test]
fn who_is_listed_as_wanting_no_marketing_gets_other_messages_and_a_reassigned_number_none() {
    let listed = |name| looked_up(9, 300, name, RegistryResult::Listed);
    let dnc = look_up("dnc", RegistryKind::DoNotContact, None);
    let rnd = look_up("rnd", RegistryKind::ReassignedNumbers, None);
    let orders = Ask {
        key: "orders",
        ..Ask::default()
    };
    let known = given(1, 100, "orders");
    let (by_dnc, by_rnd) = ([known.clone(), listed("dnc")], [known, listed("rnd")]);
    assert_eq!(reason(&by_dnc, &dnc, &orders), Reason::ConsentGiven);
    assert_eq!(reason(&by_rnd, &rnd, &orders), Reason::Suppressed);
    let new_holder = [given(2, 400, "orders"), listed("rnd")];
    assert_eq!(reason(&new_holder, &rnd, &orders), Reason::ConsentGiven);
}
