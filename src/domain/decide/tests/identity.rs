//! Step 4, and consents of linked addresses: whose an address is, and who speaks for it.

use super::*;
use crate::domain::event::{IdentityChange, Inherited, Link};
use crate::domain::id::SubjectId;
use crate::domain::vocabulary::AddressKind;

fn user(number: u128) -> SubjectId {
    SubjectId(uuid::Uuid::from_u128(number))
}

fn linked(id: u128, seconds: i64, other: u128, kind: AddressKind) -> Event {
    let link = Link {
        other: user(other),
        kind,
        here: Spelling::Verbatim,
        inherited: Inherited::default(),
    };
    event(id, at(seconds), Act::Linked(link))
}

fn named_with(id: u128, seconds: i64, other: u128) -> Event {
    linked(id, seconds, other, AddressKind::UserId)
}

fn no_longer(id: u128, seconds: i64, former: u128) -> Event {
    let change = IdentityChange::Unlinked {
        former: user(former),
        kind: AddressKind::UserId,
    };
    event(id, at(seconds), Act::IdentityChanged(change))
}

fn left(id: u128, seconds: i64) -> Event {
    event(
        id,
        at(seconds),
        Act::IdentityChanged(IdentityChange::Former),
    )
}

#[test]
fn a_number_that_comes_with_another_user_id_is_in_doubt_unless_a_notice_explains_it() {
    let given = given(1, 100, "offers");
    let (first, second) = (named_with(2, 200, 71), named_with(3, 300, 72));
    let known = [given.clone(), first.clone()];
    assert_eq!(marketing(&known), Reason::ConsentGiven);
    let twice = [given.clone(), first.clone(), named_with(3, 300, 71)];
    assert_eq!(marketing(&twice), Reason::ConsentGiven, "the same one");
    let parent = linked(3, 300, 72, AddressKind::ParentUserId);
    let beside = [given.clone(), first.clone(), parent];
    assert_eq!(marketing(&beside), Reason::ConsentGiven, "of another kind");
    let other = [given, first, second];
    assert_eq!(marketing(&other), Reason::IdentityUnverified);
    let with = |notice| -> Vec<Event> { other.iter().cloned().chain([notice]).collect() };
    assert_eq!(
        marketing(&with(no_longer(4, 250, 71))),
        Reason::ConsentGiven,
        "a notice before the other came"
    );
    assert_eq!(
        marketing(&with(no_longer(4, 400, 71))),
        Reason::ConsentGiven,
        "a notice that came late"
    );
    assert_eq!(
        marketing(&with(no_longer(4, 150, 71))),
        Reason::IdentityUnverified,
        "a notice of an earlier time"
    );
}

#[test]
fn a_consent_after_the_doubt_settles_it_for_its_own_purpose() {
    let mut events = vec![
        given(1, 100, "offers"),
        given(2, 100, "orders"),
        failed(3, 300, FailureKind::IdentityMismatch),
    ];
    assert_eq!(marketing(&events), Reason::IdentityUnverified);
    // A doubt counts to the end of its second.
    events.push(given(4, 300, "offers"));
    assert_eq!(marketing(&events), Reason::IdentityUnverified);
    events.push(given(5, 301, "offers"));
    assert_eq!(marketing(&events), Reason::ConsentGiven);
    let orders = Ask {
        key: "orders",
        ..Ask::default()
    };
    assert_eq!(
        reason(&events, &rules(), &orders),
        Reason::IdentityUnverified
    );
}

#[test]
fn an_import_or_an_inference_settles_no_doubt() {
    let doubt = failed(3, 300, FailureKind::IdentityMismatch);
    let import = with(4, 400, |t| t.indication_method = IndicationMethod::Import);
    assert_eq!(marketing(&[doubt, import]), Reason::IdentityUnverified);
}

#[test]
fn a_window_that_was_opened_since_lets_an_answer_out_to_whoever_it_is() {
    let conflict = [named_with(1, 200, 71), named_with(2, 300, 72)];
    let mismatch = [failed(3, 300, FailureKind::IdentityMismatch)];
    let asked = |events: &[Event], inbound| {
        let question = Ask {
            key: "support",
            sender: Some("1001"),
            inbound: Some(inbound),
            at: 1_000,
            ..Ask::default()
        };
        reason(events, &rules(), &question)
    };
    let (open, doubtful) = (Reason::ServiceWindowOpen, Reason::IdentityUnverified);
    for (events, inbound, expected) in [
        (conflict.as_slice(), 299, doubtful),
        // The message that named the other user id.
        (&conflict, 300, open),
        (&conflict, 301, open),
        (&mismatch, 300, doubtful),
        (&mismatch, 301, open),
    ] {
        assert_eq!(asked(events, inbound), expected, "at {inbound}");
    }
}

