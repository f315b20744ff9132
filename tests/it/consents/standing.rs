//! How a person stands, purpose by purpose: every state, and since when and on what it rests.

use std::time::Duration;

use consentgate::grpc::proto::*;

use super::acts::*;
use crate::harness::{Backend, TestServer};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

pub async fn each_state_is_told(on: Backend) {
    use ConsentState as S;
    let server = TestServer::start(on).await;
    let german = phone("+4915112345678");
    let record = |person: &Recipient, state: S| RecordConsentRequest {
        event_state: state.into(),
        ..server.grant(person, &["summer"])
    };
    let end = |person: &Recipient, method: WithdrawalMethod| WithdrawRequest {
        withdrawal_method: method.into(),
        ..server.opt_out(person, of_purposes(&["summer"]))
    };
    for (number, state) in [
        (1, S::Requested),
        (2, S::RequestDeferred),
        (3, S::Refused),
        (4, S::Given),
        (5, S::Given),
    ] {
        server
            .try_record(record(&person(number), state))
            .await
            .unwrap();
    }
    server.try_record(record(&german, S::Given)).await.unwrap();
    for (number, method) in [
        (6, WithdrawalMethod::Email),
        (7, WithdrawalMethod::Operator),
        (8, WithdrawalMethod::Authority),
    ] {
        let opt_out = end(&person(number), method);
        server.try_withdraw(opt_out).await.unwrap();
    }
    server.advance(20 * DAY);
    server.gives(&person(5), &["summer"]).await;
    let states = [
        (person(1), S::Requested),
        (person(2), S::RequestDeferred),
        (person(3), S::Refused),
        (person(4), S::Given),
        (person(5), S::RenewedConsentGiven),
        (person(6), S::Withdrawn),
        (person(7), S::Revoked),
        (person(8), S::Invalidated),
    ];
    for (person, state) in states {
        assert_eq!(server.state(&person).await, state);
    }
    // Nothing is written for it: it is so because time went by.
    server.advance(10 * DAY);
    assert_eq!(server.state(&person(4)).await, S::Expired);
    assert_eq!(server.state(&person(5)).await, S::RenewedConsentGiven);
    assert_eq!(server.events(&person(4)).await.len(), 1);
    // Asked for by name, also what nothing is known of has a state.
    let unknown = GetConsentRequest {
        purpose: "offers".into(),
        ..standing_of(&person(4))
    };
    let unknown = server.try_get(unknown).await.unwrap();
    assert_eq!(unknown.records[0].state(), S::Unknown);
}

pub async fn a_pending_request_is_told_as_pending(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["club"]).await;
    assert_eq!(server.state(&ann).await, ConsentState::PendingConfirmation);
    let standing = server.try_get(standing_of(&ann)).await.unwrap();
    assert_eq!(standing.records[0].confirmed_at, None);
    assert_eq!(standing.records[0].expires_at, None);
}

pub async fn a_record_says_what_the_consent_rests_on(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = phone("+5511987654321");
    let given = server.gives(&ann, &["summer"]).await;
    let given_at = Some(wire(server.now()));
    server.advance(MINUTE);
    let standing = server.try_get(standing_of(&ann)).await.unwrap();
    let [record] = standing.records.as_slice() else {
        panic!("one record: {standing:?}");
    };
    assert_eq!(record.event_id, given.records[0].event_id);
    assert_eq!(record.effect(), Effect::Unspecified);
    assert_eq!(record.consent_type(), ConsentType::ExplicitlyExpressed);
    assert_eq!((record.given_at, record.state_since), (given_at, given_at));
    let expires_at = Some(wire(before(server.now(), MINUTE).plus(30 * DAY)));
    assert_eq!(record.expires_at, expires_at);
    assert_eq!(given.records[0].expires_at, expires_at);
    assert_eq!(record.notice, Some(signup_notice()));
    assert_eq!(record.jurisdiction, "BR");
    assert_eq!(record.spelling, "with the ninth digit");

    let withdrawn = server.withdraws(&ann, everything()).await;
    let standing = server.try_get(standing_of(&ann)).await.unwrap();
    let record = standing
        .records
        .iter()
        .find(|record| record.purpose == "summer");
    let record = record.unwrap();
    assert_eq!(record.state(), ConsentState::Withdrawn);
    assert_eq!(record.event_id, withdrawn.event_id);
    assert_eq!(record.state_since, withdrawn.effective_at);
    assert_eq!(record.expires_at, None);
}

/// By purpose, then sender; narrowed as asked.
pub async fn states_are_listed_by_purpose_and_sender(on: Backend) {
    use ConsentState::{Given, Withdrawn};
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["offers", "news"]).await;
    for sender in ["1002", "1001"] {
        let narrow = RecordConsentRequest {
            sender_id: sender.into(),
            ..server.grant(&ann, &["orders"])
        };
        server.try_record(narrow).await.unwrap();
    }
    server.advance(MINUTE);
    server.withdraws(&ann, of_purposes(&["news"])).await;
    let listed = |rows: &[(&str, &str, ConsentState)]| -> Vec<(String, String, ConsentState)> {
        let owned = rows
            .iter()
            .map(|(p, s, state)| ((*p).into(), (*s).into(), *state));
        owned.collect()
    };
    assert_eq!(
        server.states(&ann).await,
        listed(&[
            ("news", "", Withdrawn),
            ("offers", "", Given),
            ("orders", "1001", Given),
            ("orders", "1002", Given),
        ])
    );
    let ask = async |purpose: &str, sender: &str| {
        let request = GetConsentRequest {
            purpose: purpose.into(),
            sender_id: sender.into(),
            ..standing_of(&ann)
        };
        let answer = server.try_get(request).await.unwrap();
        let records = answer.records.into_iter();
        records
            .map(|r| (r.purpose.clone(), r.sender_id.clone(), r.state()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ask("orders", "").await,
        listed(&[
            ("orders", "", ConsentState::Unknown),
            ("orders", "1001", Given),
            ("orders", "1002", Given),
        ])
    );
    assert_eq!(
        ask("", "alias-of-1001").await,
        listed(&[
            ("news", "1001", Withdrawn),
            ("offers", "1001", Given),
            ("orders", "1001", Given),
        ])
    );
}

pub async fn a_state_is_told_as_of_an_instant_but_restrictions_count_whatever_it_says(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["summer"]).await;
    let given = server.now();
    let at = async |at| {
        let request = GetConsentRequest {
            at: Some(wire(at)),
            ..standing_of(&ann)
        };
        let answer = server.try_get(request).await.unwrap();
        answer.records[0].state()
    };
    assert_eq!(at(given.plus(29 * DAY)).await, ConsentState::Given);
    assert_eq!(at(given.plus(30 * DAY)).await, ConsentState::Expired);
    server.advance(DAY);
    server.withdraws(&ann, of_purposes(&["summer"])).await;
    assert_eq!(at(given).await, ConsentState::Withdrawn);
}

pub async fn what_is_not_in_the_catalogue_is_no_question(on: Backend) {
    let server = TestServer::start(on).await;
    let table: [(&str, &str, Change<GetConsentRequest>); 3] = [
        ("BUSINESS_UNKNOWN", "business_id", |r| {
            r.business_id = "nobody".into();
        }),
        ("PURPOSE_UNKNOWN", "purpose", |r| r.purpose = "zumba".into()),
        ("SENDER_UNKNOWN", "sender_id", |r| {
            r.sender_id = "4711".into();
        }),
    ];
    for (reason, field, change) in table {
        let mut request = standing_of(&person(1));
        change(&mut request);
        refused(server.try_get(request).await, reason, &[field]);
    }
}
