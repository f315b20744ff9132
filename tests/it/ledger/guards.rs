//! What the database itself refuses, whoever asks: events that were recorded are never changed. And on PostgreSQL, what
//! the service's role may do and what it may not. The whole suite runs with that role, so that it can do enough is no
//! question of this file.

use std::time::Duration;

use consentgate::ledger::postgres::{Limits, Postgres, Role, migrate};
use consentgate::ledger::{Error, Ledger, Offset};

use super::people::{Person, at, minute};
use super::store::{LIMITS, Raw, Store};
use super::together::{act_on, offer};
use crate::postgres::{Durability, Postgres as Server, TestDatabase, database};
use crate::process::cable::Cable;
use crate::wait::eventually;

/// Changes of what was recorded, as either database is told them.
const CHANGES: &[&str] = &[
    "UPDATE event SET body = '{}'",
    "UPDATE event SET \"offset\" = 7 WHERE \"offset\" = 1",
    "DELETE FROM event",
    "DELETE FROM event WHERE partition = 7",
    "INSERT INTO event SELECT * FROM event WHERE true
       ON CONFLICT (partition, \"offset\") DO UPDATE SET body = '{}'",
    "UPDATE system_event SET body = '{}'",
    "DELETE FROM system_event WHERE \"offset\" = 1",
];

const CHANGES_OF_SQLITE: &[&str] = &[
    "REPLACE INTO event SELECT * FROM event",
    "INSERT OR REPLACE INTO event SELECT 9, \"offset\", event_id, subject_id, business_id, 0, '{}' FROM event",
    "INSERT OR REPLACE INTO event (rowid, partition, \"offset\", event_id, subject_id, business_id, recorded_at, body)
       SELECT rowid, 9, \"offset\", x'00', x'00', '', 0, '{}' FROM event",
    "UPDATE OR REPLACE event SET partition = 9",
    "REPLACE INTO system_event SELECT \"offset\", 0, '{}' FROM system_event",
];

const CHANGES_OF_POSTGRES: &[&str] = &[
    "TRUNCATE event",
    "TRUNCATE system_event CASCADE",
    "TRUNCATE subject, event",
    "UPDATE parent SET body = '{}'",
    "DELETE FROM parent",
    "TRUNCATE parent",
];

/// A ledger with an event that has evidence and an address, and an entry of the system partition.
async fn recorded(ledger: &dyn Ledger) -> Person {
    let mut person = Person::new(1, 7);
    let draft = person.next().with_payload(b"sealed");
    person.record_as(draft, ledger).await;
    let entry = ledger.append_system(Offset(0), minute(0), "{}").await;
    entry.unwrap().unwrap();
    person
}

pub async fn what_was_recorded_is_never_changed(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = recorded(ledger).await;
    let before = store.contents().await;
    // The owner of everything, on PostgreSQL a superuser.
    let mut owner = store.connect().await;
    let more = match store.has_loose_types() {
        true => CHANGES_OF_SQLITE,
        false => {
            // What is named is another table, and triggers are off for this session.
            owner.run("CREATE TABLE parent (body text NOT NULL)").await;
            owner.run("ALTER TABLE event INHERIT parent").await;
            owner.run("SET session_replication_role = replica").await;
            CHANGES_OF_POSTGRES
        }
    };
    for change in CHANGES.iter().chain(more) {
        let refusal = owner.refusal(change).await;
        let why = "what was recorded is never changed";
        assert!(refusal.contains(why), "{change}: {refusal}");
    }
    if !store.has_loose_types() {
        owner.run("ALTER TABLE event NO INHERIT parent").await;
        owner.run("DROP TABLE parent").await;
    }
    assert_eq!(store.contents().await, before);
    person.record(ledger).await;
}

async fn migrated() -> TestDatabase {
    let database = database().await;
    migrate(database.url(), LIMITS).await.unwrap();
    database
}

#[tokio::test]
async fn the_service_may_erase_rotate_and_forget_and_never_change_what_was_recorded() {
    let database = migrated().await;
    let url = database.service_url().await;
    let ledger = Postgres::open(&url, LIMITS).await.unwrap();
    recorded(&ledger).await;
    let mut service = Raw::postgres(&url).await;
    for refused in [
        "UPDATE event SET body = '{}'",
        "DELETE FROM event",
        "TRUNCATE event",
        "UPDATE system_event SET body = '{}'",
        "DELETE FROM system_event",
        "TRUNCATE system_event",
        "DELETE FROM subject",
        "TRUNCATE subject",
        "UPDATE subject SET business_id = 'other'",
        "UPDATE event_payload SET subject_id = gen_random_uuid()",
        "DELETE FROM partition_head",
        "UPDATE partition_head SET partition = 99 WHERE partition = 9",
        "UPDATE ledger_meta SET value = ''",
        "DELETE FROM ledger_meta",
        "DELETE FROM _sqlx_migrations",
        "ALTER TABLE event DISABLE TRIGGER ALL",
        "DROP TRIGGER never_changed ON event",
        "DROP FUNCTION refuse_change() CASCADE",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "SET session_replication_role = replica",
    ] {
        let refusal = service.refusal(refused).await;
        let words = ["permission denied", "must be owner", "denied to"];
        assert!(
            words.iter().any(|word| refusal.contains(word)),
            "{refused}: {refusal}"
        );
    }
    for allowed in [
        "UPDATE event_payload SET sealed = ''::bytea",
        "DELETE FROM event_payload",
        "DELETE FROM subject_address",
        "UPDATE subject SET subject_key = '\\x01'::bytea, key_id = 2, facts = ''::bytea",
        "DELETE FROM idempotency",
        "DELETE FROM message_send",
    ] {
        service.run(allowed).await;
    }
}

#[tokio::test]
async fn every_table_has_its_line_in_the_services_rights() {
    let database = migrated().await;
    let closed = Raw::postgres(database.url())
        .await
        .texts(
            "SELECT relname::text FROM pg_class
             WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
               AND NOT has_table_privilege('consentgate_service', oid, 'SELECT')",
        )
        .await;
    assert!(closed.is_empty(), "not in roles.sql: {closed:?}");
}

#[tokio::test]
async fn rights_that_went_too_far_are_taken_back_by_the_next_migration() {
    let database = migrated().await;
    let url = database.service_url().await;
    let mut owner = Raw::postgres(database.url()).await;
    owner
        .run("GRANT UPDATE, DELETE ON event TO consentgate_service")
        .await;
    let may = "SELECT has_table_privilege('gate', 'event', 'UPDATE, DELETE')::int::bigint";
    assert_eq!(owner.number(may).await, 1);
    // Whoever may not change the schema has nothing to do, and nothing to complain of.
    assert_eq!(migrate(&url, LIMITS).await.unwrap(), Role::NotOurs);
    assert_eq!(owner.number(may).await, 1);
    assert_eq!(
        migrate(database.url(), LIMITS).await.unwrap(),
        Role::Granted
    );
    assert_eq!(owner.number(may).await, 0);
}

#[tokio::test]
async fn a_service_that_may_change_events_is_told_so() {
    let database = migrated().await;
    let told = async |url: &str| {
        let ledger = Postgres::open(url, LIMITS).await.unwrap();
        let weaknesses = ledger.weaknesses().await.unwrap();
        weaknesses
            .iter()
            .any(|weakness| weakness.contains("may change events"))
    };
    let url = database.service_url().await;
    assert!(told(database.url()).await);
    assert!(!told(&url).await);
    let mut owner = Raw::postgres(database.url()).await;
    for right in ["UPDATE (body)", "DELETE", "TRUNCATE", "TRIGGER"] {
        owner
            .run(&format!(
                "GRANT {right} ON system_event TO consentgate_service"
            ))
            .await;
        assert!(told(&url).await, "{right}");
        owner
            .run(&format!(
                "REVOKE {right} ON system_event FROM consentgate_service"
            ))
            .await;
    }
    assert!(!told(&url).await);
}

/// As on a managed server: whoever owns the database may not make roles.
#[tokio::test]
async fn an_owner_who_may_make_no_role_is_told_and_grants_to_one_that_is_there() {
    let server = Server::own(Durability::Fast);
    let database = server.database().await;
    let mut administrator = Raw::postgres(database.url()).await;
    administrator.run("CREATE ROLE owner LOGIN").await;
    let name = database.url().rsplit_once('/').unwrap().1;
    administrator
        .run(&format!("ALTER DATABASE {name} OWNER TO owner"))
        .await;
    administrator
        .run("ALTER SCHEMA public OWNER TO owner")
        .await;
    let url = database.url().replacen("://postgres@", "://owner@", 1);
    assert_eq!(migrate(&url, LIMITS).await.unwrap(), Role::Missing);

    administrator
        .run("CREATE ROLE consentgate_service NOLOGIN")
        .await;
    assert_eq!(migrate(&url, LIMITS).await.unwrap(), Role::Granted);
    let ledger = Postgres::open(&database.service_url().await, LIMITS)
        .await
        .unwrap();
    recorded(&ledger).await;
    let weaknesses = ledger.weaknesses().await.unwrap();
    assert!(
        !weaknesses
            .iter()
            .any(|weakness| weakness.contains("may change events"))
    );
}

#[tokio::test]
async fn a_statement_that_works_too_long_is_ended_by_the_database() {
    let database = migrated().await;
    let limits = Limits {
        statement_timeout: Duration::from_millis(300),
        ..LIMITS
    };
    let url = database.service_url().await;
    let ledger = Postgres::open(&url, limits).await.unwrap();
    let mut owner = Raw::postgres(database.url()).await;
    owner
        .run(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql
               AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END'",
        )
        .await;
    owner
        .run(
            "CREATE TRIGGER dawdling BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION dawdle()",
        )
        .await;
    let person = Person::new(1, 7);
    let ended = person.next().offer(&ledger).await;
    is_ended_by(ended.unwrap_err(), "statement timeout");

    // One that only waits is ended by either limit: they are the same.
    owner.run("DROP TRIGGER dawdling ON event").await;
    owner.run("BEGIN").await;
    owner
        .run("SELECT 1 FROM partition_head WHERE partition = 7 FOR UPDATE")
        .await;
    let ended = person.next().offer(&ledger).await;
    is_ended_by(ended.unwrap_err(), "timeout");
    owner.run("ROLLBACK").await;
    person.next().offer(&ledger).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_client_fell_silent_is_ended_and_lets_its_locks_go() {
    let database = migrated().await;
    let limits = Limits {
        statement_timeout: Duration::from_secs(2),
        ..LIMITS
    };
    let cable = Cable::to(&database.service_url().await).await;
    let ledger = Postgres::open(cable.url(), limits).await.unwrap();
    let mut owner = Raw::postgres(database.url()).await;
    owner.run("BEGIN").await;
    owner
        .run("SELECT 1 FROM partition_head WHERE partition = 7 FOR UPDATE")
        .await;
    // An act on two people is a transaction of several statements: one of them waits.
    let people = [Person::new(1, 7), Person::new(2, 7)];
    let act = act_on(&[&people[0], &people[1]]);
    let abandoned = tokio::spawn(async move { offer(&act, &ledger).await });
    let mut raw = Raw::postgres(database.url()).await;
    let mut until = async |condition: &str, count: i64| {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'consentgate'
               AND datname = current_database() AND {condition}"
        );
        eventually(Duration::from_secs(20), condition, async || {
            (raw.number(&sql).await == count).then_some(())
        })
        .await;
    };
    until("wait_event_type = 'Lock'", 1).await;
    cable.fall_silent();
    owner.run("COMMIT").await;
    until("state = 'idle in transaction'", 1).await;
    until("state = 'idle in transaction'", 0).await;
    abandoned.abort();

    let direct = Postgres::open(&database.service_url().await, LIMITS)
        .await
        .unwrap();
    assert_eq!(people[0].clone().record(&direct).await, at(7, 1));
}

#[track_caller]
fn is_ended_by(error: Error, why: &str) {
    match error {
        Error::Unavailable(source) => {
            let source = source.to_string();
            assert!(source.contains(why), "{source}");
        }
        other => panic!("{other:?}"),
    }
}
