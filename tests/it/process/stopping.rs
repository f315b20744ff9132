//! Stopping, and the one that comes after: who is told, who may finish, who is kept out.

use std::fs;
use std::time::Duration;

use consentgate::grpc::proto::{Decision, Recipient};
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_types::StatusExt;

use super::Place;
use super::gate::{self, Gate, LIMIT};
use super::people::{grant, opt_out, person, question};
use crate::wait::eventually;

/// Locks that keep every append of a PostgreSQL ledger waiting, until it is dropped.
pub struct Held(PgConnection);

impl Held {
    pub async fn appends(place: &Place) -> Self {
        let mut connection = PgConnection::connect(place.url()).await.unwrap();
        let lock = "BEGIN; SELECT head FROM partition_head FOR UPDATE";
        sqlx::raw_sql(lock).execute(&mut connection).await.unwrap();
        Self(connection)
    }

    /// Waits until so many appends wait.
    pub async fn until_waiting(&mut self, appends: i64) {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND wait_event_type = 'Lock' AND query LIKE 'WITH used AS%'";
        eventually(LIMIT, "appends wait", async || {
            // Statistics are one snapshot in a transaction unless told otherwise.
            let fresh = sqlx::raw_sql("SELECT pg_stat_clear_snapshot()");
            fresh.execute(&mut self.0).await.unwrap();
            let waiting: i64 = sqlx::query_scalar(count)
                .fetch_one(&mut self.0)
                .await
                .unwrap();
            (waiting == appends).then_some(())
        })
        .await;
    }
}

/// Two people whose appends do not wait for each other: of two partitions, which nobody can tell from their numbers.
async fn apart(place: &Place, gate: &Gate) -> (Recipient, Recipient) {
    let mut sql = place.sql().await;
    let first = person(1);
    for number in 1.. {
        let other = person(number);
        let key = format!("apart-{number}");
        let recorded = gate.client().record_consent(grant(&other, &key)).await;
        recorded.unwrap();
        let partitions = "SELECT count(DISTINCT partition) FROM subject";
        if sql.number(partitions).await == 2 {
            return (first, other);
        }
    }
    unreachable!("there are more numbers than tries")
}

