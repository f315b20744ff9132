//! No number anywhere: whatever is asked of a gate, and however it fails, nothing that belongs to a person leaves it
//! but to the caller, nor lies open in its database.
//!
//! The log is at its loudest, every call is traced, and an exporter sends everything to a collector that keeps it.

use std::fs;
use std::time::Duration;

use consentgate::grpc::proto::*;
use data_encoding::HEXLOWER_PERMISSIVE;
use tonic::{Code, Request};
use tonic_health::pb::health_check_response::ServingStatus;

use super::Place;
use super::collector::Collector;
use super::gate::{Gate, LIMIT};
use super::people::{history, opt_out, question};
use super::personal::{commands_are_run, everything_is_asked, record};
use super::secrets::{self, KEY};
use super::stopping::Held;
use crate::postgres::{Durability, Postgres};

/// Arguments under which a gate tells all that it can tell.
fn talkative<'a>(collector: &'a str, format: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["--log", "trace", "--log-format", format];
    arguments.extend(["--otlp-endpoint", collector, "--metrics-interval", "100ms"]);
    arguments.extend(["--trace-sample-ratio", "1", "--service-instance-id", "gate"]);
    arguments
}

#[track_caller]
fn tells_nothing(what: &str, bytes: &[u8]) {
    let found = secrets::found_in(bytes);
    assert!(
        found.is_empty(),
        "{what}: {} leaks\n{}",
        found.len(),
        found.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_person_leaves_a_gate_on_sqlite() {
    let place = Place::sqlite();
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let gate = Gate::start(place.serve(&talkative(&endpoint, "json"))).await;
    everything_is_asked(&gate).await;
    commands_are_run(&gate, &place).await;
    rows_hold_nothing(&place).await;
    files_hold_nothing(&place);
    rows_are_damaged(&gate, &place).await;
    is_silent(gate, &collector).await;
    files_hold_nothing(&place);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_person_leaves_a_gate_on_postgresql() {
    let server = Postgres::own(Durability::Fast);
    let place = Place::migrated_on(&server).await;
    let collector = Collector::start().await;
    let endpoint = collector.endpoint();
    let gate = Gate::start(place.serve(&talkative(&endpoint, "pretty"))).await;
    everything_is_asked(&gate).await;
    calls_are_abandoned(&gate, &place).await;
    rows_hold_nothing(&place).await;
    rows_are_damaged(&gate, &place).await;
    server.stop_immediate();
    everything_is_asked_in_vain(&gate).await;
    server.start();
    is_silent(gate, &collector).await;
    tells_nothing("PostgreSQL's log", server.log().as_bytes());
}

/// Nothing in what it said; and it said much.
async fn is_silent(gate: Gate, collector: &Collector) {
    let log = gate.stop().await;
    for said in ["TRACE", "DEBUG", "ERROR", "a call failed by our fault"] {
        assert!(log.contains(said), "{said}");
    }
    tells_nothing("the log", log.as_bytes());
    let has = |bytes: &[u8], text: &str| String::from_utf8_lossy(bytes).contains(text);
    let (traces, metrics) = (collector.traces(), collector.metrics());
    for name in [
        "ConsentService/RecordConsent",
        "CatalogService/CreateSender",
        "_OTHER",
    ] {
        assert!(has(&traces, name) && has(&metrics, name), "{name}");
    }
    assert!(has(&metrics, "consentgate.decisions") && has(&traces, "a call failed by our fault"));
    tells_nothing("traces", &traces);
    tells_nothing("metrics", &metrics);
}

/// Nothing in any column of any row.
async fn rows_hold_nothing(place: &Place) {
    let mut sql = place.sql().await;
    for column in sql.columns().await {
        let (table, name) = (column.table, column.name);
        let text = match (&place.database, column.kind.as_str()) {
            (None, _) => format!("hex(CAST(\"{name}\" AS BLOB))"),
            (Some(_), "bytea") => format!("encode(\"{name}\", 'hex')"),
            (Some(_), _) => format!("encode(convert_to(\"{name}\"::text, 'UTF8'), 'hex')"),
        };
        let rows = sql.texts(&format!("SELECT {text} FROM {table}")).await;
        // A file has one instance, which tells itself nothing, and the policy of these tests puts no
        // erasure off.
        let unused = place.database.is_none() && table == "cache_instance" || table == "erasure";
        assert_eq!(rows.is_empty(), unused, "{table}");
        for value in rows.into_iter().flatten().flatten() {
            let value = HEXLOWER_PERMISSIVE.decode(value.as_bytes()).unwrap();
            tells_nothing(&format!("{table}.{name}"), &value);
        }
    }
}

fn files_hold_nothing(place: &Place) {
    let mut files = Vec::new();
    for entry in fs::read_dir(place.path("")).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("campaign.txt") {
            tells_nothing(&path.display().to_string(), &fs::read(&path).unwrap());
            files.push(path);
        }
    }
    assert!(files.contains(&place.path("gate.db")), "{files:?}");
}

/// What is stored does not read back any more.
async fn rows_are_damaged(gate: &Gate, place: &Place) {
    let mut client = gate.client();
    let mut sql = place.sql().await;
    sql.lift_guards().await;
    sql.run("UPDATE idempotency SET answer = '{}'").await;
    let repeated = client.record_consent(record()).await.unwrap_err();
    assert_eq!(repeated.code(), Code::Internal);
    let number = secrets::number().unwrap();
    for (damage, reads) in [
        (
            "UPDATE event_payload SET sealed = subject_id::text::bytea",
            false,
        ),
        ("UPDATE event SET body = '{}'", false),
        ("UPDATE subject SET facts = subject_key", true),
    ] {
        let damage = match place.database {
            Some(_) => damage.to_owned(),
            None => damage.replace("::text::bytea", ""),
        };
        assert!(sql.run(&damage).await > 0);
        let listed = client.list_consent_events(history(&number)).await;
        assert_eq!(listed.unwrap_err().code(), Code::Internal, "{damage}");
        let mut asked = question(&number);
        asked.consistency = Some(Consistency {
            requirement: Some(consistency::Requirement::FullyConsistent(true)),
        });
        let checked = client.check_consent(asked).await;
        assert_eq!(checked.is_err(), reads, "{damage}: {checked:?}");
    }
}

/// Who asks leaves, or has no time, while the database is slow.
async fn calls_are_abandoned(gate: &Gate, place: &Place) {
    let mut held = Held::appends(place).await;
    let mut client = gate.client();
    let number = secrets::number().unwrap();
    let mut hasty = Request::new(opt_out(&number, &format!("{KEY}-late")));
    hasty.set_timeout(Duration::from_millis(500));
    client.withdraw(hasty).await.unwrap_err();
    held.until_waiting(1).await;
    // The next one of the same person would not be sent before it.
    drop(held);
    let mut held = Held::appends(place).await;
    let call = tokio::spawn(async move {
        let idempotency_key = format!("{KEY}-left");
        let record = RecordConsentRequest {
            idempotency_key,
            ..record()
        };
        client.record_consent(record).await
    });
    held.until_waiting(1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    drop(held);
}

async fn everything_is_asked_in_vain(gate: &Gate) {
    gate.until(ServingStatus::NotServing, LIMIT).await;
    let mut client = gate.client();
    let number = secrets::number().unwrap();
    let checked = client.check_consent(question(&number)).await.map(drop);
    let recorded = client.record_consent(record()).await.map(drop);
    let withdrawn = client.withdraw(opt_out(&number, KEY)).await.map(drop);
    let listed = client.list_consent_events(history(&number)).await.map(drop);
    for failed in [checked, recorded, withdrawn, listed] {
        assert_eq!(failed.unwrap_err().code(), Code::Unavailable);
    }
}
