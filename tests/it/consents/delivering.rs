//! Messages that were not delivered: which failure is an opt-out, which passes, and which is nobody's.

use std::time::Duration;

use consentgate::grpc::proto::*;

use super::acts::*;
use super::reported::not_before;
use crate::harness::{Backend, TestServer};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn granted() -> Verdict {
    allow(Reason::ConsentGiven)
}

fn stopped() -> Verdict {
    deny(&[Reason::PlatformStopped])
}

/// A failure with a provider's own code.
fn by(provider: &str, failure: ReportDeliveryRequest) -> ReportDeliveryRequest {
    ReportDeliveryRequest {
        provider: provider.into(),
        ..failure
    }
}

pub async fn whatsapps_opt_out_bars_marketing_and_nothing_else(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    let given = server.gives(&person, &["offers", "orders"]).await;
    let decision = server.check(&person, "offers").await;
    server.advance(HOUR);
    let failure = ReportDeliveryRequest {
        sender_id: "alias-of-1001".into(),
        purpose: "offers".into(),
        decision_id: decision.decision_id.clone(),
        consent_event_id: given.records[0].event_id.clone(),
        ..server.failure(&person, "131050")
    };
    let answer = server.try_failure(failure.clone()).await.unwrap();
    assert!(answer.opted_out && !answer.event_id.is_empty());
    assert!(!answer.consistency_token.is_empty() && answer.waited.is_some());
    assert_eq!(answer.instances_confirmed, 1);
    let barred = server.check(&person, "offers").await;
    assert_eq!(verdict_of(&barred), stopped());
    assert_eq!(barred.consent_event_id, answer.event_id);
    assert_eq!(server.verdict(&person, "orders").await, granted());
    // No consent reopens what the person stopped at WhatsApp.
    server.advance(HOUR);
    server.gives(&person, &["offers"]).await;
    assert_eq!(server.verdict(&person, "offers").await, stopped());

    let again = server.try_failure(failure.clone()).await.unwrap();
    assert!(again.opted_out);
    assert_eq!(again.event_id, answer.event_id);
    let events = server.events(&person).await;
    let suppressed = events.iter().filter(|e| e.suppression.is_some());
    let [event] = suppressed.collect::<Vec<_>>()[..] else {
        panic!("one opt-out: {events:?}")
    };
    assert_eq!(event.withdrawal_method(), WithdrawalMethod::DeliveryError);
    let suppression = event.suppression.clone().unwrap();
    assert_eq!(suppression.basis(), SuppressionBasis::PlatformStop);
    assert_eq!(suppression.scope, Some(at_sender(all_marketing(), "1001")));
    let evidence = event.evidence.clone().unwrap();
    assert_eq!(evidence.message_id, failure.message_id);
    let kept = event.reported_message.clone().unwrap();
    assert_eq!(
        (kept.decision_id, kept.consent_event_id, kept.error_code),
        (
            failure.decision_id,
            failure.consent_event_id,
            "131050".into()
        )
    );
}

pub async fn whatsapps_opt_out_is_of_one_number_and_ends_when_that_one_is_resumed(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    server.gives(&person, &["offers"]).await;
    let from = async |sender: &str| server.verdict_from(sender, &person, "offers").await;
    server.advance(HOUR);
    server.fails(&person, "131050").await;
    // What it means for the other numbers is the business's setting: all of them, unless it says less.
    assert_eq!(
        (from("1001").await, from("1002").await),
        (stopped(), stopped())
    );
    let found = GetBusinessRequest {
        business_id: "acme".into(),
    };
    let found = server.catalog().get_business(found).await.unwrap();
    let narrower = UpdateBusinessRequest {
        business: Some(Business {
            opt_out_scope: OptOutScope::SenderMarketing.into(),
            ..found.into_inner().business.unwrap()
        }),
    };
    server.catalog().update_business(narrower).await.unwrap();
    assert_eq!(
        (from("1001").await, from("1002").await),
        (stopped(), granted())
    );

    server.advance(HOUR);
    let resumed = ReportInboundRequest {
        kind: InboundKind::PreferenceResume.into(),
        ..server.message(&person, "")
    };
    let resumed = server.try_inbound(resumed).await.unwrap();
    assert_eq!(resumed.action(), InboundAction::Resumed);
    assert_eq!(from("1001").await, granted());
}

