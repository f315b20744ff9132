//! The main road: consent is given, withdrawn and given again; and which of two acts counts.

use std::time::Duration;

use consentgate::grpc::proto::*;

use super::acts::*;
use crate::harness::{Backend, TestServer};

const MINUTE: Duration = Duration::from_mins(1);

pub async fn a_grant_allows_a_withdrawal_denies_and_a_later_grant_allows_again(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);

    let given = server.gives(&ann, &["offers"]).await;
    let [record] = given.records.as_slice() else {
        panic!("one record: {given:?}");
    };
    assert_eq!(
        (record.purpose.as_str(), record.state(), record.effect()),
        ("offers", ConsentState::Given, Effect::Applied)
    );
    let allowed = server.check(&ann, "offers").await;
    assert_eq!(verdict_of(&allowed), allow(Reason::ConsentGiven));
    assert_eq!(allowed.consent_event_id, record.event_id);

    server.advance(MINUTE);
    let withdrawn = server.withdraws(&ann, of_purposes(&["offers"])).await;
    assert_eq!(time(withdrawn.effective_at), server.now());
    assert_eq!(withdrawn.instances_confirmed, 1);
    assert!(withdrawn.waited.is_some());
    let denied = server.check(&ann, "offers").await;
    assert_eq!(verdict_of(&denied), deny(&[Reason::Withdrawn]));
    assert_eq!(denied.consent_event_id, withdrawn.event_id);

    server.advance(MINUTE);
    let again = server.gives(&ann, &["offers"]).await;
    assert_eq!(again.records[0].effect(), Effect::Applied);
    let allowed = server.check(&ann, "offers").await;
    assert_eq!(verdict_of(&allowed), allow(Reason::ConsentGiven));
    assert_eq!(allowed.consent_event_id, again.records[0].event_id);
}

/// The same on the clocks that the binary has, with the times that a caller takes from its own.
pub async fn the_main_road_holds_on_the_systems_clock(on: Backend) {
    let server = TestServer::with_system_clock(on).await;
    let ann = person(1);
    server.gives(&ann, &["offers"]).await;
    assert_eq!(
        server.verdict(&ann, "offers").await,
        allow(Reason::ConsentGiven)
    );
    server.withdraws(&ann, everything()).await;
    assert_eq!(
        server.verdict(&ann, "offers").await,
        deny(&[Reason::Withdrawn])
    );
    server.gives(&ann, &["offers"]).await;
    assert_eq!(
        server.verdict(&ann, "offers").await,
        allow(Reason::ConsentGiven)
    );
}

pub async fn a_person_never_seen_is_denied_and_has_neither_states_nor_history(on: Backend) {
    let server = TestServer::start(on).await;
    let nobody = person(1);
    let answer = server.check(&nobody, "offers").await;
    assert_eq!(verdict_of(&answer), deny(&[Reason::NoConsent]));
    assert_eq!(answer.consent_event_id, "");
    assert_eq!(server.states(&nobody).await, []);
    assert_eq!(server.events(&nobody).await, []);
}

pub async fn a_withdrawal_of_somebody_never_seen_stands_until_a_later_act(on: Backend) {
    let mut server = TestServer::start(on).await;
    let bob = person(2);
    server.withdraws(&bob, of_purposes(&["offers"])).await;
    let denied = deny(&[Reason::Withdrawn, Reason::NoConsent]);
    assert_eq!(server.verdict(&bob, "offers").await, denied);
    assert_eq!(server.state(&bob).await, ConsentState::Withdrawn);

    // What was given before it, and arrives only now, is kept and changes nothing.
    let earlier = RecordConsentRequest {
        event_time: Some(wire(before(server.now(), MINUTE))),
        ..server.grant(&bob, &["offers"])
    };
    let late = server.try_record(earlier).await.unwrap();
    assert_eq!(late.records[0].effect(), Effect::Superseded);
    assert_eq!(late.records[0].state(), ConsentState::Withdrawn);
    let denied = deny(&[Reason::Withdrawn]);
    assert_eq!(server.verdict(&bob, "offers").await, denied);
    assert_eq!(server.events(&bob).await.len(), 2);
    server.restart().await;
    assert_eq!(server.verdict(&bob, "offers").await, denied);

    server.advance(MINUTE);
    server.gives(&bob, &["offers"]).await;
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&bob, "offers").await, allowed);
}

/// It arrived late. What the person agreed to afterwards stands.
pub async fn a_withdrawal_older_than_the_grant_does_not_undo_it(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["offers"]).await;
    let opt_out = WithdrawRequest {
        event_time: Some(wire(before(server.now(), MINUTE))),
        ..server.opt_out(&ann, everything())
    };
    server.try_withdraw(opt_out).await.unwrap();
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&ann, "offers").await, allowed);
    // It covers what was not agreed to.
    let denied = deny(&[Reason::Withdrawn, Reason::NoConsent]);
    assert_eq!(server.verdict(&ann, "news").await, denied);
}