#[test]
fn a_message_of_the_very_instant_of_a_doubt_is_no_answer_to_it() {
    let moment = Timestamp::from_micros(at(300).as_micros() + 500_000);
    let mismatch = Event {
        event_time: moment,
        ..failed(3, 300, FailureKind::IdentityMismatch)
    };
    let after = |micros| answering(&mismatch, moment.plus(Duration::from_micros(micros)));
    assert_eq!(after(0), Some(Reason::IdentityUnverified));
    assert_eq!(after(1), Some(Reason::ServiceWindowOpen));
}

#[test]
fn a_doubt_stops_every_class_that_is_no_answer() {
    use MessageClass as C;
    let doubt = failed(3, 300, FailureKind::IdentityMismatch);
    let mut catalog = catalog();
    catalog.purposes.get_mut("codes").unwrap().consent_required = false;
    let rules = rules_with(catalog, policy(&[("ZZ", lenient())]));
    for (key, class) in [
        ("offers", C::Marketing),
        ("orders", C::Utility),
        ("codes", C::Authentication),
        ("support", C::Service),
        ("offers", C::ConsentRequest),
        ("offers", C::OptOutConfirmation),
    ] {
        let question = Ask {
            key,
            class: Some(class),
            sender: Some("1001"),
            inbound: Some(200),
            ..Ask::default()
        };
        let events = [given(1, 100, key), doubt.clone()];
        let found = reason(&events, &rules, &question);
        assert_eq!(found, Reason::IdentityUnverified, "{class}");
    }
}

#[test]
fn a_consent_of_the_linked_address_counts_while_the_link_stands() {
    let copy = Event {
        copied_from: Some(user(71)),
        ..given(1, 150, "offers")
    };
    let link = named_with(2, 100, 71);
    for (beside, expected) in [
        (vec![], Reason::NoConsent),
        (vec![link.clone()], Reason::ConsentGiven),
        (vec![named_with(2, 100, 72)], Reason::NoConsent),
        (vec![link.clone(), no_longer(3, 100, 71)], Reason::NoConsent),
        (
            vec![link.clone(), no_longer(3, 99, 71)],
            Reason::ConsentGiven,
        ),
        (vec![link.clone(), left(3, 200)], Reason::NoConsent),
        (
            vec![link, failed(3, 120, FailureKind::IdentityMismatch)],
            Reason::NoConsent,
        ),
    ] {
        let events: Vec<Event> = [copy.clone()].into_iter().chain(beside).collect();
        let found = ask(&events, &rules(), &Ask::default());
        let expected_first = found.reasons().into_iter().find(|reason| {
            // A doubt is said before, and is another matter.
            *reason != Reason::IdentityUnverified
        });
        assert_eq!(expected_first, Some(expected), "{events:?}");
    }
}

#[test]
fn whoever_comes_after_the_person_who_left_is_a_stranger() {
    let events = [given(1, 100, "offers"), left(2, 200)];
    assert_eq!(marketing(&events), Reason::NoConsent);
    for (seconds, expected) in [(200, Reason::NoConsent), (201, Reason::ConsentGiven)] {
        let mut events = events.to_vec();
        events.push(given(3, seconds, "offers"));
        assert_eq!(marketing(&events), expected, "given at {seconds}");
    }
    let stopped = [stop(1, 100, Scope::Everything), left(2, 200)];
    assert_eq!(
        marketing(&stopped),
        Reason::Withdrawn,
        "what restricts stays"
    );
}

#[test]
fn what_restricted_the_former_address_restricts_the_new_one_until_the_person_consents_there() {
    let former = Facts::fold(&[given(1, 100, "offers"), stop(2, 200, Scope::Everything)]);
    let inherited = former.restrictive_inheritance();
    let moved = Act::IdentityChanged(IdentityChange::Successor { inherited });
    let moved = event(3, at(300), moved);
    assert_eq!(marketing(std::slice::from_ref(&moved)), Reason::Withdrawn);
    let again = [moved, given(4, 400, "offers")];
    assert_eq!(marketing(&again), Reason::ConsentGiven);
}
