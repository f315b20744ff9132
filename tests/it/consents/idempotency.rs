//! Calls that come twice: the same key and content is one act, whoever repeats it and however often.

use std::time::Duration;

use consentgate::grpc::proto::*;
use tonic::{Code, Status};

use super::acts::*;
use crate::harness::{Backend, TestServer};

const MINUTE: Duration = Duration::from_mins(1);

#[track_caller]
fn is_a_used_key<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "{status}");
    assert_eq!(reason_of(&status), "IDEMPOTENCY_KEY_REUSED");
}

pub async fn a_repeated_record_answers_as_the_first_did(on: Backend) {
    let mut server = TestServer::start(on).await;
    let ann = person(1);
    let grant = RecordConsentRequest {
        labels: [
            ("store".into(), "Köln".into()),
            ("lang".into(), "de".into()),
        ]
        .into(),
        actor: "form 7".into(),
        ..server.grant(&ann, &["offers", "news"])
    };
    let first = server.try_record(grant.clone()).await.unwrap();
    server.advance(MINUTE);
    server.withdraws(&ann, everything()).await;
    server.restart().await;
    server.advance(Duration::from_hours(24));
    let second = server.try_record(grant.clone()).await.unwrap();
    assert_eq!(second.records, first.records);
    // It is the old act, so it undoes nothing.
    let denied = deny(&[Reason::Withdrawn]);
    assert_eq!(server.verdict(&ann, "offers").await, denied);
    assert_eq!(server.events(&ann).await.len(), 2);

    // The purposes are a set.
    let mut turned = grant;
    turned.purposes.reverse();
    let mut third = server.try_record(turned).await.unwrap();
    third.records.reverse();
    assert_eq!(third.records, first.records);
}

pub async fn a_key_with_other_content_is_refused_and_nothing_stored(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let grant = server.grant(&ann, &["offers"]);
    server.try_record(grant.clone()).await.unwrap();
    let changes: [Change<RecordConsentRequest>; 9] = [
        |r| r.recipient = Some(person(2)),
        |r| r.purposes = keys(&["news"]),
        |r| r.sender_id = "1001".into(),
        |r| r.event_time.as_mut().unwrap().nanos += 1_000,
        |r| r.event_state = ConsentState::Refused.into(),
        |r| r.indication_method = IndicationMethod::Button.into(),
        |r| r.actor = "somebody".into(),
        |r| r.labels = [("a".into(), "b".into())].into(),
        |r| {
            r.evidence = Some(Evidence {
                form_id: "7".into(),
                ..Evidence::default()
            });
        },
    ];
    for change in changes {
        let mut other = grant.clone();
        change(&mut other);
        is_a_used_key(server.try_record(other).await);
    }
    assert_eq!(server.events(&ann).await.len(), 1);
    assert_eq!(server.events(&person(2)).await, []);
}

pub async fn a_key_is_free_for_another_call_and_another_business(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let grant = server.grant(&ann, &["club"]);
    let key = grant.idempotency_key.clone();
    server.try_record(grant.clone()).await.unwrap();

    let elsewhere = RecordConsentRequest {
        business_id: "rival".into(),
        purposes: keys(&["offers"]),
        ..grant
    };
    server.try_record(elsewhere).await.unwrap();
    server.advance(MINUTE);
    let confirmation = ConfirmConsentRequest {
        idempotency_key: key.clone(),
        ..server.confirmation(&ann)
    };
    server.try_confirm(confirmation).await.unwrap();
    let opt_out = WithdrawRequest {
        idempotency_key: key,
        ..server.opt_out(&ann, everything())
    };
    server.try_withdraw(opt_out).await.unwrap();
    assert_eq!(server.events(&ann).await.len(), 3);
}

pub async fn a_repeated_confirmation_answers_as_the_first_did(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["club"]).await;
    server.advance(MINUTE);
    let confirmation = server.confirmation(&ann);
    let first = server.try_confirm(confirmation.clone()).await.unwrap();
    server.advance(MINUTE);
    let second = server.try_confirm(confirmation.clone()).await.unwrap();
    assert_eq!(second.records, first.records);
    let other = ConfirmConsentRequest {
        actor: "somebody".into(),
        ..confirmation
    };
    is_a_used_key(server.try_confirm(other).await);
    assert_eq!(server.events(&ann).await.len(), 2);
}