pub async fn three_failures_in_a_row_make_an_address_unreachable_for_30_days(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    server.gives(&person, &["offers", "orders"]).await;
    let first = server.failure(&person, "131026");
    for _ in 0..3 {
        // One message, reported three times.
        let answer = server.try_failure(first.clone()).await.unwrap();
        assert_eq!((answer.opted_out, answer.unreachable_until), (false, None));
        assert!(!answer.event_id.is_empty());
    }
    server.advance(DAY);
    let second = server.failure(&person, "131026");
    server.advance(DAY);
    // The third is reported before the second.
    let failed_at = server.now();
    let third = server.fails(&person, "131026").await;
    assert_eq!(third.unreachable_until, None);
    assert_eq!(server.verdict(&person, "offers").await, granted());
    let answer = server.try_failure(second).await.unwrap();
    let until = failed_at.plus(DAY * 30);
    assert_eq!(time(answer.unreachable_until), until);
    assert!(!answer.opted_out);
    for purpose in ["offers", "orders"] {
        let verdict = server.verdict(&person, purpose).await;
        assert_eq!(verdict, deny(&[Reason::Unreachable]), "{purpose}");
    }
    // What says nothing new is told how things stand.
    let nothing = server.fails(&person, "131047").await;
    assert_eq!(time(nothing.unreachable_until), until);
    assert_eq!(nothing.event_id, "");

    server.advance(DAY * 30 - Duration::from_micros(1));
    let verdict = server.verdict(&person, "offers").await;
    assert_eq!(verdict, deny(&[Reason::Unreachable]));
    server.advance(Duration::from_micros(1));
    assert_eq!(server.verdict(&person, "offers").await, granted());
    assert_eq!(
        server.fails(&person, "131047").await.unreachable_until,
        None
    );
    let failed = server.events(&person).await;
    let failed = failed
        .iter()
        .filter(|e| e.kind() == EventKind::DeliveryFailed);
    assert_eq!(failed.count(), 3);
}

pub async fn whoever_says_yes_or_no_is_reached_too(on: Backend) {
    let server = TestServer::start(on).await;
    for (number, word, action) in [
        (1, "hello", InboundAction::None),
        (2, "YES", InboundAction::Confirmed),
        (3, "NO", InboundAction::Withdrew),
    ] {
        let person = person(number);
        server.gives(&person, &["orders"]).await;
        server.gives(&person, &["club"]).await;
        for _ in 0..3 {
            server.advance(HOUR);
            server.fails(&person, "131026").await;
        }
        let verdict = server.verdict(&person, "orders").await;
        assert_eq!(verdict, deny(&[Reason::Unreachable]), "{word}");
        server.advance(HOUR);
        let message = server.message(&person, word);
        for _ in 0..2 {
            let heard = server.try_inbound(message.clone()).await.unwrap();
            assert_eq!(heard.action(), action, "{word}");
        }
        assert_eq!(server.verdict(&person, "orders").await, granted(), "{word}");
    }
}

pub async fn whatsapps_own_limit_defers_marketing_for_a_day(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    server.gives(&person, &["offers", "orders"]).await;
    for (code, provider) in [("131049", "whatsapp"), ("63032", "twilio")] {
        let failure = by(provider, server.failure(&person, code));
        let until = server.now().plus(DAY);
        server.advance(HOUR);
        let answer = server.try_failure(failure).await.unwrap();
        assert_eq!(time(answer.limited_until), until);
        let limited = server.check(&person, "offers").await;
        let reasons = vec![Reason::PlatformLimited];
        assert_eq!(verdict_of(&limited), (Decision::Defer, reasons));
        assert_eq!(not_before(&limited), until);
        assert_eq!(server.verdict(&person, "orders").await, granted());
        server.advance(DAY - HOUR);
        assert_eq!(server.verdict(&person, "offers").await, granted());
    }
}

