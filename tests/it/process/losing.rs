//! A database that goes away, falls silent, or has no room: nothing is decided and nothing acknowledged meanwhile,
//! and when it is back the gate goes on by itself.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use consentgate::cache::lease::Term;
use consentgate::grpc::proto::{Decision, Evidence, RecordConsentRequest, WithdrawRequest};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt;

use super::Place;
use super::cable::Cable;
use super::gate::{Gate, LIMIT};
use super::people::{grant, history, opt_out, person, question};
use crate::postgres::{Durability, Postgres};
use crate::wait::eventually;

/// The default of `lease`.
const TERM: Term = Term(Duration::from_secs(3));

/// What a caller is told who should come back later.
#[track_caller]
fn is_unavailable(status: &Status, reasons: &[&str]) {
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let details = status.get_error_details();
    let retry = details.retry_info().expect("when to repeat it");
    assert!(
        retry
            .retry_delay
            .is_some_and(|delay| delay > Duration::ZERO)
    );
    let info = details.error_info().unwrap();
    assert!(reasons.contains(&info.reason.as_str()), "{}", info.reason);
}

/// Checks until nothing is allowed any more, which must be so within the lease's term.
async fn until_nothing_is_allowed(gate: &Gate) {
    let since = Instant::now();
    let refused = eventually(LIMIT, "the lease is lost", async || {
        let asked_at = since.elapsed();
        match gate.client().check_consent(question(&person(1))).await {
            Ok(answer) => {
                assert_eq!(answer.into_inner().decision(), Decision::Allow);
                assert!(
                    asked_at < TERM.usable(),
                    "allowed {asked_at:?} after the loss"
                );
                None
            }
            Err(status) => Some(status),
        }
    });
    is_unavailable(&refused.await, &["LEASE_LOST"]);
}

#[tokio::test]
async fn without_postgresql_nothing_is_answered_and_with_it_the_gate_goes_on_by_itself() {
    let server = Postgres::own(Durability::Durable);
    let place = Place::migrated_on(&server).await;
    let gate = Gate::start(place.serve(&["--database-acquire-timeout", "1s"])).await;
    let mut acknowledged = Vec::new();
    for number in 1..=20 {
        let key = format!("agreed {number}");
        acknowledged.push((number, gate.agree(&person(number), &key).await));
    }
    assert_eq!(gate.decision(&person(1)).await, Decision::Allow);

    server.stop_immediate();
    until_nothing_is_allowed(&gate).await;
    gate.until(ServingStatus::NotServing, LIMIT).await;
    let mut client = gate.client();
    let lost = ["LEDGER_UNAVAILABLE", "NOT_CONFIRMED"];
    let record = grant(&person(31), "lost");
    is_unavailable(
        &client.record_consent(record.clone()).await.unwrap_err(),
        &lost,
    );
    let withdraw = opt_out(&person(1), "lost");
    is_unavailable(&client.withdraw(withdraw.clone()).await.unwrap_err(), &lost);
    is_unavailable(
        &client
            .list_consent_events(history(&person(1)))
            .await
            .unwrap_err(),
        &lost,
    );
    // A person in memory, one in the ledger, one of whom nothing is known.
    for number in [1, 2, 99] {
        let status = client
            .check_consent(question(&person(number)))
            .await
            .unwrap_err();
        is_unavailable(&status, &["LEASE_LOST"]);
    }

    server.start();
    gate.until(ServingStatus::Serving, LIMIT).await;
    for (number, event) in &acknowledged {
        let events = gate.events(&person(*number)).await;
        assert!(events.iter().any(|one| one.event_id == *event), "{number}");
    }
    // What was not acknowledged is repeated, and then it is.
    client.record_consent(record).await.unwrap();
    assert_eq!(gate.decision(&person(1)).await, Decision::Allow);
    client.withdraw(withdraw).await.unwrap();
    assert_eq!(gate.decision(&person(1)).await, Decision::Deny);
    assert_eq!(gate.decision(&person(31)).await, Decision::Allow);
    let log = gate.stop().await;
    assert!(
        log.contains("the lease is lost") && log.contains("the lease is regained"),
        "{log}"
    );
    assert_eq!(place.replay().await, 5 + 20 + 2);
}

