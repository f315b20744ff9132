//! One number, many spellings: an opt-out holds for every one, a grant for its own and its twin.

use std::time::Duration;

use consentgate::grpc::proto::*;

use super::acts::*;
use crate::harness::{Backend, TestServer};

const MINUTE: Duration = Duration::from_mins(1);

/// Two spellings of one number, what the ledger calls them, and whether a grant of one allows the other.
struct Pair {
    one: [Recipient; 2],
    other: [Recipient; 2],
    words: [&'static str; 2],
    twins: bool,
}

/// Each spelling as a phone number and as WhatsApp's id, where it can be written so.
fn pairs() -> Vec<Pair> {
    let both = |digits: &str| [phone(&format!("+{digits}")), wa_id(digits)];
    vec![
        Pair {
            one: both("525512345678"),
            other: both("5215512345678"),
            words: ["52", "521"],
            twins: true,
        },
        Pair {
            one: both("5511987654321"),
            other: both("551187654321"),
            words: ["with the ninth digit", "without the ninth digit"],
            twins: true,
        },
        Pair {
            one: both("5491123456789"),
            other: both("541123456789"),
            words: ["549", "54"],
            twins: false,
        },
        Pair {
            one: both("79161234567"),
            // The trunk prefix 8 is typed without a plus only.
            other: [wa_id("89161234567"), wa_id("89161234567")],
            words: ["7", "8"],
            twins: false,
        },
    ]
}

pub async fn an_opt_out_through_any_spelling_holds_for_all(on: Backend) {
    let mut server = TestServer::start(on).await;
    for pair in pairs() {
        for [from, to] in [[&pair.one, &pair.other], [&pair.other, &pair.one]] {
            for through in from {
                for person in from.iter().chain(to) {
                    server.advance(MINUTE);
                    server.gives(person, &["offers"]).await;
                    let allowed = allow(Reason::ConsentGiven);
                    assert_eq!(server.verdict(person, "offers").await, allowed);
                }
                server.advance(MINUTE);
                server.withdraws(through, all_marketing()).await;
                for person in from.iter().chain(to) {
                    let denied = deny(&[Reason::Withdrawn]);
                    let verdict = server.verdict(person, "offers").await;
                    assert_eq!(verdict, denied, "{person:?} after {through:?}");
                }
            }
        }
    }
    // Not only in memory.
    server.restart().await;
    for pair in pairs() {
        for person in pair.one.iter().chain(&pair.other) {
            let denied = deny(&[Reason::Withdrawn]);
            assert_eq!(server.verdict(person, "offers").await, denied);
        }
    }
}

pub async fn an_opt_out_of_somebody_never_seen_holds_for_all_spellings(on: Backend) {
    let server = TestServer::start(on).await;
    for pair in pairs() {
        server.withdraws(&pair.other[1], everything()).await;
        for person in pair.one.iter().chain(&pair.other) {
            let denied = deny(&[Reason::Withdrawn, Reason::NoConsent]);
            assert_eq!(server.verdict(person, "offers").await, denied);
        }
    }
}

pub async fn a_grant_allows_its_own_spelling_and_its_twin_alone(on: Backend) {
    for turned in [false, true] {
        let server = TestServer::start(on).await;
        for pair in pairs() {
            let (from, to, word) = match turned {
                false => (&pair.one, &pair.other, pair.words[0]),
                true => (&pair.other, &pair.one, pair.words[1]),
            };
            server.gives(&from[0], &["offers"]).await;
            for person in from {
                let allowed = allow(Reason::ConsentGiven);
                assert_eq!(
                    server.verdict(person, "offers").await,
                    allowed,
                    "{person:?}"
                );
            }
            let expected = match pair.twins {
                true => allow(Reason::ConsentGiven),
                false => deny(&[Reason::NoConsent]),
            };
            for person in to {
                assert_eq!(
                    server.verdict(person, "offers").await,
                    expected,
                    "{person:?}"
                );
            }
            let [event] = server.events(&to[0]).await.try_into().unwrap();
            assert_eq!(event.spelling, word);
        }
    }
}

pub async fn numbers_that_only_look_alike_are_different_people(on: Backend) {
    let server = TestServer::start(on).await;
    for (one, other) in [
        // A landline of São Paulo, and a mobile that ends in the same digits.
        ("551131234567", "5511931234567"),
        // Hong Kong and Vietnam are not Russia with an 8.
        ("85291234567", "75291234567"),
        ("84912345678", "74912345678"),
    ] {
        server.withdraws(&wa_id(one), everything()).await;
        let never = deny(&[Reason::NoConsent]);
        assert_eq!(server.verdict(&wa_id(other), "offers").await, never);
    }
    // With a plus, 8 is no trunk prefix.
    server.withdraws(&wa_id("89161234567"), everything()).await;
    let never = deny(&[Reason::NoConsent]);
    let not_russian = phone("+89161234567");
    assert_eq!(server.verdict(&not_russian, "offers").await, never);
}

pub async fn a_user_id_is_somebody_of_its_own_and_taken_verbatim(on: Backend) {
    let server = TestServer::start(on).await;
    let (own, parents) = (
        user_id("US.13491208655302741918"),
        user_id("US.ENT.13491208655302741918"),
    );
    let us = |person: &Recipient| RecordConsentRequest {
        // A user id has no country that a number would tell.
        jurisdiction: "US".into(),
        ..server.grant(person, &["offers"])
    };
    server.try_record(us(&own)).await.unwrap();
    let (allowed, never) = (allow(Reason::ConsentGiven), deny(&[Reason::NoConsent]));
    assert_eq!(server.verdict(&own, "offers").await, allowed);
    for other in [
        parents,
        user_id("US.1349120865530274191"),
        user_id("BR.13491208655302741918"),
    ] {
        assert_eq!(server.verdict(&other, "offers").await, never, "{other:?}");
    }
    server.withdraws(&own, everything()).await;
    let denied = deny(&[Reason::Withdrawn]);
    assert_eq!(server.verdict(&own, "offers").await, denied);
}
