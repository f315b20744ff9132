//! What an opt-out covers: purposes, all marketing, everything; one sender or all; and by whom it was made.

use std::time::Duration;

use consentgate::grpc::proto::*;

use super::acts::*;
use crate::harness::{ACME, Backend, TestServer};

const MINUTE: Duration = Duration::from_mins(1);

/// What each purpose of the catalogue answers after an opt-out of this scope by somebody who had agreed to all.
pub async fn an_opt_out_covers_what_its_scope_says_and_nothing_else(on: Backend) {
    use Reason::{ConsentGiven, ServiceWindowClosed, Withdrawn};
    let server = TestServer::start(on).await;
    let purposes = ["offers", "news", "orders", "receipts", "alarms", "codes"];
    let table = [
        (of_purposes(&["offers"]), [1, 0, 0, 0, 0, 0]),
        (of_purposes(&["orders", "news"]), [0, 1, 1, 0, 0, 0]),
        (of_purposes(&["codes"]), [0, 0, 0, 0, 0, 1]),
        (all_marketing(), [1, 1, 0, 0, 0, 0]),
        // A passcode that the person asks for stays allowed.
        (everything(), [1, 1, 1, 1, 1, 0]),
    ];
    for (number, (scope, denied)) in (0..).zip(table) {
        let person = person(number);
        server.gives(&person, &purposes).await;
        server.withdraws(&person, scope.clone()).await;
        for (purpose, denied) in purposes.iter().zip(denied) {
            let expected = if denied == 1 {
                deny(&[Withdrawn])
            } else {
                allow(ConsentGiven)
            };
            let verdict = server.verdict(&person, purpose).await;
            assert_eq!(verdict, expected, "{purpose} after {scope:?}");
        }
    }
    // SERVICE needs a window that the person opened, and there is none.
    let ann = person(1);
    let closed = deny(&[Reason::NoConsent, ServiceWindowClosed]);
    assert_eq!(
        server.verdict_from("1001", &ann, "support").await,
        closed,
        "support"
    );
}

pub async fn a_wide_opt_out_covers_what_was_never_named_and_what_comes_later(on: Backend) {
    let server = TestServer::start(on).await;
    let (ann, bob) = (person(1), person(2));
    server.withdraws(&ann, all_marketing()).await;
    server.withdraws(&bob, everything()).await;
    create_purpose(&server, "later", MessageClass::Marketing).await;
    create_purpose(&server, "parcels", MessageClass::Utility).await;
    let denied = deny(&[Reason::Withdrawn, Reason::NoConsent]);
    assert_eq!(server.verdict(&ann, "later").await, denied);
    assert_eq!(server.verdict(&bob, "later").await, denied);
    assert_eq!(server.verdict(&bob, "parcels").await, denied);
    let never_given = deny(&[Reason::NoConsent]);
    assert_eq!(server.verdict(&ann, "parcels").await, never_given);
}

pub async fn an_opt_out_of_a_purpose_that_is_not_in_the_catalogue_holds_once_it_is(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.withdraws(&ann, of_purposes(&["later"])).await;
    create_purpose(&server, "later", MessageClass::Marketing).await;
    let denied = deny(&[Reason::Withdrawn, Reason::NoConsent]);
    assert_eq!(server.verdict(&ann, "later").await, denied);
    assert_eq!(server.state(&ann).await, ConsentState::Withdrawn);
}

async fn create_purpose(server: &TestServer, key: &str, class: MessageClass) {
    let purpose = Purpose {
        key: key.into(),
        title: key.into(),
        message_class: class.into(),
        ..Purpose::default()
    };
    let request = CreatePurposeRequest {
        business_id: ACME.into(),
        purpose: Some(purpose),
    };
    server.catalog().create_purpose(request).await.unwrap();
}

