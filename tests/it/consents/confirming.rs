//! Double opt-in: a request waits for its confirmation, which counts only from the address that was asked, later than
//! the request and in time.

use std::time::Duration;

use consentgate::grpc::proto::*;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::acts::*;
use crate::harness::{Backend, TestServer};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// Asserts that there was nothing to confirm.
#[track_caller]
fn nothing_waits(answer: Result<ConfirmConsentResponse, Status>) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    let failure = status.get_details_precondition_failure().unwrap();
    let [violation] = failure.violations.as_slice() else {
        panic!("one violation: {failure:?}");
    };
    assert!(!violation.r#type.is_empty());
    assert_eq!(violation.subject, "recipient");
    assert!(!violation.description.is_empty());
}

pub async fn a_request_waits_and_its_confirmation_allows(on: Backend) {
    let server = TestServer::start(on).await;
    // The jurisdiction asks for it, or the strict default, or the purpose.
    for (person, purpose) in [
        (phone("+4915112345678"), "offers"),
        (phone("+33612345678"), "offers"),
        (person(1), "club"),
    ] {
        let requested = server.gives(&person, &[purpose]).await;
        let state = requested.records[0].state();
        assert_eq!(state, ConsentState::PendingConfirmation, "{person:?}");
        let pending = deny(&[Reason::ConfirmationPending]);
        assert_eq!(server.verdict(&person, purpose).await, pending);
        // Nothing but the confirmation may be asked for.
        let ask = CheckConsentRequest {
            message_class: MessageClass::ConsentRequest.into(),
            ..question(&person, purpose)
        };
        let ask = verdict_of(&server.try_check(ask).await.unwrap());
        assert_eq!(ask, allow(Reason::ConsentRequestPermitted));

        server.advance(MINUTE);
        let confirmed = server.confirms(&person).await;
        let [record] = confirmed.records.as_slice() else {
            panic!("one record: {confirmed:?}");
        };
        assert_eq!(
            (record.purpose.as_str(), record.state(), record.effect()),
            (purpose, ConsentState::Given, Effect::Applied)
        );
        let allowed = server.check(&person, purpose).await;
        assert_eq!(verdict_of(&allowed), allow(Reason::ConsentGiven));
        assert_eq!(allowed.consent_event_id, record.event_id);

        let standing = server.try_get(standing_of(&person)).await.unwrap();
        let [record] = standing.records.as_slice() else {
            panic!("one record: {standing:?}");
        };
        assert_eq!(time(record.confirmed_at), server.now());
        assert_eq!(time(record.given_at), before(server.now(), MINUTE));
        let events = server.events(&person).await;
        assert_eq!(events[1].kind(), EventKind::Confirmation);
        assert_eq!(events[1].refers_to_event_id, events[0].event_id);
        assert_eq!(events[1].purposes, [purpose]);
        let method = events[1].indication_method();
        assert_eq!(method, IndicationMethod::ConfirmationLink);
        nothing_waits(server.try_confirm(server.confirmation(&person)).await);
    }
}

pub async fn what_was_never_requested_cannot_be_confirmed(on: Backend) {
    let server = TestServer::start(on).await;
    let (nobody, given) = (person(1), person(2));
    server.gives(&given, &["offers"]).await;
    server.advance(MINUTE);
    for person in [&nobody, &given] {
        nothing_waits(server.try_confirm(server.confirmation(person)).await);
    }
    assert_eq!(server.events(&nobody).await, []);
    assert_eq!(server.events(&given).await.len(), 1);
}

pub async fn a_confirmation_counts_only_from_the_address_that_was_asked(on: Backend) {
    let server = TestServer::start(on).await;
    let asked = phone("+5491123456789");
    server.gives(&asked, &["club"]).await;
    server.advance(MINUTE);
    for other in [
        // The same digits may be somebody else's landline.
        phone("+541123456789"),
        person(1),
        user_id("AR.13491208655302741918"),
    ] {
        nothing_waits(server.try_confirm(server.confirmation(&other)).await);
        let (decision, _) = server.verdict(&other, "club").await;
        assert_eq!(decision, Decision::Deny);
    }
    let pending = deny(&[Reason::ConfirmationPending]);
    assert_eq!(server.verdict(&asked, "club").await, pending);
    server.confirms(&asked).await;
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&asked, "club").await, allowed);

    // A twin is the same subscriber.
    let (asked, twin) = (phone("+525512345678"), wa_id("5215512345678"));
    server.gives(&asked, &["club"]).await;
    server.advance(MINUTE);
    server.confirms(&twin).await;
    assert_eq!(server.verdict(&asked, "club").await, allowed);
    assert_eq!(server.verdict(&twin, "club").await, allowed);
}