#[tokio::test]
async fn when_told_to_end_it_says_so_finishes_what_has_begun_and_takes_nothing_new() {
    let place = Place::migrated().await;
    let slow = ["--statement-timeout", "50s", "--shutdown-grace", "50s"];
    let gate = Gate::start(place.serve(&slow)).await;
    let mut health = HealthClient::new(gate.channel());
    let watch = health.watch(HealthCheckRequest::default()).await;
    let mut watch = watch.unwrap().into_inner();
    while watch.next().await.unwrap().unwrap().status() != ServingStatus::Serving {}

    let (first, second) = apart(&place, &gate).await;
    let mut held = Held::appends(&place).await;
    let (mut recording, mut withdrawing) = (gate.client(), gate.client());
    let (given, taken) = (grant(&first, "a"), opt_out(&second, "b"));
    let record = tokio::spawn(async move { recording.record_consent(given).await });
    let withdraw = tokio::spawn(async move { withdrawing.withdraw(taken).await });
    held.until_waiting(2).await;

    gate.signal("TERM");
    assert_eq!(
        watch.next().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    eventually(LIMIT, "nobody new is let in", async || {
        gate.refuses_connections().await.then_some(())
    })
    .await;
    // On the old connection neither, once it has heard of it.
    eventually(LIMIT, "nothing new is taken", async || {
        let late = gate.client().check_consent(question(&person(1))).await;
        late.is_err().then_some(())
    })
    .await;
    assert!(!record.is_finished() && !withdraw.is_finished());

    drop(held);
    let recorded = record.await.unwrap().unwrap().into_inner();
    let withdrawn = withdraw.await.unwrap().unwrap().into_inner();
    let ended = gate.ended().await;
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(!ended.log.contains("cut off"), "{ended}");

    // It took its row away, so that nobody waits for it; and what was finished is there.
    let left = place
        .sql()
        .await
        .number("SELECT count(*) FROM cache_instance")
        .await;
    assert_eq!(left, 0);
    let gate = place.gate().await;
    assert_eq!(
        gate.events(&first).await.last().unwrap().event_id,
        recorded.records[0].event_id
    );
    assert_eq!(
        gate.events(&second).await.last().unwrap().event_id,
        withdrawn.event_id
    );
}

#[tokio::test]
async fn who_watches_health_or_reflects_is_told_and_does_not_delay_the_end() {
    let place = Place::sqlite();
    let gate = Gate::start(place.serve(&["--shutdown-grace", "50s"])).await;
    let mut watches = Vec::new();
    for service in ["", "consentgate.v1.ConsentService"] {
        let asked = HealthCheckRequest {
            service: service.into(),
        };
        let watch = HealthClient::new(gate.channel()).watch(asked).await;
        let mut watch = watch.unwrap().into_inner();
        while watch.next().await.unwrap().unwrap().status() != ServingStatus::Serving {}
        watches.push(watch);
    }
    // Asks nothing, and leaves it open to ask.
    let reflection = ServerReflectionClient::new(gate.channel())
        .server_reflection_info(tokio_stream::pending())
        .await;
    let mut reflection = reflection.unwrap().into_inner();

    gate.signal("TERM");
    let told = Instant::now();
    for watch in &mut watches {
        let last = watch.next().await.unwrap().unwrap();
        assert_eq!(last.status(), ServingStatus::NotServing);
        let end = watch.next().await.unwrap().unwrap_err();
        assert_eq!(end.code(), Code::Unavailable, "{end}");
        assert!(end.get_error_details().retry_info().is_some(), "{end}");
    }
    assert!(reflection.next().await.is_none_or(|end| end.is_err()));
    // The streams are held, and so is the connection, as by a client that means to go on.
    let ended = gate.ended().await;
    assert!(told.elapsed() < Duration::from_secs(25), "{ended}");
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(!ended.log.contains("cut off"), "{ended}");
    drop((watches, reflection));
}

#[tokio::test]
async fn a_call_that_does_not_end_within_the_grace_is_cut_off_and_its_end_is_not_waited_for() {
    let place = Place::migrated().await;
    let slow = ["--statement-timeout", "50s", "--shutdown-grace", "1s"];
    let gate = Gate::start(place.serve(&slow)).await;
    let mut held = Held::appends(&place).await;
    let mut client = gate.client();
    let call = tokio::spawn(async move { client.record_consent(grant(&person(1), "a")).await });
    held.until_waiting(1).await;

    gate.signal("TERM");
    let told = Instant::now();
    let ended = gate.ended().await;
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(ended.log.contains("calls were cut off"), "{ended}");
    assert!(
        told.elapsed() < Duration::from_secs(15),
        "{:?}: {ended}",
        told.elapsed()
    );
    assert!(call.await.unwrap().is_err());
}

#[tokio::test]
async fn who_delays_the_end_is_told_in_time_and_may_still_ask() {
    let place = Place::sqlite();
    let gate = Gate::start(place.serve(&["--shutdown-delay", "3s"])).await;
    gate.agree(&person(1), "a").await;
    // Ctrl-C counts as SIGTERM does.
    gate.signal("INT");
    gate.until(ServingStatus::NotServing, LIMIT).await;
    assert_eq!(gate.decision(&person(1)).await, Decision::Allow);
    assert!(!gate.refuses_connections().await);
    assert_eq!(gate.ended().await.code(), 0);
}

#[tokio::test]
async fn a_second_instance_on_one_sqlite_file_is_refused_and_the_first_goes_on() {
    let place = Place::sqlite();
    let first = place.gate().await;
    let words = [
        "another consentgate uses this database",
        "gate.db.lock` is locked",
    ];
    Gate::refused(place.serve(&[])).await.refused_with(&words);
    for arguments in [["migrate"].as_slice(), &["ledger", "replay", "--check"]] {
        let (ended, _) = gate::run(place.maintain(arguments)).await;
        ended.refused_with(&words);
    }
    first.agree(&person(1), "a").await;
    assert_eq!(first.decision(&person(1)).await, Decision::Allow);

    // The lock dies with its holder, however that one ends.
    first.kill().await;
    let second = place.gate().await;
    assert_eq!(second.decision(&person(1)).await, Decision::Allow);
}

#[tokio::test]
async fn a_second_instance_is_refused_by_whatever_name_it_calls_the_file() {
    let place = Place::sqlite();
    let first = place.gate().await;
    std::os::unix::fs::symlink("gate.db", place.path("soft.db")).unwrap();
    std::os::unix::fs::symlink(".", place.path("here")).unwrap();
    fs::hard_link(place.path("gate.db"), place.path("hard.db")).unwrap();
    let serve = |name: &str| {
        let database = format!("sqlite:{name}");
        let mut serve = place.command(&["serve", "--listen", "127.0.0.1:0"]);
        serve.args(["--database", &database, "--key-file", "gate.db.key"]);
        serve
    };
    let refused = async |name: &str, locked: &str| {
        let words = ["another consentgate uses this database", locked];
        Gate::refused(serve(name)).await.refused_with(&words);
    };
    refused("soft.db", "gate.db.lock` is locked").await;
    refused("here/gate.db", "gate.db.lock` is locked").await;
    refused("hard.db", "hard.db` is locked").await;
    fs::remove_file(place.path("gate.db.lock")).unwrap();
    refused("gate.db", "gate.db` is locked").await;

    // The first one is none the worse for it, and whoever comes after it may call the file what it likes.
    first.agree(&person(1), "a").await;
    first.stop().await;
    let second = Gate::start(serve("soft.db")).await;
    assert_eq!(second.events(&person(1)).await.len(), 1);
    second.stop().await;
}