pub async fn a_changed_identity_key_puts_it_in_doubt_whose_number_it_is(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    server.gives(&person, &["offers"]).await;
    server.advance(HOUR);
    let answer = server.fails(&person, "137000").await;
    assert!(!answer.opted_out && answer.unreachable_until.is_none());
    assert_eq!(answer.instances_confirmed, 1);
    let doubted = server.check(&person, "offers").await;
    assert_eq!(verdict_of(&doubted), deny(&[Reason::IdentityUnverified]));
    server.advance(HOUR);
    server.gives(&person, &["offers"]).await;
    assert_eq!(server.verdict(&person, "offers").await, granted());
}

pub async fn what_is_no_fault_of_the_recipient_changes_nothing(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    server.gives(&person, &["offers"]).await;
    let before = server.events(&person).await;
    for (provider, code) in [
        // Restricts the sender.
        ("", "131031"),
        ("", "368"),
        ("", "131048"),
        ("", "131064"),
        // The caller's.
        ("", "131047"),
        ("", "132015"),
        ("gupshup", "1006"),
        // Nothing that is known; Meta's short codes mean nothing elsewhere.
        ("", "999999"),
        ("", "opted out"),
        ("somebody", "498"),
        ("vonage", "9"),
        ("", "63014"),
        ("twilio", "1012"),
    ] {
        for _ in 0..4 {
            let failure = by(provider, server.failure(&person, code));
            let answer = server.try_failure(failure).await.unwrap();
            let nothing = ReportDeliveryResponse::default();
            assert_eq!(answer, nothing, "{provider} {code}");
        }
    }
    assert_eq!(server.events(&person).await, before);
    assert_eq!(server.verdict(&person, "offers").await, granted());
}

pub async fn a_providers_own_word_for_opted_out_is_one(on: Backend) {
    let server = TestServer::start(on).await;
    for (number, (provider, code)) in [
        ("twilio", "63014"),
        ("Gupshup", "1012"),
        ("360dialog", "131050"),
        ("whatsapp", "498"),
        ("somebody", "131050"),
    ]
    .into_iter()
    .enumerate()
    {
        let person = person(u32::try_from(number).unwrap());
        server.gives(&person, &["offers"]).await;
        let failure = by(provider, server.failure(&person, code));
        let answer = server.try_failure(failure).await.unwrap();
        assert!(answer.opted_out, "{provider} {code}");
        let verdict = server.verdict(&person, "offers").await;
        assert_eq!(verdict, stopped(), "{provider} {code}");
    }
}