pub async fn a_request_expires(on: Backend) {
    let server = TestServer::start(on).await;
    let (ann, bob) = (person(1), person(2));
    server.gives(&ann, &["club"]).await;
    server.gives(&bob, &["club"]).await;
    let requested = server.now();
    server.advance(7 * DAY);
    nothing_waits(server.try_confirm(server.confirmation(&ann)).await);
    let required = deny(&[Reason::ConfirmationRequired]);
    assert_eq!(server.verdict(&ann, "club").await, required);

    // What the person did in time, and is reported late, counts.
    let in_time = ConfirmConsentRequest {
        event_time: Some(wire(before(requested.plus(7 * DAY), MINUTE))),
        ..server.confirmation(&bob)
    };
    server.try_confirm(in_time).await.unwrap();
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&bob, "club").await, allowed);

    // Whoever asks again can confirm again.
    server.gives(&ann, &["club"]).await;
    server.advance(MINUTE);
    server.confirms(&ann).await;
    assert_eq!(server.verdict(&ann, "club").await, allowed);
}

pub async fn what_has_lapsed_or_still_holds_is_renewed_by_a_new_request(on: Backend) {
    let server = TestServer::start(on).await;
    let (expired, lapsed, held) = (phone("+33612345678"), person(1), person(2));
    let signs_up = async |person: &Recipient, firm: ConsentType| {
        let request = RecordConsentRequest {
            consent_type: firm.into(),
            ..server.grant(person, &["club"])
        };
        let answer = server.try_record(request).await.unwrap();
        server.advance(MINUTE);
        answer.records[0].state()
    };
    let ask = async |person: &Recipient| {
        let ask = CheckConsentRequest {
            message_class: MessageClass::ConsentRequest.into(),
            ..question(person, "club")
        };
        server.try_check(ask).await.unwrap().decision()
    };
    let firm = ConsentType::ExplicitlyExpressed;
    for person in [&expired, &lapsed, &held] {
        let state = signs_up(person, firm).await;
        assert_eq!(state, ConsentState::PendingConfirmation);
    }
    server.confirms(&expired).await;
    server.confirms(&held).await;
    // What is confirmed waits no more, and is not asked for.
    assert_eq!(ask(&held).await, Decision::Deny);
    nothing_waits(server.try_confirm(server.confirmation(&held)).await);
    server.advance(366 * DAY);

    for person in [&expired, &lapsed, &held] {
        // Less firmly than before, so that the old request is not replaced by this one.
        let state = signs_up(person, ConsentType::Expressed).await;
        let expected = match person == &held {
            true => ConsentState::Given,
            false => ConsentState::PendingConfirmation,
        };
        assert_eq!(state, expected, "{person:?}");
        assert_eq!(ask(person).await, Decision::Allow, "{person:?}");
        server.confirms(person).await;
        let allowed = allow(Reason::ConsentGiven);
        assert_eq!(server.verdict(person, "club").await, allowed, "{person:?}");
        nothing_waits(server.try_confirm(server.confirmation(person)).await);
    }
}

pub async fn a_confirmation_must_be_later_than_its_request(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["club"]).await;
    let requested = server.now();
    server.advance(MINUTE);
    for early in [requested, before(requested, MINUTE)] {
        let confirmation = ConfirmConsentRequest {
            event_time: Some(wire(early)),
            ..server.confirmation(&ann)
        };
        nothing_waits(server.try_confirm(confirmation).await);
    }
    assert_eq!(server.events(&ann).await.len(), 1);
}

/// Old mail that is clicked after an opt-out does not undo it.
pub async fn a_confirmation_does_not_beat_a_withdrawal_newer_than_the_request(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["club"]).await;
    server.advance(MINUTE);
    server.withdraws(&ann, everything()).await;
    server.advance(MINUTE);
    nothing_waits(server.try_confirm(server.confirmation(&ann)).await);
    // Nor may the confirmation be asked for now.
    let ask = CheckConsentRequest {
        message_class: MessageClass::ConsentRequest.into(),
        ..question(&ann, "club")
    };
    let (decision, reasons) = verdict_of(&server.try_check(ask).await.unwrap());
    assert_eq!(
        (decision, reasons[0]),
        (Decision::Deny, Reason::Withdrawn),
        "{reasons:?}"
    );

    // The other way round: the opt-out of the time between the two arrives last.
    let bob = person(2);
    server.gives(&bob, &["club"]).await;
    let requested = server.now();
    server.advance(2 * MINUTE);
    server.confirms(&bob).await;
    let opt_out = WithdrawRequest {
        event_time: Some(wire(requested.plus(MINUTE))),
        ..server.opt_out(&bob, everything())
    };
    server.try_withdraw(opt_out).await.unwrap();
    let denied = deny(&[Reason::Withdrawn]);
    assert_eq!(server.verdict(&bob, "club").await, denied);
}