pub async fn a_repeated_opt_out_answers_the_first_ids_and_times(on: Backend) {
    let mut server = TestServer::start(on).await;
    let ann = person(1);
    let opt_out = WithdrawRequest {
        event_time: None,
        ..server.opt_out(&ann, everything())
    };
    let first = server.try_withdraw(opt_out.clone()).await.unwrap();
    server.advance(Duration::from_hours(1));
    server.gives(&ann, &["offers"]).await;
    server.restart().await;
    let second = server.try_withdraw(opt_out).await.unwrap();
    assert_eq!(
        (&second.event_id, second.effective_at),
        (&first.event_id, first.effective_at)
    );
    assert_eq!(second.instances_confirmed, 1);
    assert!(second.waited.is_some());
    // It is the old act, so the grant that came after it stands.
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&ann, "offers").await, allowed);
    assert_eq!(server.events(&ann).await.len(), 2);
}

/// Nobody who wants to be left alone is told that a key was used.
pub async fn an_opt_out_with_a_used_key_is_another_opt_out(on: Backend) {
    let server = TestServer::start(on).await;
    let (ann, bob) = (person(1), person(2));
    server.gives(&ann, &["offers", "orders"]).await;
    server.gives(&bob, &["offers"]).await;
    let one = server.opt_out(&ann, of_purposes(&["offers"]));
    let two = WithdrawRequest {
        scope: Some(everything()),
        ..one.clone()
    };
    let three = WithdrawRequest {
        recipient: Some(bob.clone()),
        ..one.clone()
    };
    let calls = [one, two, three];
    let mut first = Vec::new();
    for call in &calls {
        first.push(server.try_withdraw(call.clone()).await.unwrap().event_id);
    }
    let denied = deny(&[Reason::Withdrawn]);
    assert_eq!(server.verdict(&ann, "orders").await, denied);
    assert_eq!(server.verdict(&bob, "offers").await, denied);
    for (call, first) in calls.iter().zip(&first) {
        let again = server.try_withdraw(call.clone()).await.unwrap();
        assert_eq!(again.event_id, *first);
    }
    assert_eq!(server.events(&ann).await.len(), 3);
    assert_eq!(server.events(&bob).await.len(), 2);
}

pub async fn an_opt_out_without_a_usable_key_is_an_event_each_time(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    for key in [String::new(), "k".repeat(129)] {
        let opt_out = WithdrawRequest {
            idempotency_key: key,
            ..server.opt_out(&ann, everything())
        };
        let first = server.try_withdraw(opt_out.clone()).await.unwrap();
        let second = server.try_withdraw(opt_out).await.unwrap();
        assert_ne!(first.event_id, second.event_id);
    }
    assert_eq!(server.events(&ann).await.len(), 4);
}

pub async fn of_16_calls_at_once_with_one_key_one_counts_and_all_hear_of_it(on: Backend) {
    let server = TestServer::start(on).await;
    let (ann, bob) = (person(1), person(2));
    let grant = server.grant(&ann, &["offers"]);
    let opt_out = server.opt_out(&bob, everything());
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let (mut client, grant, opt_out) = (server.client(), grant.clone(), opt_out.clone());
            tokio::spawn(async move {
                let given = client.record_consent(grant).await.unwrap().into_inner();
                let ended = client.withdraw(opt_out).await.unwrap().into_inner();
                (given.records, ended.event_id, ended.effective_at)
            })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
    assert_eq!(server.events(&ann).await.len(), 1);
    assert_eq!(server.events(&bob).await.len(), 1);
}

pub async fn of_16_opt_outs_at_once_with_one_key_and_16_people_none_is_lost(on: Backend) {
    let server = TestServer::start(on).await;
    let people: Vec<Recipient> = (0..16).map(person).collect();
    let key = fresh_key();
    let calls: Vec<_> = people
        .iter()
        .map(|person| {
            let mut client = server.client();
            let opt_out = WithdrawRequest {
                idempotency_key: key.clone(),
                ..server.opt_out(person, everything())
            };
            tokio::spawn(async move { client.withdraw(opt_out).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let denied = deny(&[Reason::Withdrawn, Reason::NoConsent]);
    for person in &people {
        assert_eq!(server.verdict(person, "offers").await, denied);
    }
}

/// Of grants, too, one wins; the others are told so and stored nothing.
pub async fn of_16_grants_at_once_with_one_key_and_16_people_one_is_stored(on: Backend) {
    let server = TestServer::start(on).await;
    let key = fresh_key();
    let calls: Vec<_> = (0..16)
        .map(|number| {
            let mut client = server.client();
            let grant = RecordConsentRequest {
                idempotency_key: key.clone(),
                ..server.grant(&person(number), &["offers"])
            };
            tokio::spawn(async move { client.record_consent(grant).await })
        })
        .collect();
    let mut stored = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => stored += 1,
            Err(status) => is_a_used_key(Err::<(), _>(status)),
        }
    }
    assert_eq!(stored, 1);
    let mut events = 0;
    for number in 0..16 {
        events += server.events(&person(number)).await.len();
    }
    assert_eq!(events, 1);
}
