//! Whose an address is: a phone number and a user id that came together, and people who move to another one.

use std::time::Duration;

use consentgate::grpc::proto::*;
use tokio::task::JoinSet;

use super::acts::*;
use crate::harness::{Backend, TestServer};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// A webhook carries both addresses of a person.
pub async fn links(
    server: &TestServer,
    one: &Recipient,
    other: &Recipient,
) -> ReportInboundResponse {
    let message = ReportInboundRequest {
        also_known_as: Some(other.clone()),
        ..server.message(one, "hello")
    };
    server.try_inbound(message).await.unwrap()
}

async fn moves(server: &TestServer, from: &Recipient, to: &Recipient) -> ReportInboundResponse {
    let message = ReportInboundRequest {
        kind: InboundKind::IdentityChanged.into(),
        previous: Some(from.clone()),
        ..server.message(to, "")
    };
    server.try_inbound(message).await.unwrap()
}

pub fn bsuid(number: u32) -> Recipient {
    user_id(&format!("US.1349120865530274{number:04}"))
}

pub async fn an_opt_out_through_one_address_holds_for_the_linked_one(on: Backend) {
    let server = TestServer::start(on).await;
    for (number, (stops_at_phone, before_link)) in
        (1..).zip([(true, true), (true, false), (false, true), (false, false)])
    {
        let (phone, user) = (person(number), bsuid(number));
        server.gives(&phone, &["offers"]).await;
        server.gives(&user, &["offers"]).await;
        server.advance(MINUTE);
        let (stops, other) = match stops_at_phone {
            true => (&phone, &user),
            false => (&user, &phone),
        };
        if before_link {
            server.withdraws(stops, everything()).await;
            let linked = links(&server, &user, &phone).await;
            assert_eq!(linked.action(), InboundAction::Linked);
        } else {
            links(&server, &phone, &user).await;
            server.advance(MINUTE);
            let stopped = server.withdraws(stops, everything()).await;
            let events = server.events(other).await;
            let copy = events.last().unwrap();
            assert_eq!(copy.event_id, stopped.event_id);
            assert!(copy.copied_from_link);
        }
        for person in [&phone, &user] {
            let verdict = server.verdict(person, "offers").await;
            assert_eq!(
                verdict,
                deny(&[Reason::Withdrawn]),
                "{stops_at_phone} {before_link}"
            );
        }
        // A new act at either address is the person's.
        server.advance(HOUR);
        server.gives(&phone, &["offers"]).await;
        for person in [&phone, &user] {
            let verdict = server.verdict(person, "offers").await;
            assert_eq!(verdict, allow(Reason::ConsentGiven));
        }
    }
}

pub async fn a_link_is_made_once_and_lets_a_grant_count_at_the_twin(on: Backend) {
    let server = TestServer::start(on).await;
    let (phone, user) = (person(1), bsuid(1));
    server.gives(&phone, &["offers"]).await;
    assert_eq!(
        server.verdict(&user, "offers").await,
        deny(&[Reason::NoConsent])
    );
    server.advance(MINUTE);
    links(&server, &phone, &user).await;
    assert_eq!(
        server.verdict(&user, "offers").await,
        allow(Reason::ConsentGiven)
    );
    let events = server.events(&user).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind(), EventKind::Linked);
    // What is said again is known.
    server.advance(MINUTE);
    assert_eq!(
        links(&server, &user, &phone).await.action(),
        InboundAction::None
    );
    assert_eq!(server.events(&user).await.len(), 1);
    // Two addresses of one kind are never one person's.
    assert_eq!(
        links(&server, &phone, &person(2)).await.action(),
        InboundAction::None
    );
    assert_eq!(
        server.verdict(&person(2), "offers").await,
        deny(&[Reason::NoConsent])
    );
}

pub async fn a_message_that_links_and_comes_twice_is_answered_twice_alike(on: Backend) {
    let server = TestServer::start(on).await;
    for (number, text) in [(1, "hello"), (2, "HELP")] {
        let message = ReportInboundRequest {
            also_known_as: Some(bsuid(number)),
            ..server.message(&person(number), text)
        };
        let first = server.try_inbound(message.clone()).await.unwrap();
        assert_eq!(first.action(), InboundAction::Linked, "{text}");
        server.advance(MINUTE);
        let again = server.try_inbound(message).await.unwrap();
        assert_eq!(
            (again.action(), &again.event_id),
            (InboundAction::Linked, &first.event_id)
        );
        assert_eq!(server.events(&person(number)).await.len(), 1);
    }
    // What a message asks for is never taken for done because its link was.
    let stop = ReportInboundRequest {
        also_known_as: Some(bsuid(3)),
        ..server.message(&person(3), "stop")
    };
    for _ in 0..2 {
        let heard = server.try_inbound(stop.clone()).await.unwrap();
        assert_eq!(heard.action(), InboundAction::Withdrew);
    }
    assert_eq!(server.events(&person(3)).await.len(), 2);
}