pub async fn of_a_grant_and_a_withdrawal_at_one_instant_the_withdrawal_counts(on: Backend) {
    let server = TestServer::start(on).await;
    let (ann, bob) = (person(1), person(2));
    server.gives(&ann, &["offers"]).await;
    server.withdraws(&ann, of_purposes(&["offers"])).await;
    server.withdraws(&bob, of_purposes(&["offers"])).await;
    let second = server.gives(&bob, &["offers"]).await;
    assert_eq!(second.records[0].effect(), Effect::Superseded);
    for person in [ann, bob] {
        let denied = deny(&[Reason::Withdrawn]);
        assert_eq!(server.verdict(&person, "offers").await, denied);
    }
}

pub async fn a_withdrawal_known_to_the_second_counts_to_its_end(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.advance(MINUTE);
    let whole = before(server.now(), Duration::from_millis(30_250));
    assert!(whole.is_whole_second());
    let opt_out = WithdrawRequest {
        event_time: Some(wire(whole)),
        ..server.opt_out(&ann, everything())
    };
    let withdrawn = server.try_withdraw(opt_out).await.unwrap();
    assert_eq!(time(withdrawn.effective_at), whole.end_of_second());
    for (after, effect) in [(999, Effect::Superseded), (1_000, Effect::Applied)] {
        let grant = RecordConsentRequest {
            event_time: Some(wire(whole.plus(Duration::from_millis(after)))),
            ..server.grant(&ann, &["offers"])
        };
        let given = server.try_record(grant).await.unwrap();
        assert_eq!(given.records[0].effect(), effect, "{after} ms later");
    }
}

/// A withdrawal without a time has the server's; a grant has its caller's. Two clocks differ.
pub async fn against_a_withdrawal_by_another_clock_a_grant_must_be_clearly_later(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let opt_out = WithdrawRequest {
        event_time: None,
        ..server.opt_out(&ann, everything())
    };
    server.try_withdraw(opt_out).await.unwrap();
    server.advance(5 * MINUTE);
    let close = server.gives(&ann, &["offers"]).await;
    assert_eq!(close.records[0].effect(), Effect::Superseded);
    let denied = deny(&[Reason::Withdrawn]);
    assert_eq!(server.verdict(&ann, "offers").await, denied);

    server.advance(Duration::from_micros(1));
    let later = server.gives(&ann, &["offers"]).await;
    assert_eq!(later.records[0].effect(), Effect::Applied);
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&ann, "offers").await, allowed);
}

pub async fn a_withdrawal_in_the_future_counts_from_now(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["offers"]).await;
    let opt_out = WithdrawRequest {
        event_time: Some(wire(server.now().plus(Duration::from_hours(24 * 365)))),
        ..server.opt_out(&ann, everything())
    };
    let withdrawn = server.try_withdraw(opt_out).await.unwrap();
    assert_eq!(time(withdrawn.effective_at), server.now());
    let denied = deny(&[Reason::Withdrawn]);
    assert_eq!(server.verdict(&ann, "offers").await, denied);
}

pub async fn a_grant_a_little_in_the_future_counts_from_now(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let ahead = RecordConsentRequest {
        event_time: Some(wire(server.now().plus(5 * MINUTE))),
        ..server.grant(&ann, &["offers"])
    };
    server.try_record(ahead).await.unwrap();
    let [event] = server.events(&ann).await.try_into().unwrap();
    assert_eq!(time(event.effective_at), server.now());
    // So a withdrawal a moment later is not overtaken by it.
    server.advance(Duration::from_secs(1));
    server.withdraws(&ann, everything()).await;
    let denied = deny(&[Reason::Withdrawn]);
    assert_eq!(server.verdict(&ann, "offers").await, denied);
}

pub async fn an_import_never_undoes_an_opt_out(on: Backend) {
    let server = TestServer::start(on).await;
    let (ann, bob) = (person(1), person(2));
    let import = |person: &Recipient| RecordConsentRequest {
        indication_method: IndicationMethod::Import.into(),
        import_batch_id: "crm-2026".into(),
        ..server.grant(person, &["offers"])
    };
    server.try_record(import(&ann)).await.unwrap();
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&ann, "offers").await, allowed);

    server.withdraws(&ann, everything()).await;
    server.withdraws(&bob, everything()).await;
    server.advance(Duration::from_hours(24));
    for person in [ann, bob] {
        let imported = server.try_record(import(&person)).await.unwrap();
        assert_eq!(imported.records[0].effect(), Effect::Superseded);
        let denied = deny(&[Reason::Withdrawn]);
        assert_eq!(server.verdict(&person, "offers").await, denied);
    }
}

