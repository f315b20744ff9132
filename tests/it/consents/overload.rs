//! More to do than can be done in time: what is refused and what never is, what a slow database stops and what it does
//! not, and that all is well after.
//!
//! A server is made late by its clock, not by work: [`Dragging`] lets time pass whenever it is looked at, so that every
//! call seems to have waited between its arrival and its beginning.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use consentgate::clock::Clock;
use consentgate::domain::time::Timestamp;
use consentgate::grpc::proto::*;
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use super::acts::*;
use super::suppressing::{suppress, suppression};
use crate::harness::{ACME, Backend, TestServer};
use crate::ledger::Raw;
use crate::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(20);

/// How much time passes at each look at the clock while it drags.
const DRAG: Duration = Duration::from_secs(30);

/// Wall time stands still; steady time passes only while it is looked at.
#[derive(Debug, Default)]
struct Dragging {
    drags: AtomicBool,
    seconds: AtomicU64,
}

impl Dragging {
    fn drag(&self, drags: bool) {
        self.drags.store(drags, Ordering::SeqCst);
    }

    fn skip(&self, by: Duration) {
        self.seconds.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for Dragging {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_780_315_200_250_000)
    }

    fn steady(&self) -> Duration {
        if self.drags.load(Ordering::SeqCst) {
            self.skip(DRAG);
        }
        Duration::from_secs(self.seconds.load(Ordering::SeqCst))
    }
}

/// A server whose calls may wait for a moment.
async fn impatient() -> (TestServer, Arc<Dragging>) {
    let clock = Arc::new(Dragging::default());
    let server = TestServer::with_clock(Backend::Sqlite, clock.clone(), |config| {
        config.max_wait = Some(Duration::from_millis(1));
    });
    (server.await, clock)
}

/// Finds that a call was refused for load, and that it says when to repeat it.
#[track_caller]
fn shed<T: std::fmt::Debug>(answer: Result<T, Status>) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_eq!(reason_of(&status), "OVERLOADED");
    let retry = status
        .get_details_retry_info()
        .unwrap()
        .retry_delay
        .unwrap();
    assert!((500..1_500).contains(&retry.as_millis()), "{retry:?}");
}

/// Asks until checks are refused, and says how many were answered before.
async fn until_checks_are_refused(server: &TestServer, person: &Recipient) -> usize {
    for answered in 0..1_000 {
        let answer = server.try_check(question(person, "offers")).await;
        if answer.is_err() {
            shed(answer);
            return answered;
        }
    }
    panic!("nobody was refused");
}

async fn health(server: &TestServer) -> ServingStatus {
    let asked = HealthCheckRequest::default();
    let answer = HealthClient::new(server.channel()).check(asked).await;
    answer.unwrap().into_inner().status()
}

#[tokio::test]
async fn while_all_wait_too_long_what_can_wait_is_refused_and_what_restricts_is_done() {
    let (server, clock) = impatient().await;
    let [ann, bob, eve, max] = [1, 2, 3, 4].map(person);
    for person in [&ann, &bob, &eve, &max] {
        server.gives(person, &["offers"]).await;
    }
    clock.drag(true);
    let answered = until_checks_are_refused(&server, &ann).await;
    assert!(answered > 10, "one pause refuses nobody: {answered}");

    shed(
        server
            .try_batch(batch(std::slice::from_ref(&ann), "offers"))
            .await,
    );
    shed(server.try_record(server.grant(&ann, &["offers"])).await);
    shed(server.try_get(standing_of(&ann)).await);
    assert_eq!(health(&server).await, ServingStatus::Serving);
    server.withdraws(&ann, everything()).await;
    let basis = SuppressionBasis::Complaint;
    let request = suppression(&server, &bob, basis, everything());
    suppress(&server, request).await.unwrap();
    let heard = server.hears(&eve, "STOP").await;
    assert_eq!(heard.action(), InboundAction::Withdrew);
    let failed = ReportDeliveryRequest {
        business_id: ACME.into(),
        recipient: Some(max.clone()),
        sender_id: "1001".into(),
        provider: "whatsapp".into(),
        error_code: "131050".into(),
        message_id: "wamid.overload".into(),
        ..ReportDeliveryRequest::default()
    };
    server.client().report_delivery(failed).await.unwrap();
    shed(server.try_check(question(&ann, "offers")).await);

    // All is as it was once nobody waits any more, but for what was done meanwhile.
    clock.drag(false);
    for person in [&ann, &bob, &eve, &max] {
        let answer = server.check(person, "offers").await;
        assert_eq!(answer.decision(), Decision::Deny, "{answer:?}");
    }
    let stranger = person(5);
    server.gives(&stranger, &["offers"]).await;
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&stranger, "offers").await, allowed);
}