pub async fn a_number_that_comes_with_another_user_id_is_in_doubt_until_the_person_acts(
    on: Backend,
) {
    let server = TestServer::start(on).await;
    let (phone, first, second) = (person(1), bsuid(1), bsuid(2));
    server.gives(&phone, &["offers", "orders"]).await;
    server.advance(MINUTE);
    links(&server, &phone, &first).await;
    server.advance(24 * HOUR);
    links(&server, &phone, &second).await;
    for purpose in ["offers", "orders"] {
        let doubted = server.check(&phone, purpose).await;
        assert_eq!(doubted.decision(), Decision::Deny);
        assert_eq!(doubted.reasons().next(), Some(Reason::IdentityUnverified));
    }
    assert_eq!(server.verdict(&second, "offers").await.0, Decision::Deny);
    // Whoever wrote just now may be answered.
    let answer = CheckConsentRequest {
        message_class: MessageClass::Service.into(),
        sender_id: "1001".into(),
        ..question(&phone, "support")
    };
    let answer = server.try_check(answer).await.unwrap();
    assert_eq!(verdict_of(&answer), allow(Reason::ServiceWindowOpen));
    server.advance(HOUR);
    server.gives(&phone, &["offers"]).await;
    assert_eq!(
        server.verdict(&phone, "offers").await,
        allow(Reason::ConsentGiven)
    );
    let orders = server.check(&phone, "orders").await;
    assert_eq!(orders.reasons().next(), Some(Reason::IdentityUnverified));
}

pub async fn with_a_person_who_moves_go_the_opt_outs_and_no_grant(on: Backend) {
    let server = TestServer::start(on).await;
    let (old, new, user, new_user) = (person(1), person(2), bsuid(1), bsuid(2));
    server.gives(&old, &["offers", "orders"]).await;
    server.advance(MINUTE);
    links(&server, &old, &user).await;
    server.advance(MINUTE);
    server.withdraws(&old, of_purposes(&["offers"])).await;
    server.advance(MINUTE);
    let moved = moves(&server, &old, &new).await;
    assert_eq!(moved.action(), InboundAction::Linked);
    assert_eq!(server.verdict(&new, "offers").await.1[0], Reason::Withdrawn);
    assert_eq!(
        server.verdict(&new, "orders").await,
        deny(&[Reason::NoConsent])
    );
    // Whoever gets the old number is a stranger, and so is whoever is seen with it.
    assert_eq!(
        server.verdict(&old, "orders").await,
        deny(&[Reason::NoConsent])
    );
    server.advance(24 * HOUR);
    let stranger = bsuid(9);
    links(&server, &old, &stranger).await;
    assert_eq!(
        server.verdict(&stranger, "orders").await,
        deny(&[Reason::NoConsent])
    );
    server.gives(&old, &["orders"]).await;
    assert_eq!(
        server.verdict(&old, "orders").await,
        allow(Reason::ConsentGiven)
    );
    // The person's new user id comes with the new number, and takes the opt-out over.
    links(&server, &new, &new_user).await;
    assert_eq!(
        server.verdict(&new_user, "offers").await.1[0],
        Reason::Withdrawn
    );
    assert_eq!(server.verdict(&user, "orders").await.0, Decision::Deny);
}

pub async fn a_user_id_that_changes_leaves_the_number_without_doubt(on: Backend) {
    let server = TestServer::start(on).await;
    let (phone, old, new) = (person(1), bsuid(1), bsuid(2));
    server.gives(&phone, &["offers"]).await;
    server.advance(MINUTE);
    links(&server, &phone, &old).await;
    server.advance(MINUTE);
    moves(&server, &old, &new).await;
    server.advance(MINUTE);
    links(&server, &phone, &new).await;
    assert_eq!(
        server.verdict(&phone, "offers").await,
        allow(Reason::ConsentGiven)
    );
    assert_eq!(
        server.verdict(&new, "offers").await,
        allow(Reason::ConsentGiven)
    );
}

pub async fn an_opt_out_reaches_an_address_that_is_linked_through_another(on: Backend) {
    let server = TestServer::start(on).await;
    let (phone, user) = (person(1), bsuid(1));
    let parent = user_id("US.ENT.11815799212886844830");
    links(&server, &phone, &user).await;
    server.advance(MINUTE);
    server.withdraws(&parent, everything()).await;
    server.advance(MINUTE);
    links(&server, &phone, &parent).await;
    for person in [&phone, &user, &parent] {
        assert_eq!(
            server.state_of(person, "offers").await,
            ConsentState::Withdrawn
        );
    }
    let (phone, user) = (person(2), bsuid(2));
    let parent = user_id("US.ENT.11815799212886844831");
    links(&server, &phone, &user).await;
    links(&server, &phone, &parent).await;
    server.advance(MINUTE);
    server.withdraws(&parent, everything()).await;
    for person in [&phone, &user, &parent] {
        assert_eq!(
            server.state_of(person, "offers").await,
            ConsentState::Withdrawn
        );
    }
}

pub async fn opposite_acts_on_linked_addresses_at_once_are_all_kept(on: Backend) {
    let server = TestServer::start(on).await;
    let (phone, user) = (person(1), bsuid(1));
    links(&server, &phone, &user).await;
    server.advance(MINUTE);
    let mut calls = JoinSet::new();
    for number in 0..16 {
        let person = if number % 2 == 0 { &phone } else { &user };
        let opt_out = server.opt_out(person, of_purposes(&["offers"]));
        let mut client = server.client();
        calls.spawn(async move { client.withdraw(opt_out).await });
    }
    for answer in calls.join_all().await {
        answer.unwrap();
    }
    for person in [&phone, &user] {
        assert_eq!(
            server.events(person).await.len(),
            17,
            "the link and 16 opt-outs"
        );
    }
}