pub async fn of_several_scopes_the_widest_counts_and_none_is_everything(on: Backend) {
    let server = TestServer::start(on).await;
    let offers = of_purposes(&["offers"]);
    let both = WithdrawalScope {
        all_marketing: true,
        ..offers.clone()
    };
    let all = WithdrawalScope {
        everything: true,
        ..both.clone()
    };
    // Keys that cannot be read, or too many: nobody knows what was meant.
    let unreadable = of_purposes(&["offers", "No Slug"]);
    let many: Vec<String> = (0..33).map(|number| format!("p{number}")).collect();
    let many = WithdrawalScope {
        purposes: many,
        ..WithdrawalScope::default()
    };
    for (number, scope, denied) in [
        (1, Some(offers), [true, false, false]),
        (2, Some(both), [true, true, false]),
        (3, Some(all), [true, true, true]),
        (4, Some(WithdrawalScope::default()), [true, true, true]),
        (5, None, [true, true, true]),
        (6, Some(unreadable), [true, true, true]),
        (7, Some(many), [true, true, true]),
    ] {
        let person = person(number);
        let purposes = ["offers", "news", "orders"];
        server.gives(&person, &purposes).await;
        let opt_out = WithdrawRequest {
            scope: scope.clone(),
            ..server.opt_out(&person, everything())
        };
        server.try_withdraw(opt_out).await.unwrap();
        for (purpose, denied) in purposes.iter().zip(denied) {
            let (decision, _) = server.verdict(&person, purpose).await;
            assert_eq!(
                decision == Decision::Deny,
                denied,
                "{purpose} after {scope:?}"
            );
        }
    }
}

pub async fn an_opt_out_from_one_sender_leaves_the_others(on: Backend) {
    let server = TestServer::start(on).await;
    let scopes = [of_purposes(&["offers"]), all_marketing(), everything()];
    // A sender may be named by its alias, in the opt-out and in the question.
    for (named, scopes) in [("1001", &scopes), ("alias-of-1001", &scopes)] {
        for (number, scope) in (0..).zip(scopes) {
            let person = person(10 * u32::try_from(named.len()).unwrap() + number);
            server.gives(&person, &["offers"]).await;
            server
                .withdraws(&person, at_sender(scope.clone(), named))
                .await;
            let (denied, allowed) = (deny(&[Reason::Withdrawn]), allow(Reason::ConsentGiven));
            for sender in ["1001", "alias-of-1001"] {
                let verdict = server.verdict_from(sender, &person, "offers").await;
                assert_eq!(verdict, denied, "{sender} after {scope:?} at {named}");
            }
            let other = server.verdict_from("1002", &person, "offers").await;
            assert_eq!(other, allowed, "{scope:?}");
            // Who does not say from where might send from there.
            assert_eq!(server.verdict(&person, "offers").await, denied);
        }
    }
}

pub async fn an_opt_out_from_a_sender_that_nobody_knows_holds_for_all(on: Backend) {
    let server = TestServer::start(on).await;
    let (ann, bob) = (person(1), person(2));
    for (person, sender) in [(&ann, "2001"), (&bob, "no sender can be called this")] {
        server.gives(person, &["offers"]).await;
        server
            .withdraws(person, at_sender(everything(), sender))
            .await;
    }
    // It may become the name of any sender, also as an alias.
    let create = CreateSenderRequest {
        business_id: ACME.into(),
        sender: Some(Sender {
            sender_id: "2002".into(),
            aliases: vec!["2001".into()],
            ..Sender::default()
        }),
    };
    server.catalog().create_sender(create).await.unwrap();
    let denied = deny(&[Reason::Withdrawn]);
    for person in [&ann, &bob] {
        assert_eq!(server.verdict(person, "offers").await, denied);
        for sender in ["2001", "2002", "1001"] {
            let verdict = server.verdict_from(sender, person, "offers").await;
            assert_eq!(verdict, denied, "{sender}");
        }
    }
}

pub async fn a_grant_to_one_sender_counts_for_that_one_alone(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let narrow = RecordConsentRequest {
        sender_id: "alias-of-1001".into(),
        ..server.grant(&ann, &["offers"])
    };
    let given = server.try_record(narrow).await.unwrap();
    assert_eq!(given.records[0].sender_id, "1001");
    let (allowed, never) = (allow(Reason::ConsentGiven), deny(&[Reason::NoConsent]));
    assert_eq!(server.verdict_from("1001", &ann, "offers").await, allowed);
    assert_eq!(server.verdict_from("1002", &ann, "offers").await, never);
    assert_eq!(server.verdict(&ann, "offers").await, never);

    server.advance(MINUTE);
    server.withdraws(&ann, everything()).await;
    let denied = deny(&[Reason::Withdrawn]);
    assert_eq!(server.verdict_from("1001", &ann, "offers").await, denied);
}