#[tokio::test]
async fn while_postgresql_is_silent_nothing_is_allowed_and_new_connections_are_enough_to_go_on() {
    let place = Place::migrated().await;
    let cable = Cable::to(place.url()).await;
    let gate = Gate::start(place.serve_over(&cable, &["--shutdown-grace", "1s"])).await;
    gate.agree(&person(1), "a").await;
    assert_eq!(gate.decision(&person(1)).await, Decision::Allow);

    cable.fall_silent();
    until_nothing_is_allowed(&gate).await;
    gate.until(ServingStatus::NotServing, LIMIT).await;
    // Nobody hears of it: who is in a hurry says so.
    let hasty = || {
        let mut withdraw = tonic::Request::new(opt_out(&person(1), "b"));
        withdraw.set_timeout(Duration::from_millis(500));
        withdraw
    };
    gate.client().withdraw(hasty()).await.unwrap_err();

    // The old connections stay as they are.
    cable.carry_again();
    gate.until(ServingStatus::Serving, LIMIT).await;
    eventually(LIMIT, "an opt-out is acknowledged", async || {
        gate.client().withdraw(hasty()).await.ok()
    })
    .await;
    assert_eq!(gate.decision(&person(1)).await, Decision::Deny);

    // At the end nobody waits for them either.
    let told = Instant::now();
    let log = gate.stop().await;
    assert!(
        told.elapsed() < Duration::from_secs(30),
        "{:?}: {log}",
        told.elapsed()
    );
}

#[tokio::test]
async fn a_connection_that_fell_silent_gives_its_place_back() {
    let place = Place::migrated().await;
    let cable = Cable::to(place.url()).await;
    // Two places: whoever keeps them keeps everybody out.
    let two = [
        "--database-max-connections=2",
        "--database-acquire-timeout=1s",
        "--statement-timeout=1s",
        "--shutdown-grace=1s",
        // Otherwise most calls would be refused before they got a place.
        "--max-database-wait=off",
    ];
    let gate = Gate::start(place.serve_over(&cable, &two)).await;
    gate.agree(&person(1), "a").await;

    cable.fall_silent();
    let mut lost = Vec::new();
    for number in 2..6 {
        let mut client = gate.client();
        let key = format!("lost {number}");
        let grant = grant(&person(number), &key);
        lost.push(tokio::spawn(
            async move { client.record_consent(grant).await },
        ));
    }
    for call in lost {
        let status = call.await.unwrap().unwrap_err();
        is_unavailable(&status, &["LEDGER_UNAVAILABLE"]);
    }
    cable.carry_again();
    gate.until(ServingStatus::Serving, LIMIT).await;
    // The old connections stay silent for ever: nothing but a limit of ours ends them.
    for number in 2..6 {
        let again = grant(&person(number), &format!("lost {number}"));
        eventually(LIMIT, "an opt-in is acknowledged", async || {
            gate.client().record_consent(again.clone()).await.ok()
        })
        .await;
    }
    gate.stop().await;
}

/// How a gate is kept from writing all that it wants to. Each ends with the gate itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Narrow {
    /// No file of it may grow beyond a limit. Every Unix can do that.
    Files,
    /// It lives on a full file system, which it alone sees. Needs root, or what Linux calls user namespaces.
    Disk,
}

impl Narrow {
    fn available() -> Vec<Self> {
        let mut unshare = Command::new("unshare");
        unshare.args(["--map-root-user", "--mount", "true"]);
        unshare.stdout(Stdio::null()).stderr(Stdio::null());
        let namespaces = unshare.status().is_ok_and(|status| status.success());
        [Self::Files]
            .into_iter()
            .chain(namespaces.then_some(Self::Disk))
            .collect()
    }

    fn script(self) -> &'static str {
        match self {
            // Half a megabyte or a whole one, by the shell's unit; without the signal, writing is an error.
            Self::Files => r#"trap '' XFSZ; ulimit -f 1024; exec "$0" "$@""#,
            // A line on standard input makes room.
            Self::Disk => {
                r#"exec 3<&0; mkdir disk; exec unshare --map-root-user --mount /bin/sh -c '
                     mount -t tmpfs -o size=2m tmpfs disk && cp catalog.toml disk && cd disk && ln -s ../policy.toml || exit 1
                     head -c 1000000 /dev/zero >ballast
                     { read -r _ <&3; rm ballast; } >/dev/null 2>&1 &
                     exec "$0" "$@"' "$0" "$@""#
            }
        }
    }

    async fn make_room(self, gate: &mut Gate, place: &Place) {
        match self {
            // The limit is each file's: moving the log into the database makes room in the log.
            Self::Files => {
                let mut outside = place.sql().await;
                assert_eq!(outside.number("PRAGMA wal_checkpoint(TRUNCATE)").await, 0);
            }
            Self::Disk => gate.stdin().write_all(b"room\n").unwrap(),
        }
    }
}