pub async fn a_new_request_that_is_confirmed_beats_an_older_withdrawal(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = phone("+4915112345678");
    server.withdraws(&ann, everything()).await;
    server.advance(MINUTE);
    server.gives(&ann, &["offers"]).await;
    let (decision, reasons) = server.verdict(&ann, "offers").await;
    assert_eq!(
        (decision, reasons[0]),
        (Decision::Deny, Reason::Withdrawn),
        "a request alone lifts nothing: {reasons:?}"
    );
    server.advance(MINUTE);
    server.confirms(&ann).await;
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&ann, "offers").await, allowed);
}

pub async fn only_the_purposes_that_are_named_are_confirmed(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = phone("+4915112345678");
    server.gives(&ann, &["offers", "news"]).await;
    server.advance(MINUTE);
    let one = ConfirmConsentRequest {
        purposes: keys(&["news"]),
        ..server.confirmation(&ann)
    };
    let confirmed = server.try_confirm(one).await.unwrap();
    let [record] = confirmed.records.as_slice() else {
        panic!("one record: {confirmed:?}");
    };
    assert_eq!(record.purpose, "news");
    let (allowed, pending) = (
        allow(Reason::ConsentGiven),
        deny(&[Reason::ConfirmationPending]),
    );
    assert_eq!(server.verdict(&ann, "news").await, allowed);
    assert_eq!(server.verdict(&ann, "offers").await, pending);
    server.confirms(&ann).await;
    assert_eq!(server.verdict(&ann, "offers").await, allowed);
}

pub async fn a_confirmation_of_two_requests_confirms_both(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = phone("+4915112345678");
    server.gives(&ann, &["offers"]).await;
    server.advance(MINUTE);
    let narrow = RecordConsentRequest {
        sender_id: "1001".into(),
        ..server.grant(&ann, &["news"])
    };
    server.try_record(narrow).await.unwrap();
    server.advance(MINUTE);
    let at_the_other = ConfirmConsentRequest {
        sender_id: "1002".into(),
        ..server.confirmation(&ann)
    };
    nothing_waits(server.try_confirm(at_the_other).await);
    assert_eq!(server.confirms(&ann).await.records.len(), 2);
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&ann, "offers").await, allowed);
    assert_eq!(server.verdict_from("1001", &ann, "news").await, allowed);
    let never = deny(&[Reason::NoConsent]);
    assert_eq!(server.verdict_from("1002", &ann, "news").await, never);
}

pub async fn of_16_confirmations_at_once_one_counts(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["club"]).await;
    server.advance(MINUTE);
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let (mut client, confirmation) = (server.client(), server.confirmation(&ann));
            tokio::spawn(async move { client.confirm_consent(confirmation).await })
        })
        .collect();
    let mut confirmed = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => confirmed += 1,
            Err(status) => nothing_waits(Err(status)),
        }
    }
    assert_eq!(confirmed, 1);
    assert_eq!(server.events(&ann).await.len(), 2);
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&ann, "club").await, allowed);
}

pub async fn what_is_wrong_with_a_confirmation_is_named(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["club"]).await;
    server.advance(MINUTE);
    let table: [(&str, &[&str], Change<ConfirmConsentRequest>); 8] = [
        ("FIELD_INVALID", &["indication_method"], |r| {
            r.indication_method = 0;
        }),
        ("FIELD_INVALID", &["indication_method"], |r| {
            r.indication_method = IndicationMethod::Import.into();
        }),
        ("FIELD_INVALID", &["indication_method"], |r| {
            r.indication_method = 99;
        }),
        ("FIELD_INVALID", &["event_time"], |r| r.event_time = None),
        ("FIELD_INVALID", &["idempotency_key"], |r| {
            r.idempotency_key.clear();
        }),
        ("PURPOSE_UNKNOWN", &["purposes[0]"], |r| {
            r.purposes = keys(&["zumba", "club"]);
        }),
        ("SENDER_UNKNOWN", &["sender_id"], |r| {
            r.sender_id = "4711".into();
        }),
        ("EVENT_TIME_IN_FUTURE", &["event_time"], |r| {
            r.event_time.as_mut().unwrap().seconds += 301;
        }),
    ];
    for (reason, fields, change) in table {
        let mut confirmation = server.confirmation(&ann);
        change(&mut confirmation);
        refused(server.try_confirm(confirmation).await, reason, fields);
    }
    // A clock that runs a little ahead is nothing wrong.
    let mut ahead = server.confirmation(&ann);
    ahead.event_time.as_mut().unwrap().seconds += 300;
    server.try_confirm(ahead).await.unwrap();
}
