//! One question about many people: in order, each for itself, up to 10,000 of them through a client with default limits.

use std::collections::HashSet;
use std::time::Duration;

use consentgate::grpc::proto::*;
use prost::Message;
use uuid::Uuid;

use super::acts::*;
use crate::harness::{Backend, TestServer};

/// What a client takes unless it is told otherwise, and the server too.
const DEFAULT_LIMIT: usize = 4 << 20;

fn verdict_in(result: &BatchCheckResult) -> Verdict {
    assert_eq!(result.error, None);
    (result.decision(), result.reasons().collect())
}

pub async fn results_stand_in_the_order_of_the_request(on: Backend) {
    let mut server = TestServer::start(on).await;
    let (ann, bob, eve) = (person(1), person(2), phone("+4915112345678"));
    server.gives(&ann, &["offers"]).await;
    server.gives(&bob, &["offers"]).await;
    server.gives(&eve, &["offers"]).await;
    server.withdraws(&bob, everything()).await;
    let people = [
        bob.clone(),
        person(3),
        ann.clone(),
        eve.clone(),
        wa_id("14152000001"),
        ann,
        bob,
        user_id("US.13491208655302741918"),
    ];
    for restarted in [false, true] {
        if restarted {
            server.restart().await;
        }
        let answer = server.try_batch(batch(&people, "offers")).await.unwrap();
        assert_eq!(answer.results.len(), people.len());
        for (person, result) in people.iter().zip(&answer.results) {
            let single = server.check(person, "offers").await;
            assert_eq!(verdict_in(result), verdict_of(&single), "{person:?}");
            assert_eq!(result.consent_event_id, single.consent_event_id);
            assert_eq!(answer.policy_version, single.policy_version);
        }
        let allowed: Vec<_> = (0..people.len())
            .filter(|index| answer.results[*index].decision() == Decision::Allow)
            .collect();
        assert_eq!(allowed, [2, 4, 5]);
    }
}

pub async fn a_malformed_recipient_fails_alone(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["offers"]).await;
    let people = [
        phone("0170 98765432"),
        ann.clone(),
        Recipient { address: None },
        wa_id("+14152000001"),
        user_id("nobody"),
        ann,
    ];
    let answer = server.try_batch(batch(&people, "offers")).await.unwrap();
    let faults = [
        Some(("recipients[0].phone_number", "PHONE_NUMBER_INVALID")),
        None,
        Some(("recipients[2]", "FIELD_INVALID")),
        Some(("recipients[3].wa_id", "PHONE_NUMBER_INVALID")),
        Some(("recipients[4].business_scoped_user_id", "FIELD_INVALID")),
        None,
    ];
    for (result, fault) in answer.results.iter().zip(faults) {
        let Some((field, reason)) = fault else {
            assert_eq!(verdict_in(result), allow(Reason::ConsentGiven));
            continue;
        };
        let error = result.error.as_ref().unwrap();
        assert_eq!(
            (error.field.as_str(), error.reason.as_str()),
            (field, reason)
        );
        assert!((1..=160).contains(&error.message.len()) && error.message.is_ascii());
        assert!(!error.message.contains("98765432") && !error.message.contains("14152000001"));
        // Nothing of a decision, least of all one to send on.
        let bare = BatchCheckResult {
            error: result.error.clone(),
            ..BatchCheckResult::default()
        };
        assert_eq!(*result, bare);
    }
}

