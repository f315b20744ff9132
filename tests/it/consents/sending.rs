//! Messages that were sent: what they count for, and that each counts once.

use std::time::Duration;

use consentgate::grpc::proto::*;

use super::acts::*;
use super::reported::{not_before, wamid};
use crate::harness::{ACME, Backend, TestServer};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

impl TestServer {
    /// Caps a purpose of the catalogue.
    pub async fn caps(&self, purpose: &str, messages: i32, per: Duration) {
        let found = GetPurposeRequest {
            business_id: ACME.into(),
            key: purpose.into(),
        };
        let found = self.catalog().get_purpose(found).await.unwrap();
        let cap = FrequencyCap {
            messages,
            per: Some(prost_types::Duration {
                seconds: i64::try_from(per.as_secs()).unwrap(),
                nanos: 0,
            }),
        };
        let capped = UpdatePurposeRequest {
            business_id: ACME.into(),
            purpose: Some(Purpose {
                frequency_cap: Some(cap),
                ..found.into_inner().purpose.unwrap()
            }),
        };
        let updated = self.catalog().update_purpose(capped).await.unwrap();
        let kept = updated.into_inner().purpose.unwrap().frequency_cap;
        assert_eq!(kept, Some(cap));
    }

    /// May this person be asked for consent to offers?
    async fn ask(&self, person: &Recipient) -> CheckConsentResponse {
        let question = CheckConsentRequest {
            message_class: MessageClass::ConsentRequest.into(),
            sender_id: "1001".into(),
            ..question(person, "offers")
        };
        self.try_check(question).await.unwrap()
    }
}

fn deferred() -> Verdict {
    (Decision::Defer, vec![Reason::FrequencyCap])
}

pub async fn the_cap_of_a_purpose_defers_to_the_exact_instant(on: Backend) {
    let server = TestServer::start(on).await;
    server.caps("offers", 2, DAY * 7).await;
    let person = person(1);
    server.gives(&person, &["offers", "news"]).await;
    let first = server.send(&person, "offers");
    let sent = server.now();
    let answer = server.try_send(first.clone()).await.unwrap();
    assert_eq!(answer, ReportSendResponse::default());
    server.advance(HOUR);
    // The same message again, and one for something else, count for nothing here.
    server.try_send(first).await.unwrap();
    server.sends(&person, "news").await;
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&person, "offers").await, allowed);

    server.sends(&person, "offers").await;
    let full = server.check(&person, "offers").await;
    assert_eq!(verdict_of(&full), deferred());
    assert_eq!(not_before(&full), sent.plus(DAY * 7));
    assert_eq!(server.verdict(&person, "news").await, allowed);
    let batch = server
        .try_batch(batch(std::slice::from_ref(&person), "offers"))
        .await;
    let result = batch.unwrap().results.remove(0);
    assert_eq!(result.decision(), Decision::Defer);
    assert_eq!(time(result.not_before), sent.plus(DAY * 7));

    server.advance(DAY * 7 - HOUR - Duration::from_micros(1));
    assert_eq!(server.verdict(&person, "offers").await, deferred());
    server.advance(Duration::from_micros(1));
    assert_eq!(server.verdict(&person, "offers").await, allowed);
}

pub async fn the_cap_of_a_jurisdiction_counts_advertising_for_all_purposes(on: Backend) {
    let mut server = TestServer::start(on).await;
    let cap = r#"frequency_caps = [{ messages = 2, per = "PT24H" }]"#;
    server.restart_with_columns(cap).await;
    let person = person(1);
    server.gives(&person, &["offers", "news", "orders"]).await;
    server.sends(&person, "orders").await;
    server.sends(&person, "news").await;
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&person, "offers").await, allowed);
    // A purpose's class only becomes stricter, whatever the report says.
    let utility = ReportSendRequest {
        message_class: MessageClass::Utility.into(),
        ..server.send(&person, "news")
    };
    server.try_send(utility).await.unwrap();
    assert_eq!(server.verdict(&person, "offers").await, deferred());
    assert_eq!(server.verdict(&person, "orders").await, allowed);
    server.restart().await;
    assert_eq!(server.verdict(&person, "offers").await, deferred());
}

pub async fn reports_count_from_when_a_message_was_sent_in_whatever_order_they_come(on: Backend) {
    let server = TestServer::start(on).await;
    server.caps("offers", 2, DAY).await;
    let person = person(1);
    server.gives(&person, &["offers"]).await;
    let start = server.now();
    server.advance(HOUR * 2);
    let at = |time| ReportSendRequest {
        sent_at: Some(wire(time)),
        ..server.send(&person, "offers")
    };
    let late = start.plus(HOUR);
    for time in [server.now(), late, start] {
        server.try_send(at(time)).await.unwrap();
    }
    // Of three the two newest fill the cap; the older of them makes room.
    let full = server.check(&person, "offers").await;
    assert_eq!(not_before(&full), late.plus(DAY));

    // A message of the future was sent now, and so was one of 1970.
    let other = super::acts::person(2);
    server.gives(&other, &["offers"]).await;
    for time in [Some(wire(start.plus(DAY * 99))), Some(wire_of_1970())] {
        let odd = ReportSendRequest {
            sent_at: time,
            ..server.send(&other, "offers")
        };
        server.try_send(odd).await.unwrap();
    }
    let full = server.check(&other, "offers").await;
    assert_eq!(not_before(&full), server.now().plus(DAY));
}

fn wire_of_1970() -> prost_types::Timestamp {
    prost_types::Timestamp::default()
}