pub async fn implied_consent_allows_until_its_term_ends_and_never_after_an_opt_out(on: Backend) {
    let server = TestServer::start(on).await;
    let (ann, bob) = (phone("+14165550123"), phone("+14165550124"));
    let days = |count: u64| Duration::from_hours(24 * count);
    let bought = before(server.now(), days(700));
    let implied = |person: &Recipient| RecordConsentRequest {
        consent_type: ConsentType::Implied.into(),
        implied_basis: ImpliedBasis::Purchase.into(),
        basis_time: Some(wire(bought)),
        notice: None,
        ..server.grant(person, &["deals"])
    };
    let given = server.try_record(implied(&ann)).await.unwrap();
    assert_eq!(time(given.records[0].expires_at), bought.plus(days(730)));
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&ann, "deals").await, allowed);

    server.withdraws(&bob, everything()).await;
    server.advance(MINUTE);
    let lost = server.try_record(implied(&bob)).await.unwrap();
    assert_eq!(lost.records[0].effect(), Effect::Superseded);
    let denied = deny(&[Reason::Withdrawn]);
    assert_eq!(server.verdict(&bob, "deals").await, denied);

    server.advance(days(30));
    let expired = deny(&[Reason::Expired]);
    assert_eq!(server.verdict(&ann, "deals").await, expired);
}

pub async fn a_refusal_denies_until_a_later_grant(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let no = RecordConsentRequest {
        event_state: ConsentState::Refused.into(),
        consent_type: 0,
        ..server.grant(&ann, &["offers"])
    };
    let refused = server.try_record(no).await.unwrap();
    assert_eq!(refused.records[0].state(), ConsentState::Refused);
    assert_eq!(server.state(&ann).await, ConsentState::Refused);
    let denied = deny(&[Reason::Refused, Reason::NoConsent]);
    assert_eq!(server.verdict(&ann, "offers").await, denied);
    // It says nothing of other purposes.
    assert_eq!(
        server.verdict(&ann, "news").await,
        deny(&[Reason::NoConsent])
    );

    server.advance(MINUTE);
    server.gives(&ann, &["offers"]).await;
    assert_eq!(server.state(&ann).await, ConsentState::Given);
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&ann, "offers").await, allowed);
}

pub async fn having_been_asked_is_no_consent(on: Backend) {
    let server = TestServer::start(on).await;
    for (number, state) in [
        (1, ConsentState::Requested),
        (2, ConsentState::RequestDeferred),
    ] {
        let asked = RecordConsentRequest {
            event_state: state.into(),
            indication_method: 0,
            consent_type: 0,
            notice: None,
            ..server.grant(&person(number), &["offers"])
        };
        let recorded = server.try_record(asked).await.unwrap();
        assert_eq!(recorded.records[0].state(), state);
        assert_eq!(server.state(&person(number)).await, state);
        let denied = deny(&[Reason::NoConsent]);
        assert_eq!(server.verdict(&person(number), "offers").await, denied);
    }
}

pub async fn of_16_grants_at_once_every_one_counts(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let calls: Vec<_> = (0..16)
        .map(|number| {
            let mut client = server.client();
            let grant = RecordConsentRequest {
                actor: format!("form {number}"),
                ..server.grant(&ann, &["offers"])
            };
            tokio::spawn(async move { client.record_consent(grant).await.unwrap().into_inner() })
        })
        .collect();
    let mut answered = Vec::new();
    for call in calls {
        answered.push(call.await.unwrap().records[0].event_id.clone());
    }
    let events = server.events(&ann).await;
    let mut stored: Vec<_> = events.iter().map(|event| event.event_id.clone()).collect();
    let mut actors: Vec<_> = events.iter().map(|event| event.actor.clone()).collect();
    answered.sort();
    stored.sort();
    assert_eq!(answered, stored);
    actors.sort();
    actors.dedup();
    assert_eq!(actors.len(), 16, "{actors:?}");
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&ann, "offers").await, allowed);
}

pub async fn what_is_agreed_with_one_business_says_nothing_to_another(on: Backend) {
    let server = TestServer::start(on).await;
    let (ann, bob) = (person(1), person(2));
    let of_rival = |request: CheckConsentRequest| CheckConsentRequest {
        business_id: "rival".into(),
        ..request
    };
    server.gives(&ann, &["offers"]).await;
    server.withdraws(&bob, everything()).await;
    for person in [ann, bob] {
        let answer = server.try_check(of_rival(question(&person, "offers")));
        let denied = deny(&[Reason::NoConsent]);
        assert_eq!(verdict_of(&answer.await.unwrap()), denied);
    }
}