#[tokio::test]
async fn whose_deadline_passed_while_it_waited_is_not_begun_unless_it_restricts() {
    let (server, clock) = impatient().await;
    let (ann, bob) = (person(1), person(2));
    server.gives(&ann, &["offers"]).await;
    let (opt_out, grant) = (
        server.opt_out(&ann, everything()),
        server.grant(&bob, &["offers"]),
    );
    clock.drag(true);
    let mut asked = Request::new(question(&ann, "offers"));
    asked.set_timeout(DRAG / 2);
    let told = server.client().check_consent(asked).await.unwrap_err();
    assert_eq!(told.code(), Code::DeadlineExceeded);
    assert!(told.message().contains("before this was begun"), "{told}");
    let mut asked = Request::new(grant);
    asked.set_timeout(DRAG / 2);
    let told = server.client().record_consent(asked).await.unwrap_err();
    assert!(told.message().contains("before this was begun"), "{told}");
    let mut asked = Request::new(opt_out);
    asked.set_timeout(DRAG / 2);
    // It may be told that it is too late, but it is done.
    server.client().withdraw(asked).await.ok();
    clock.drag(false);
    eventually(PATIENCE, "the opt-out is there", async || {
        (server.events(&ann).await.len() == 2).then_some(())
    })
    .await;
    assert!(server.events(&bob).await.is_empty());
}

/// How long a call waited is counted from its own arrival, not from that of its connection or of the call before it.
#[tokio::test]
async fn who_calls_on_an_old_connection_has_not_waited() {
    let (server, clock) = impatient().await;
    let ann = person(1);
    server.gives(&ann, &["offers"]).await;
    for _ in 0..300 {
        clock.skip(Duration::from_secs(3_600));
        let allowed = allow(Reason::ConsentGiven);
        assert_eq!(server.verdict(&ann, "offers").await, allowed);
    }
}

/// Keeps every statement waiting that looks at people, as a migration would.
async fn hold_people(server: &TestServer) -> Raw {
    let mut held = server.sql().await;
    held.run("BEGIN").await;
    held.run("LOCK TABLE subject IN ACCESS EXCLUSIVE MODE")
        .await;
    held
}