pub async fn a_request_for_consent_is_an_act_that_counts_as_an_ask(on: Backend) {
    let mut server = TestServer::start(on).await;
    let once = "asking = { max_total = 2, cooldown = \"P30D\" }";
    server.restart_with_columns(once).await;
    let person = person(1);
    let permitted = allow(Reason::ConsentRequestPermitted);
    let allowed = server.ask(&person).await;
    assert_eq!(verdict_of(&allowed), permitted);
    let request = ReportSendRequest {
        message_class: MessageClass::ConsentRequest.into(),
        decision_id: allowed.decision_id.clone(),
        ..server.send(&person, "offers")
    };
    let sent = server.try_send(request.clone()).await.unwrap();
    assert!(!sent.event_id.is_empty() && !sent.consistency_token.is_empty());
    let again = server.try_send(request.clone()).await.unwrap();
    assert_eq!(again.event_id, sent.event_id);
    let limited = deny(&[Reason::AskLimit]);
    assert_eq!(verdict_of(&server.ask(&person).await), limited);
    assert_eq!(server.state(&person).await, ConsentState::Requested);
    assert_eq!(
        server.verdict(&person, "offers").await,
        deny(&[Reason::NoConsent])
    );

    let events = server.events(&person).await;
    let [event] = events.as_slice() else {
        panic!("one event: {events:?}")
    };
    assert_eq!(event.event_state(), ConsentState::Requested);
    assert_eq!(
        (event.purposes.as_slice(), event.sender_id.as_str()),
        (&keys(&["offers"])[..], "1001")
    );
    let evidence = event.evidence.clone().unwrap();
    assert_eq!(evidence.message_id, request.message_id);
    let kept = event.reported_message.clone().unwrap();
    assert_eq!(kept.decision_id, allowed.decision_id);

    // A month later once more, and then never again.
    server.advance(DAY * 31);
    assert_eq!(verdict_of(&server.ask(&person).await), permitted);
    let second = ReportSendRequest {
        message_class: MessageClass::ConsentRequest.into(),
        ..server.send(&person, "offers")
    };
    server.try_send(second).await.unwrap();
    server.advance(DAY * 300);
    assert_eq!(verdict_of(&server.ask(&person).await), limited);
}

pub async fn a_message_counts_for_all_spellings_and_aliases(on: Backend) {
    let server = TestServer::start(on).await;
    server.caps("offers", 1, DAY).await;
    let (long, short) = (phone("+5511987654321"), phone("+551187654321"));
    server.gives(&long, &["offers"]).await;
    let sent = ReportSendRequest {
        sender_id: "alias-of-1001".into(),
        ..server.send(&short, "offers")
    };
    server.try_send(sent.clone()).await.unwrap();
    assert_eq!(server.verdict(&long, "offers").await, deferred());
    // It is the same message, whatever spelling and name it is reported under.
    let again = ReportSendRequest {
        recipient: Some(long.clone()),
        sender_id: "1001".into(),
        ..sent
    };
    server.try_send(again).await.unwrap();
    server.caps("offers", 2, DAY).await;
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&long, "offers").await, allowed);
}

pub async fn a_message_counts_at_every_address_of_the_person(on: Backend) {
    let mut server = TestServer::start(on).await;
    let once = "asking = { max_total = 1 }";
    server.restart_with_columns(once).await;
    server.caps("offers", 1, DAY).await;
    let (phone, user) = (person(1), user_id("US.13491208655302741918"));
    let webhook = ReportInboundRequest {
        also_known_as: Some(user.clone()),
        ..server.message(&phone, "hello")
    };
    server.try_inbound(webhook).await.unwrap();
    // The window that this opened would permit any ask.
    server.advance(DAY);
    server.gives(&phone, &["offers"]).await;
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&user, "offers").await, allowed);
    server.sends(&user, "offers").await;
    for address in [&phone, &user] {
        assert_eq!(server.verdict(address, "offers").await, deferred());
    }
    server.advance(DAY);
    let asked = ReportSendRequest {
        message_class: MessageClass::ConsentRequest.into(),
        ..server.send(&phone, "news")
    };
    server.try_send(asked).await.unwrap();
    server.advance(DAY);
    for address in [&phone, &user] {
        let limited = server.ask(address).await;
        assert_eq!(verdict_of(&limited), deny(&[Reason::AskLimit]));
    }
}

pub async fn what_is_wrong_with_a_send_is_named_and_an_unknown_person_is_not_wrong(on: Backend) {
    let server = TestServer::start(on).await;
    let person = person(1);
    let sound = server.send(&person, "offers");
    let unknown = ReportSendRequest {
        purpose: "gifts".into(),
        sender_id: "7777".into(),
        ..sound.clone()
    };
    let unknown = server.try_send(unknown).await;
    refused(unknown, "PURPOSE_UNKNOWN", &["purpose", "sender_id"]);
    let bends: [(Change<ReportSendRequest>, &[&str]); 7] = [
        (|sent| sent.message_id.clear(), &["message_id"]),
        (|sent| sent.message_id = "x".repeat(257), &["message_id"]),
        (|sent| sent.sent_at = None, &["sent_at"]),
        (|sent| sent.message_class = 99, &["message_class"]),
        (|sent| sent.decision_id = wamid(), &["decision_id"]),
        (
            |sent| sent.consent_event_id = "the first".into(),
            &["consent_event_id"],
        ),
        (|sent| sent.sender_id.clear(), &["sender_id"]),
    ];
    for (bend, fields) in bends {
        let mut bent = sound.clone();
        bend(&mut bent);
        refused(server.try_send(bent).await, "FIELD_INVALID", fields);
    }
    server.try_send(sound).await.unwrap();
    assert!(server.events(&person).await.is_empty(), "no act of anybody");
}
