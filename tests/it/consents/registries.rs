//! Do-not-contact registries: what must have been looked up, and what a listing bars.

use std::time::Duration;

use consentgate::grpc::proto::*;
use tonic::Code;

use super::acts::*;
use crate::harness::{Backend, TestServer};

const DAY: Duration = Duration::from_hours(24);

/// Somebody in Singapore, where the tests' policy has two registries that must be asked every 30 days.
fn person() -> Recipient {
    phone("+6581234567")
}

pub async fn marketing_waits_for_every_registry_and_again_when_an_answer_is_too_old(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person();
    server.gives(&person, &["offers", "orders"]).await;
    let stale = deny(&[Reason::RegistryStale]);
    assert_eq!(server.verdict(&person, "offers").await, stale);
    let orders = server.verdict(&person, "orders").await;
    assert_eq!(orders, allow(Reason::ConsentGiven));

    let answer = server
        .looks_up(&person, "sg-dnc", RegistryResult::NotListed)
        .await;
    assert!(!answer.event_id.is_empty() && !answer.consistency_token.is_empty());
    assert_eq!((answer.instances_confirmed, answer.waited), (0, None));
    // No data is no answer.
    server
        .looks_up(&person, "sg-rnd", RegistryResult::NoData)
        .await;
    assert_eq!(server.verdict(&person, "offers").await, stale);
    server
        .looks_up(&person, "sg-rnd", RegistryResult::NotListed)
        .await;
    let allowed = server.verdict(&person, "offers").await;
    assert_eq!(allowed, allow(Reason::ConsentGiven));

    server.advance(DAY * 30 - Duration::from_micros(1));
    assert_eq!(server.verdict(&person, "offers").await, allowed);
    server.advance(Duration::from_micros(1));
    assert_eq!(server.verdict(&person, "offers").await, stale);
}

pub async fn a_listing_bars_marketing_at_once_until_the_registry_says_otherwise(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person();
    server.gives(&person, &["offers", "orders"]).await;
    for registry in ["sg-dnc", "sg-rnd"] {
        server
            .looks_up(&person, registry, RegistryResult::NotListed)
            .await;
    }
    server.advance(DAY);
    let check = RecordRegistryCheckRequest {
        list_version: "2026-06".into(),
        actor: "nightly look-up".into(),
        ..server.look_up(&person, "sg-dnc", RegistryResult::Listed)
    };
    let listed = server.try_look_up(check.clone()).await.unwrap();
    assert_eq!(listed.instances_confirmed, 1);
    assert!(listed.waited.is_some());
    let barred = server.check(&person, "offers").await;
    assert_eq!(verdict_of(&barred), deny(&[Reason::Suppressed]));
    assert_eq!(barred.consent_event_id, listed.event_id);
    let orders = server.verdict(&person, "orders").await;
    assert_eq!(orders, allow(Reason::ConsentGiven));

    // The same call again is the first; another one under its key is refused.
    let again = server.try_look_up(check.clone()).await.unwrap();
    assert_eq!(again.event_id, listed.event_id);
    assert_eq!(again.instances_confirmed, 1);
    let other = RecordRegistryCheckRequest {
        result: RegistryResult::NotListed.into(),
        ..check
    };
    let reused = server.try_look_up(other).await.unwrap_err();
    assert_eq!(reused.code(), Code::AlreadyExists, "{reused}");

    let events = server.events(&person).await;
    let last = events.last().unwrap();
    assert_eq!((events.len(), last.kind()), (4, EventKind::RegistryCheck));
    let kept = last.registry_check.clone().unwrap();
    assert_eq!(
        (
            kept.registry.as_str(),
            kept.list_version.as_str(),
            kept.result()
        ),
        ("sg-dnc", "2026-06", RegistryResult::Listed)
    );
    assert_eq!(last.actor, "nightly look-up");

    server.advance(DAY);
    server
        .looks_up(&person, "sg-dnc", RegistryResult::NotListed)
        .await;
    let allowed = server.verdict(&person, "offers").await;
    assert_eq!(allowed, allow(Reason::ConsentGiven));
}

pub async fn of_a_reassigned_number_earlier_consent_is_void_and_later_is_not(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person();
    server.gives(&person, &["offers", "orders"]).await;
    server
        .looks_up(&person, "sg-dnc", RegistryResult::NotListed)
        .await;
    server.advance(DAY);
    server
        .looks_up(&person, "sg-rnd", RegistryResult::Listed)
        .await;
    for purpose in ["offers", "orders"] {
        let verdict = server.verdict(&person, purpose).await;
        assert_eq!(
            (verdict.0, verdict.1[0]),
            (Decision::Deny, Reason::Suppressed),
            "{purpose}"
        );
    }
    server.advance(DAY);
    server.gives(&person, &["offers", "orders"]).await;
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&person, "orders").await, allowed);
    // Marketing waits for an answer that is no listing.
    let stale = deny(&[Reason::RegistryStale]);
    assert_eq!(server.verdict(&person, "offers").await, stale);
    server
        .looks_up(&person, "sg-rnd", RegistryResult::NotListed)
        .await;
    assert_eq!(server.verdict(&person, "offers").await, allowed);
}

pub async fn a_check_of_no_registry_or_at_no_possible_time_is_refused(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person();
    let sound = server.look_up(&person, "sg-dnc", RegistryResult::Listed);
    let bloctel = RecordRegistryCheckRequest {
        registry: "bloctel".into(),
        ..sound.clone()
    };
    let unknown = server.try_look_up(bloctel).await;
    let status = unknown.clone().unwrap_err();
    refused(unknown, "REGISTRY_UNKNOWN", &["registry"]);
    assert!(status.message().contains("sg-dnc, sg-rnd"), "{status}");

    let tolerated = server.now().plus(Duration::from_mins(5));
    let future = RecordRegistryCheckRequest {
        checked_at: Some(wire(tolerated.plus(Duration::from_micros(1)))),
        ..sound.clone()
    };
    refused(
        server.try_look_up(future).await,
        "EVENT_TIME_IN_FUTURE",
        &["checked_at"],
    );
    let bends: [(Change<RecordRegistryCheckRequest>, &[&str]); 7] = [
        (
            |check| check.checked_at = Some(prost_types::Timestamp::default()),
            &["checked_at"],
        ),
        (|check| check.checked_at = None, &["checked_at"]),
        (|check| check.result = 0, &["result"]),
        (|check| check.registry = "No Slug".into(), &["registry"]),
        (
            |check| check.list_version = "x".repeat(257),
            &["list_version"],
        ),
        (|check| check.idempotency_key.clear(), &["idempotency_key"]),
        (|check| check.recipient = None, &["recipient"]),
    ];
    for (bend, fields) in bends {
        let mut bent = sound.clone();
        bend(&mut bent);
        refused(server.try_look_up(bent).await, "FIELD_INVALID", fields);
    }
    assert!(server.events(&person).await.is_empty(), "nothing is kept");
    let ahead = RecordRegistryCheckRequest {
        checked_at: Some(wire(tolerated)),
        ..sound
    };
    server.try_look_up(ahead).await.unwrap();
}
