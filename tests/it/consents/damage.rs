//! A row that does not read back: an error with an id for the log, never a decision; and nobody else is touched.

use std::time::Duration;

use consentgate::grpc::proto::consistency::Requirement;
use consentgate::grpc::proto::*;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::acts::*;
use crate::harness::{Backend, TestServer};
use crate::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(20);

/// Asserts an internal error that says nothing but an id.
#[track_caller]
pub fn is_internal<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    let details = status.get_details_error_info().unwrap();
    let id = &details.metadata["error_id"];
    assert!(Uuid::parse_str(id).is_ok(), "{id}");
    assert!(status.message().contains(id.as_str()), "{status}");
    for inside in ["subject", "row", "facts", "sqlx", "SQL"] {
        assert!(!status.message().contains(inside), "{status}");
    }
}

/// Everything that needs the facts of a person fails, and nothing is decided.
async fn nothing_is_decided(server: &TestServer, person: &Recipient, other: &Recipient) {
    is_internal(server.try_check(question(person, "offers")).await);
    let fully = CheckConsentRequest {
        consistency: Some(Consistency {
            requirement: Some(Requirement::FullyConsistent(true)),
        }),
        ..question(person, "offers")
    };
    is_internal(server.try_check(fully).await);
    let both = batch(&[other.clone(), person.clone()], "offers");
    is_internal(server.try_batch(both).await);
    is_internal(server.try_get(standing_of(person)).await);
    is_internal(server.try_record(server.grant(person, &["offers"])).await);
    is_internal(
        server
            .try_withdraw(server.opt_out(person, everything()))
            .await,
    );
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(other, "offers").await, allowed);
}

pub async fn facts_that_do_not_read_are_no_decision(on: Backend) {
    let mut server = TestServer::start(on).await;
    let (ann, bob) = (person(1), person(2));
    server.gives(&bob, &["offers"]).await;
    let mut sql = server.sql().await;
    let bytes = |hex: &str| match on {
        Backend::Sqlite => format!("x'{hex}'"),
        Backend::Postgres => format!("'\\x{hex}'::bytea"),
    };
    let mut damages = vec![
        format!("facts = {}", bytes("ff")),
        format!("facts = {}", bytes("")),
        // One byte too many.
        format!("facts = facts || {}", bytes("00")),
        "version = -1".into(),
        // The second wall: a row of another business is not this business's person.
        "business_id = 'rival'".into(),
    ];
    if on == Backend::Sqlite {
        // Bytes that are put together are text to SQLite.
        damages[2] = "facts = CAST(facts || x'00' AS BLOB)".into();
    }
    sql.run("CREATE TABLE whole AS SELECT * FROM subject").await;
    server.gives(&ann, &["offers"]).await;
    let its = "subject_id NOT IN (SELECT subject_id FROM whole)";
    sql.run(&format!(
        "CREATE TABLE anns AS SELECT * FROM subject WHERE {its}"
    ))
    .await;
    for damage in damages {
        let damaging = format!("UPDATE subject SET {damage} WHERE {its}");
        assert_eq!(sql.run(&damaging).await, 1, "{damage}");
        // What is in memory was read before, and stays true; here nothing is.
        server.restart().await;
        nothing_is_decided(&server, &ann, &bob).await;
        sql.run(&format!("DELETE FROM subject WHERE {its}")).await;
        sql.run("INSERT INTO subject SELECT * FROM anns").await;
        let allowed = allow(Reason::ConsentGiven);
        assert_eq!(server.verdict(&ann, "offers").await, allowed, "{damage}");
    }
}

pub async fn a_history_that_does_not_read_is_not_shown_in_part(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let grant = RecordConsentRequest {
        actor: "form".into(),
        ..server.grant(&ann, &["offers"])
    };
    server.try_record(grant).await.unwrap();
    server.gives(&ann, &["news"]).await;
    let mut sql = server.sql().await;
    // A payload that was sealed for another event, as if rows had been swapped.
    sql.run("CREATE TABLE kept AS SELECT * FROM event_payload")
        .await;
    let flipped = match on {
        Backend::Sqlite => "UPDATE event_payload SET sealed = CAST(sealed || x'00' AS BLOB)",
        Backend::Postgres => "UPDATE event_payload SET sealed = sealed || '\\x00'::bytea",
    };
    assert_eq!(sql.run(flipped).await, 1);
    is_internal(server.try_events(history_of(&ann)).await);
    sql.run("DELETE FROM event_payload").await;
    // As after an erasure: the act remains, what was personal is gone.
    let events = server.events(&ann).await;
    assert_eq!((events.len(), events[0].actor.as_str()), (2, ""));
    sql.run("INSERT INTO event_payload SELECT * FROM kept")
        .await;
    assert_eq!(server.events(&ann).await[0].actor, "form");

    sql.lift_guards().await;
    let damaged = sql.run("UPDATE event SET body = '{\"schema\":1}' WHERE \"offset\" = 2");
    assert_eq!(damaged.await, 1);
    is_internal(server.try_events(history_of(&ann)).await);
    // A decision does not rest on it, but on the facts that were made with it.
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&ann, "news").await, allowed);
}

/// Without a valid lease nothing in memory may be used. Steady time is what it is measured in.
#[tokio::test]
async fn an_instance_that_cannot_prove_its_right_does_not_answer() {
    let server = TestServer::start(Backend::Postgres).await;
    let ann = person(1);
    server.gives(&ann, &["offers"]).await;
    let opt_out = server.opt_out(&ann, everything());
    // As a process that was suspended for a minute: until its lock is proved again, it does not know. The keeper may
    // prove it in the very moment between the two.
    let status = eventually(PATIENCE, "a check without a lease", async || {
        server.manual().advance(Duration::from_mins(1));
        server.try_check(question(&ann, "offers")).await.err()
    })
    .await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(reason_of(&status), "LEASE_LOST");
    assert!(status.get_details_retry_info().is_some());
    // The service resumes by itself.
    eventually(PATIENCE, "answers again", async || {
        server.try_check(question(&ann, "offers")).await.ok()
    })
    .await;
    server.try_withdraw(opt_out).await.unwrap();
    let denied = deny(&[Reason::Withdrawn]);
    assert_eq!(server.verdict(&ann, "offers").await, denied);
}
