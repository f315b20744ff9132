//! How fresh an answer must be: tokens of earlier answers, reading the ledger itself, and what is not offered.

use consentgate::grpc::proto::consistency::Requirement;
use consentgate::grpc::proto::*;
use tonic::Code;
use tonic_types::StatusExt;

use super::acts::*;
use crate::harness::{Backend, TestServer};

fn requiring(requirement: Requirement) -> Option<Consistency> {
    Some(Consistency {
        requirement: Some(requirement),
    })
}

fn as_fresh_as(token: &str) -> Option<Consistency> {
    requiring(Requirement::AtLeastAsFresh(token.into()))
}

/// Asks everything that takes a requirement; gives the decisions, or the states.
async fn ask_all(
    server: &TestServer,
    person: &Recipient,
    consistency: Option<Consistency>,
) -> Result<[bool; 3], tonic::Status> {
    let check = CheckConsentRequest {
        consistency: consistency.clone(),
        ..question(person, "offers")
    };
    let batch = BatchCheckConsentRequest {
        consistency: consistency.clone(),
        ..batch(std::slice::from_ref(person), "offers")
    };
    let get = GetConsentRequest {
        consistency,
        ..standing_of(person)
    };
    let checked = server.try_check(check).await;
    let batched = server.try_batch(batch).await;
    let got = server.try_get(get).await;
    // All or none.
    let refusals = [
        checked.as_ref().err(),
        batched.as_ref().err(),
        got.as_ref().err(),
    ];
    if let [Some(first), second, third] = refusals {
        let (second, third) = (second.expect("batch"), third.expect("get"));
        assert_eq!(
            (first.code(), first.code()),
            (second.code(), third.code()),
            "{first} {second} {third}"
        );
        return Err(first.clone());
    }
    let state = got?.records.first().map(ConsentRecord::state);
    Ok([
        checked?.decision() == Decision::Allow,
        batched?.results[0].decision() == Decision::Allow,
        state == Some(ConsentState::Given),
    ])
}

pub async fn every_offered_requirement_is_met(on: Backend) {
    let mut server = TestServer::start(on).await;
    let ann = person(1);
    let given = server.gives(&ann, &["offers"]).await;
    let checked = server.check(&ann, "offers").await;
    let standing = server.try_get(standing_of(&ann)).await.unwrap();
    let batched = server
        .try_batch(batch(&[ann.clone(), person(2)], "offers"))
        .await;
    let batched = batched.unwrap();
    let all = |token: &str| {
        [
            None,
            Some(Consistency::default()),
            requiring(Requirement::Strict(true)),
            requiring(Requirement::FullyConsistent(true)),
            as_fresh_as(token),
        ]
    };
    for token in [
        &given.consistency_token,
        &checked.consistency_token,
        &standing.consistency_token,
        &batched.consistency_token,
    ] {
        for consistency in all(token) {
            let answers = ask_all(&server, &ann, consistency).await.unwrap();
            assert_eq!(answers, [true; 3]);
        }
    }
    let withdrawn = server.withdraws(&ann, everything()).await;
    for restarted in [false, true] {
        if restarted {
            server.restart().await;
        }
        for consistency in all(&withdrawn.consistency_token) {
            let answers = ask_all(&server, &ann, consistency).await.unwrap();
            assert_eq!(answers, [false; 3]);
        }
        // A token of an older answer never brings the older answer back.
        let older = as_fresh_as(&given.consistency_token);
        let answers = ask_all(&server, &ann, older).await.unwrap();
        assert_eq!(answers, [false; 3]);
    }
}

pub async fn a_token_of_another_ledger_or_an_altered_one_is_refused(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let token = server.gives(&ann, &["offers"]).await.consistency_token;
    let elsewhere = TestServer::start(on).await;
    let foreign = elsewhere.gives(&ann, &["offers"]).await.consistency_token;
    let altered = format!("{}A", &token[..token.len() - 1]);
    let altered = match altered == token {
        true => format!("{}B", &token[..token.len() - 1]),
        false => altered,
    };
    let long = "A".repeat(4_096);
    let too_long = "A".repeat(4_097);
    for token in [
        foreign.as_str(),
        &altered,
        &token[1..],
        "",
        "anything",
        "ä",
        &long,
        &too_long,
    ] {
        let status = ask_all(&server, &ann, as_fresh_as(token))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{token}: {status}");
        assert_eq!(fields_of(&status), ["consistency.at_least_as_fresh"]);
    }
}

/// As after a backup was restored: events that somebody was told of are gone.
pub async fn a_ledger_that_lost_what_a_token_proves_does_not_answer(on: Backend) {
    let mut server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["offers"]).await;
    let token = server.withdraws(&ann, everything()).await.consistency_token;
    server.stop().await;
    let mut sql = server.sql().await;
    sql.lift_guards().await;
    sql.run("DELETE FROM event WHERE \"offset\" = 2").await;
    sql.run("UPDATE partition_head SET head = 1 WHERE head = 2 AND partition > 0")
        .await;
    server.resume();
    let status = ask_all(&server, &ann, as_fresh_as(&token))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(reason_of(&status), "NOT_YET_FRESH");
    assert!(status.get_details_retry_info().is_some());
}

pub async fn what_would_weaken_the_promise_is_refused(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["offers"]).await;
    let second = prost_types::Duration {
        seconds: 1,
        nanos: 0,
    };
    for (requirement, reason, field) in [
        (
            Requirement::BoundedStaleness(second),
            "NOT_ENABLED",
            "consistency.bounded_staleness",
        ),
        (
            Requirement::Strict(false),
            "FIELD_INVALID",
            "consistency.strict",
        ),
        (
            Requirement::FullyConsistent(false),
            "FIELD_INVALID",
            "consistency.fully_consistent",
        ),
    ] {
        let answer = ask_all(&server, &ann, requiring(requirement)).await;
        refused(answer, reason, &[field]);
    }
}

/// The difference to strict, which trusts what this instance wrote: here somebody writes past it.
pub async fn fully_consistent_reads_the_ledger_itself(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["offers"]).await;
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&ann, "offers").await, allowed);
    let mut sql = server.sql().await;
    assert_eq!(sql.run("DELETE FROM subject").await, 1);
    assert_eq!(server.verdict(&ann, "offers").await, allowed);
    let ledgers = CheckConsentRequest {
        consistency: requiring(Requirement::FullyConsistent(true)),
        ..question(&ann, "offers")
    };
    let ledgers = verdict_of(&server.try_check(ledgers).await.unwrap());
    assert_eq!(ledgers, deny(&[Reason::NoConsent]));
}