/// Somebody who is not among those who consent until there is no room.
const LEAVING: u32 = 5_000;

#[tokio::test]
async fn without_room_writes_are_refused_and_with_room_they_go_on() {
    for narrow in Narrow::available() {
        let place = Place::sqlite();
        let mut command = place.behind(narrow.script(), &place.serve(&[]));
        command.stdin(Stdio::piped());
        let mut gate = Gate::start(command).await;

        gate.agree(&person(LEAVING), "leaving").await;
        let mut acknowledged = Vec::new();
        let refused = loop {
            let number = u32::try_from(acknowledged.len()).unwrap();
            assert!(number < LEAVING, "{narrow:?}: there is room without end");
            match gate.client().record_consent(long(number)).await {
                Ok(answer) => acknowledged.push(answer.into_inner().records[0].event_id.clone()),
                Err(status) => break status,
            }
        };
        is_unavailable(&refused, &["LEDGER_UNAVAILABLE"]);
        // Where a consent has no room an opt-out, which is shorter, may have some.
        let mut left = 0;
        let refused = loop {
            assert!(left < 1_000, "{narrow:?}: there is room without end");
            let opt_out = WithdrawRequest {
                idempotency_key: format!("left {left}"),
                ..long_opt_out(LEAVING)
            };
            match gate.client().withdraw(opt_out).await {
                Ok(_) => left += 1,
                Err(status) => break status,
            }
        };
        is_unavailable(&refused, &["LEDGER_UNAVAILABLE"]);
        let first_refused = u32::try_from(acknowledged.len()).unwrap();
        for number in first_refused..first_refused + 5 {
            let refused = gate
                .client()
                .record_consent(long(number))
                .await
                .unwrap_err();
            is_unavailable(&refused, &["LEDGER_UNAVAILABLE"]);
            let refused = gate.client().withdraw(long_opt_out(0)).await.unwrap_err();
            is_unavailable(&refused, &["LEDGER_UNAVAILABLE"]);
        }
        is_there(&gate, &acknowledged).await;
        assert_eq!(gate.decision(&person(first_refused)).await, Decision::Deny);

        narrow.make_room(&mut gate, &place).await;
        eventually(LIMIT, "writes go on", async || {
            let answer = gate
                .client()
                .record_consent(long(first_refused))
                .await
                .ok()?;
            acknowledged.push(answer.into_inner().records[0].event_id.clone());
            Some(())
        })
        .await;
        is_there(&gate, &acknowledged).await;
        gate.client().withdraw(long_opt_out(0)).await.unwrap();
        assert_eq!(gate.decision(&person(0)).await, Decision::Deny);
        gate.stop().await;
        if narrow == Narrow::Files {
            let events = 5 + 1 + acknowledged.len() + left + 1;
            assert_eq!(place.replay().await, u64::try_from(events).unwrap());
        }
    }
}

/// Every acknowledged consent is there, and holds, in memory and in the ledger.
async fn is_there(gate: &Gate, acknowledged: &[String]) {
    for (number, event) in (0..).zip(acknowledged) {
        let events = gate.events(&person(number)).await;
        assert_eq!(events.len(), 1, "{number}");
        assert_eq!(events[0].event_id, *event);
        assert_eq!(
            gate.decision(&person(number)).await,
            Decision::Allow,
            "{number}"
        );
    }
}

/// A grant with much to keep. The same again at the next call.
fn long(number: u32) -> RecordConsentRequest {
    let mut grant = grant(&person(number), &format!("long {number}"));
    grant.event_time = Some(prost_types::Timestamp {
        seconds: 1_780_000_000,
        nanos: 0,
    });
    grant.evidence = Some(much());
    grant
}

fn long_opt_out(number: u32) -> WithdrawRequest {
    let evidence = Some(much());
    WithdrawRequest {
        evidence,
        ..opt_out(&person(number), "long")
    }
}

fn much() -> Evidence {
    Evidence {
        statement: "x".repeat(4_000),
        ..Evidence::default()
    }
}