pub async fn the_largest_batches_pass_a_default_client(on: Backend) {
    let server = TestServer::start(on).await;
    // The longest addresses, of people never seen: each has to be looked up.
    let longest = |number: usize| user_id(&format!("US.{number:0>157}"));
    let people: Vec<_> = (0..10_000).map(longest).collect();
    let request = batch(&people, "offers");
    assert!(request.encoded_len() < DEFAULT_LIMIT);
    let answer = server.try_batch(request).await.unwrap();
    assert_eq!(answer.results.len(), 10_000);
    let never = deny(&[Reason::NoConsent]);
    assert!(answer.results.iter().all(|one| verdict_in(one) == never));

    // The longest answers: all malformed, and all with several reasons and an event.
    let malformed = vec![user_id(&"é".repeat(160)); 10_000];
    let answer = server.try_batch(batch(&malformed, "offers")).await.unwrap();
    assert_eq!(answer.results.len(), 10_000);
    assert!(answer.encoded_len() < DEFAULT_LIMIT);
    assert!(answer.results.iter().all(|one| one.error.is_some()));

    let ann = person(1);
    server.withdraws(&ann, everything()).await;
    let often = BatchCheckConsentRequest {
        sender_id: "1009".into(),
        message_class: MessageClass::ConsentRequest.into(),
        ..batch(&vec![ann; 10_000], "offers")
    };
    let answer = server.try_batch(often).await.unwrap();
    assert!(answer.encoded_len() < DEFAULT_LIMIT);
    let denied = deny(&[Reason::SenderHeld, Reason::Withdrawn, Reason::AskLimit]);
    assert!(answer.results.iter().all(|one| verdict_in(one) == denied));
    assert_eq!(answer.results.len(), 10_000);
}

pub async fn a_batch_that_cannot_be_asked_is_refused_whole(on: Backend) {
    let server = TestServer::start(on).await;
    let one = [person(1)];
    let request = || batch(&one, "offers");
    let many = BatchCheckConsentRequest {
        recipients: vec![person(1); 10_001],
        ..request()
    };
    let none = BatchCheckConsentRequest {
        recipients: Vec::new(),
        ..request()
    };
    let permit = BatchCheckConsentRequest {
        message_class: MessageClass::OptOutConfirmation.into(),
        sender_id: "1001".into(),
        ..request()
    };
    let service = BatchCheckConsentRequest {
        message_class: MessageClass::Service.into(),
        ..request()
    };
    let support = batch(&one, "support");
    let unknown_class = BatchCheckConsentRequest {
        message_class: 99,
        ..request()
    };
    let unknown_purpose = batch(&one, "zumba");
    let unknown_sender = BatchCheckConsentRequest {
        sender_id: "4711".into(),
        ..request()
    };
    let unknown_business = BatchCheckConsentRequest {
        business_id: "nobody".into(),
        ..request()
    };
    for (request, reason, field) in [
        (many, "FIELD_INVALID", "recipients"),
        (none, "FIELD_INVALID", "recipients"),
        (permit, "FIELD_INVALID", "message_class"),
        (service, "FIELD_INVALID", "sender_id"),
        (support, "FIELD_INVALID", "sender_id"),
        (unknown_class, "FIELD_INVALID", "message_class"),
        (unknown_purpose, "PURPOSE_UNKNOWN", "purpose"),
        (unknown_sender, "SENDER_UNKNOWN", "sender_id"),
        (unknown_business, "BUSINESS_UNKNOWN", "business_id"),
    ] {
        refused(server.try_batch(request).await, reason, &[field]);
    }
}

/// One time for all: the first at which any of the answers might be another.
pub async fn a_batch_holds_no_longer_than_any_of_its_answers(on: Backend) {
    let server = TestServer::start(on).await;
    let (ann, bob) = (person(1), person(2));
    server.gives(&ann, &["summer"]).await;
    server.advance(Duration::from_hours(24 * 30) - Duration::from_secs(3));
    server.gives(&bob, &["summer"]).await;
    for (people, seconds) in [
        (vec![bob.clone()], 5),
        (vec![bob.clone(), ann.clone(), bob.clone()], 3),
    ] {
        let answer = server.try_batch(batch(&people, "summer")).await.unwrap();
        let span = Duration::try_from(answer.valid_for.unwrap()).unwrap();
        assert_eq!(span, Duration::from_secs(seconds));
        assert_eq!(time(answer.valid_until), server.now().plus(span));
    }
}

pub async fn every_decision_has_an_id_of_its_own(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let mut ids = HashSet::new();
    for _ in 0..50 {
        let single = server.check(&ann, "offers").await.decision_id;
        let many = server.try_batch(batch(std::slice::from_ref(&ann), "offers"));
        for id in [single, many.await.unwrap().decision_id] {
            assert_eq!(Uuid::parse_str(&id).unwrap().get_version_num(), 7, "{id}");
            assert!(ids.insert(id));
        }
    }
}
