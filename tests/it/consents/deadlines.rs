//! Deadlines: a caller who stops waiting is told so, and a write that has begun goes on without it.

use std::time::Duration;

use consentgate::grpc::proto::*;
use tonic::{Code, Request, Status};

use super::acts::*;
use crate::harness::{ACME, Backend, TestServer};
use crate::ledger::Raw;
use crate::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(20);

/// Takes what an append needs, so that appends wait until it is given back.
async fn hold_appends(server: &TestServer, on: Backend) -> Raw {
    let mut sql = server.sql().await;
    match on {
        Backend::Sqlite => {
            sql.run("BEGIN IMMEDIATE").await;
        }
        Backend::Postgres => {
            sql.run("BEGIN").await;
            sql.run("SELECT head FROM partition_head FOR UPDATE").await;
        }
    }
    sql
}

/// Asks until the call was too late and the server said so. The client has a timer, too, and on a busy machine it may
/// be first.
async fn late<T>(mut call: impl AsyncFnMut(Duration) -> Result<T, Status>) -> Status {
    for _ in 0..100 {
        let answer = call(Duration::from_millis(150)).await;
        // What the client makes up itself came with no headers.
        let status = answer.err();
        let by_the_server = |status: &Status| !status.metadata().is_empty();
        if let Some(status) = status.filter(by_the_server) {
            assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
            assert_eq!(reason_of(&status), "DEADLINE_EXCEEDED");
            return status;
        }
    }
    panic!("never did the server say that a call was too late");
}

fn within<T>(timeout: Duration, request: T) -> Request<T> {
    let mut request = Request::new(request);
    request.set_timeout(timeout);
    request
}

/// Each kind of write waits; each of its callers is told in time; each is committed once.
pub async fn a_write_goes_on_when_its_caller_stops_waiting(on: Backend) {
    let server = TestServer::start(on).await;
    let (ann, bob, eve) = (person(1), person(2), person(3));
    server.gives(&eve, &["club"]).await;
    server.advance(Duration::from_secs(1));
    let opt_out = server.opt_out(&ann, everything());
    let grant = server.grant(&bob, &["offers"]);
    let confirmation = server.confirmation(&eve);

    let mut held = hold_appends(&server, on).await;
    let told = late(async |timeout| {
        let call = within(timeout, opt_out.clone());
        server.client().withdraw(call).await
    });
    let told = told.await;
    assert!(told.message().contains("same idempotency key"), "{told}");
    late(async |timeout| {
        let call = within(timeout, grant.clone());
        server.client().record_consent(call).await
    })
    .await;
    late(async |timeout| {
        let call = within(timeout, confirmation.clone());
        server.client().confirm_consent(call).await
    })
    .await;
    held.run("ROLLBACK").await;

    for (person, count) in [(&ann, 1), (&bob, 1), (&eve, 2)] {
        eventually(PATIENCE, "the write is there", async || {
            (server.events(person).await.len() == count).then_some(())
        })
        .await;
    }
    // Whoever repeats hears what the first call did, and adds nothing.
    let again = server.try_withdraw(opt_out).await.unwrap();
    let [event] = server.events(&ann).await.try_into().unwrap();
    assert_eq!(again.event_id, event.event_id);
    server.try_record(grant).await.unwrap();
    server.try_confirm(confirmation).await.unwrap();
    assert_eq!(server.events(&bob).await.len(), 1);
    assert_eq!(server.events(&eve).await.len(), 2);
}

pub async fn a_change_of_the_catalogue_goes_on_when_its_caller_stops_waiting(on: Backend) {
    let server = TestServer::start(on).await;
    let change = UpdateSenderRequest {
        business_id: ACME.into(),
        sender: Some(Sender {
            sender_id: "1001".into(),
            held: true,
            ..Sender::default()
        }),
    };
    let mut held = hold_appends(&server, on).await;
    let told = late(async |timeout| {
        let call = within(timeout, change.clone());
        server.catalog().update_sender(call).await
    });
    let told = told.await;
    // Calls of the catalogue have no key.
    assert!(told.message().contains("read the resource back"), "{told}");
    assert!(!told.message().contains("idempotency"), "{told}");
    held.run("ROLLBACK").await;
    let ask = GetSenderRequest {
        business_id: ACME.into(),
        sender_id: "1001".into(),
    };
    eventually(PATIENCE, "the change is made", async || {
        let answer = server.catalog().get_sender(ask.clone()).await.unwrap();
        answer.into_inner().sender?.held.then_some(())
    })
    .await;
}

pub async fn a_shutdown_waits_for_a_write_that_nobody_waits_for(on: Backend) {
    let mut server = TestServer::start(on).await;
    let ann = person(1);
    let opt_out = server.opt_out(&ann, everything());
    let mut held = hold_appends(&server, on).await;
    late(async |timeout| {
        let call = within(timeout, opt_out.clone());
        server.client().withdraw(call).await
    })
    .await;
    tokio::join!(server.stop(), held.run("ROLLBACK"));
    server.resume();
    let denied = deny(&[Reason::Withdrawn, Reason::NoConsent]);
    assert_eq!(server.verdict(&ann, "offers").await, denied);
}

/// PostgreSQL alone can say that somebody waits for a lock.
#[tokio::test]
async fn a_write_goes_on_when_its_caller_goes_away() {
    let on = Backend::Postgres;
    let server = TestServer::start(on).await;
    let ann = person(1);
    let mut held = hold_appends(&server, on).await;
    let opt_out = server.opt_out(&ann, everything());
    let mut client = server.client();
    let call = tokio::spawn(async move { client.withdraw(opt_out).await });
    let mut watching = server.sql().await;
    eventually(PATIENCE, "the append waits", async || {
        const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        (watching.number(WAITING).await > 0).then_some(())
    })
    .await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    held.run("ROLLBACK").await;
    eventually(PATIENCE, "the opt-out is there", async || {
        (server.events(&ann).await.len() == 1).then_some(())
    })
    .await;
    let denied = deny(&[Reason::Withdrawn, Reason::NoConsent]);
    assert_eq!(server.verdict(&ann, "offers").await, denied);
}

/// A read that waits for the database, as behind a migration that locks a table. SQLite's readers wait for nobody.
#[tokio::test]
async fn a_read_stops_at_its_deadline_while_the_database_keeps_it_waiting() {
    let server = TestServer::start(Backend::Postgres).await;
    let ann = person(1);
    server.gives(&ann, &["offers"]).await;
    let mut held = server.sql().await;
    held.run("BEGIN").await;
    held.run("LOCK TABLE subject IN ACCESS EXCLUSIVE MODE")
        .await;
    let stranger = person(2);
    let told = late(async |timeout| {
        let call = within(timeout, question(&stranger, "offers"));
        server.client().check_consent(call).await
    });
    let told = told.await;
    assert!(told.message().contains("do not send"), "{told}");
    late(async |timeout| {
        let both = batch(&[ann.clone(), stranger.clone()], "offers");
        let call = within(timeout, both);
        server.client().batch_check_consent(call).await
    })
    .await;
    late(async |timeout| {
        let call = within(timeout, standing_of(&ann));
        server.client().get_consent(call).await
    })
    .await;
    // What is in memory is answered all the while.
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&ann, "offers").await, allowed);
    held.run("ROLLBACK").await;
    let never = deny(&[Reason::NoConsent]);
    assert_eq!(server.verdict(&stranger, "offers").await, never);
}