pub async fn a_later_act_reopens_its_own_scope_alone(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["offers", "news", "orders"]).await;
    server.withdraws(&ann, everything()).await;
    server.advance(MINUTE);
    let narrow = RecordConsentRequest {
        sender_id: "1001".into(),
        ..server.grant(&ann, &["offers"])
    };
    server.try_record(narrow).await.unwrap();
    let (allowed, denied) = (allow(Reason::ConsentGiven), deny(&[Reason::Withdrawn]));
    assert_eq!(server.verdict_from("1001", &ann, "offers").await, allowed);
    assert_eq!(server.verdict_from("1002", &ann, "offers").await, denied);
    assert_eq!(server.verdict_from("1001", &ann, "news").await, denied);
    assert_eq!(server.verdict(&ann, "orders").await, denied);
}

pub async fn who_ended_it_makes_the_state(on: Backend) {
    use WithdrawalMethod as M;
    let server = TestServer::start(on).await;
    let ended = [
        (M::Unspecified, Reason::Withdrawn, ConsentState::Withdrawn),
        (M::Keyword, Reason::Withdrawn, ConsentState::Withdrawn),
        (M::Button, Reason::Withdrawn, ConsentState::Withdrawn),
        (
            M::PreferenceCenter,
            Reason::Withdrawn,
            ConsentState::Withdrawn,
        ),
        (M::Email, Reason::Withdrawn, ConsentState::Withdrawn),
        (M::Phone, Reason::Withdrawn, ConsentState::Withdrawn),
        (M::InPerson, Reason::Withdrawn, ConsentState::Withdrawn),
        (M::Import, Reason::Withdrawn, ConsentState::Withdrawn),
        (M::Authority, Reason::Invalidated, ConsentState::Invalidated),
        (M::Operator, Reason::Revoked, ConsentState::Revoked),
    ];
    for (number, (method, reason, state)) in (0..).zip(ended) {
        let person = person(number);
        server.gives(&person, &["offers"]).await;
        let opt_out = WithdrawRequest {
            withdrawal_method: method.into(),
            ..server.opt_out(&person, of_purposes(&["offers"]))
        };
        server.try_withdraw(opt_out).await.unwrap();
        assert_eq!(
            server.verdict(&person, "offers").await,
            deny(&[reason]),
            "{method:?}"
        );
        assert_eq!(server.state(&person).await, state, "{method:?}");
        let event = server.events(&person).await.pop().unwrap();
        assert_eq!(event.kind(), EventKind::Withdrawal);
        assert_eq!(
            (event.event_state(), event.withdrawal_method()),
            (state, method)
        );
    }
}

/// WhatsApp's own stop bars sending, whatever the person agrees to afterwards: only WhatsApp's resume lifts it.
pub async fn what_the_platform_stopped_no_grant_reopens(on: Backend) {
    let server = TestServer::start(on).await;
    for (number, method) in [
        (1, WithdrawalMethod::PlatformPreference),
        (2, WithdrawalMethod::DeliveryError),
    ] {
        let person = person(number);
        server.gives(&person, &["offers", "orders"]).await;
        let stop = WithdrawRequest {
            withdrawal_method: method.into(),
            ..server.opt_out(&person, at_sender(all_marketing(), "1001"))
        };
        let stopped = server.try_withdraw(stop).await.unwrap();
        server.advance(MINUTE);
        server.gives(&person, &["offers"]).await;
        let denied = deny(&[Reason::PlatformStopped]);
        let allowed = allow(Reason::ConsentGiven);
        for (sender, purpose, expected) in [
            ("1001", "offers", &denied),
            // The setting of the business: a stop at one of its numbers holds for all.
            ("1002", "offers", &denied),
            ("1001", "orders", &allowed),
        ] {
            let verdict = server.verdict_from(sender, &person, purpose).await;
            assert_eq!(verdict, *expected, "{sender} {purpose}");
        }

        let standing = server.try_get(standing_of(&person)).await.unwrap();
        let [suppression] = standing.suppressions.as_slice() else {
            panic!("one suppression: {standing:?}");
        };
        assert_eq!(suppression.basis(), SuppressionBasis::PlatformStop);
        assert_eq!(suppression.event_id, stopped.event_id);
        assert_eq!(
            suppression.scope,
            Some(at_sender(all_marketing(), "1001")),
            "{method:?}"
        );
        assert!(suppression.made_by_subject);
        let event = &server.events(&person).await[1];
        assert_eq!(event.kind(), EventKind::SuppressionAdded);
        assert_eq!(event.withdrawal_method(), method);
    }
}