pub async fn an_opt_out_is_refused_for_nothing_but_its_business_and_recipient(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    server.gives(&person, &["offers"]).await;
    let sound = server.failure(&person, "131050");
    let spoilt = ReportDeliveryRequest {
        business_id: sound.business_id.clone(),
        recipient: sound.recipient.clone(),
        error_code: sound.error_code.clone(),
        sender_id: "no sender of ours".into(),
        purpose: "No Slug".into(),
        message_class: 99,
        decision_id: "yesterday".into(),
        consent_event_id: "the first".into(),
        ..ReportDeliveryRequest::default()
    };
    assert!(server.try_failure(spoilt.clone()).await.unwrap().opted_out);
    // Nobody's sender narrows nothing: it holds for all.
    let from = async |sender: &str| server.verdict_from(sender, &person, "offers").await;
    assert_eq!(
        (from("1001").await, from("1002").await),
        (stopped(), stopped())
    );
    // Without the message's id each report is an act of its own.
    server.try_failure(spoilt.clone()).await.unwrap();
    assert_eq!(server.events(&person).await.len(), 3);

    // Anything else is refused for all of it.
    let failure = ReportDeliveryRequest {
        error_code: "131026".into(),
        ..spoilt
    };
    let fields = [
        "sender_id",
        "purpose",
        "message_class",
        "decision_id",
        "consent_event_id",
        "message_id",
        "failed_at",
    ];
    refused(server.try_failure(failure).await, "FIELD_INVALID", &fields);
    let unknown = ReportDeliveryRequest {
        sender_id: "7777".into(),
        ..server.failure(&person, "131026")
    };
    refused(
        server.try_failure(unknown).await,
        "SENDER_UNKNOWN",
        &["sender_id"],
    );
    let bends: [(Change<ReportDeliveryRequest>, &[&str]); 3] = [
        (|failure| failure.recipient = None, &["recipient"]),
        (|failure| failure.error_code.clear(), &["error_code"]),
        (
            |failure| failure.error_code = "1".repeat(65),
            &["error_code"],
        ),
    ];
    for (bend, fields) in bends {
        let mut bent = sound.clone();
        bend(&mut bent);
        refused(server.try_failure(bent).await, "FIELD_INVALID", fields);
    }
    assert_eq!(server.events(&person).await.len(), 3);
}

pub async fn an_opt_out_of_somebody_never_seen_holds_and_in_the_future_is_now(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    let ahead = ReportDeliveryRequest {
        failed_at: Some(wire(server.now().plus(DAY))),
        ..server.failure(&person, "131050")
    };
    assert!(server.try_failure(ahead).await.unwrap().opted_out);
    server.gives(&person, &["offers"]).await;
    assert_eq!(server.verdict(&person, "offers").await, stopped());
    let events = server.events(&person).await;
    assert_eq!(time(events[0].event_time), server.now());
    // In another spelling it is the same person.
    let (long, short) = (phone("+5511987654321"), phone("+551187654321"));
    server.gives(&long, &["offers"]).await;
    assert!(server.fails(&short, "131050").await.opted_out);
    assert_eq!(server.verdict(&long, "offers").await, stopped());
}

pub async fn in_a_burst_only_whatsapps_own_opt_outs_are_believed(on: Backend) {
    let server = TestServer::start(on).await;
    let somebody = |number: u32| person(number);
    let kept = async |number: u32, provider: &str, code: &str| {
        let failure = by(provider, server.failure(&somebody(number), code));
        let answer = server.try_failure(failure).await.unwrap();
        let events = server.events(&somebody(number)).await.len();
        assert_eq!(events, usize::from(!answer.event_id.is_empty()));
        (answer.opted_out, events == 1)
    };
    for number in 0..100 {
        assert_eq!(kept(number, "gupshup", "1002").await, (false, true));
    }
    assert_eq!(kept(100, "gupshup", "1002").await, (false, false));
    assert_eq!(kept(101, "gupshup", "1012").await, (false, false));
    assert_eq!(kept(102, "gupshup", "131050").await, (true, true));
    // Other failures, and other providers, are not in the burst.
    assert_eq!(kept(103, "gupshup", "131049").await, (false, true));
    assert_eq!(kept(104, "gupshup", "137000").await, (false, true));
    assert_eq!(kept(105, "twilio", "63014").await, (true, true));
    assert_eq!(kept(106, "whatsapp", "131026").await, (false, true));
}

pub async fn a_burst_is_a_share_of_what_was_reported_as_sent(on: Backend) {
    let server = TestServer::start(on).await;
    for number in 0..600 {
        server.sends(&person(number), "offers").await;
    }
    for number in 0..120 {
        let answer = server.fails(&person(number), "131026").await;
        assert_ne!(answer.event_id, "", "{number}");
    }
    assert_eq!(server.fails(&person(121), "131026").await.event_id, "");
}