/// Waits until so many statements of the service wait for a lock.
async fn until_wait(watching: &mut Raw, count: i64) {
    // The follower's are of another connection, and it may look or not.
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query NOT LIKE '%instance%'";
    eventually(PATIENCE, "the statements wait", async || {
        (watching.number(WAITING).await >= count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_slow_database_stops_those_who_need_it_and_nobody_else() {
    let server = TestServer::with(Backend::Postgres, |config| {
        config.max_database_wait = Some(Duration::from_millis(50));
    })
    .await;
    let ann = person(1);
    server.gives(&ann, &["offers"]).await;
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&ann, "offers").await, allowed);
    let mut watching = server.sql().await;
    let mut held = hold_people(&server).await;

    // As many as are read at a time, as many as are written, and one more.
    let mut tasks = JoinSet::new();
    for number in 10..14 {
        let (mut client, asked) = (server.client(), question(&person(number), "offers"));
        tasks.spawn(async move { client.check_consent(asked).await.map(drop) });
        until_wait(&mut watching, i64::from(number) - 9).await;
    }
    let mut records = JoinSet::new();
    for number in 100..197 {
        let (mut client, grant) = (server.client(), server.grant(&person(number), &["offers"]));
        records.spawn(async move { client.record_consent(grant).await.map(drop) });
    }
    shed(records.join_next().await.unwrap().unwrap());
    // They share two statements.
    until_wait(&mut watching, 6).await;

    for number in 30..50 {
        shed(server.try_check(question(&person(number), "offers")).await);
    }
    shed(
        server
            .try_batch(batch(&[person(50), person(51)], "offers"))
            .await,
    );
    shed(
        server
            .try_record(server.grant(&person(52), &["offers"]))
            .await,
    );
    assert_eq!(server.verdict(&ann, "offers").await, allowed);

    // An opt-out finds a connection, waits as long as it takes, and is done.
    let (mut client, opt_out) = (server.client(), server.opt_out(&person(60), everything()));
    tasks.spawn(async move { client.withdraw(opt_out).await.map(drop) });
    until_wait(&mut watching, 7).await;
    held.run("ROLLBACK").await;
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    while let Some(done) = records.join_next().await {
        done.unwrap().unwrap();
    }
    for number in 30..34 {
        let never = deny(&[Reason::NoConsent]);
        assert_eq!(server.verdict(&person(number), "offers").await, never);
    }
    server.gives(&person(52), &["offers"]).await;
}

/// Who waited first and gave up still says how long one waits.
#[tokio::test]
async fn who_comes_while_others_have_waited_too_long_is_refused_before_it_has() {
    let server = TestServer::with(Backend::Postgres, |config| {
        config.max_database_wait = Some(Duration::from_secs(2));
    })
    .await;
    let mut watching = server.sql().await;
    let mut held = hold_people(&server).await;
    let mut tasks = JoinSet::new();
    for number in 10..14 {
        let (mut client, asked) = (server.client(), question(&person(number), "offers"));
        tasks.spawn(async move { client.check_consent(asked).await.map(drop) });
        until_wait(&mut watching, i64::from(number) - 9).await;
    }
    shed(server.try_check(question(&person(14), "offers")).await);
    // It would be told that its deadline passed.
    let mut soon = Request::new(question(&person(15), "offers"));
    soon.set_timeout(Duration::from_secs(1));
    shed(server.client().check_consent(soon).await);
    held.run("ROLLBACK").await;
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    let answer = server.check(&person(15), "offers").await;
    assert_eq!(answer.decision(), Decision::Deny, "{answer:?}");
}

/// Those who come after many asked are read together when a statement is done, but not kept for one that never is.
#[tokio::test]
async fn who_comes_alone_after_many_is_not_kept_by_a_statement_that_does_not_end() {
    let server = TestServer::with(Backend::Postgres, |_| ()).await;
    let people: Vec<_> = (10..20).map(person).collect();
    let mut watching = server.sql().await;
    let mut held = hold_people(&server).await;
    let (mut client, many) = (server.client(), batch(&people, "offers"));
    let many = tokio::spawn(async move { client.batch_check_consent(many).await });
    until_wait(&mut watching, 1).await;
    let (mut client, alone) = (server.client(), question(&person(1), "offers"));
    let alone = tokio::spawn(async move { client.check_consent(alone).await });
    until_wait(&mut watching, 2).await;
    held.run("ROLLBACK").await;
    assert_eq!(many.await.unwrap().unwrap().into_inner().results.len(), 10);
    let alone = alone.await.unwrap().unwrap().into_inner();
    assert_eq!(alone.decision(), Decision::Deny, "{alone:?}");
}

#[tokio::test]
async fn a_batch_is_refused_while_others_have_as_many_recipients_as_are_allowed() {
    let server = TestServer::with(Backend::Postgres, |config| {
        config.max_recipients = 5;
    })
    .await;
    let ann = person(1);
    server.gives(&ann, &["offers"]).await;
    let people: Vec<_> = (10..13).map(person).collect();
    let mut watching = server.sql().await;
    let mut held = hold_people(&server).await;
    let (mut client, first) = (server.client(), batch(&people, "offers"));
    let first = tokio::spawn(async move { client.batch_check_consent(first).await });
    until_wait(&mut watching, 1).await;
    shed(server.try_batch(batch(&people, "offers")).await);
    let two = server.try_batch(batch(&[ann.clone(), ann.clone()], "offers"));
    assert_eq!(two.await.unwrap().results.len(), 2);
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&ann, "offers").await, allowed);
    held.run("ROLLBACK").await;
    assert_eq!(first.await.unwrap().unwrap().into_inner().results.len(), 3);
    // However many alone.
    let all: Vec<_> = (10..30).map(person).collect();
    let all = server.try_batch(batch(&all, "offers")).await.unwrap();
    assert_eq!(all.results.len(), 20);
}
