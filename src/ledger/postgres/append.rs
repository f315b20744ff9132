//! Appending on PostgreSQL.
//!
//! An act on one subject is one statement, so one round trip and its own transaction. An act on
//! several, or one that erases, is a transaction of several statements. Both take their row locks in one order: the
//! subjects by (partition, key), then the heads by partition, then the idempotency row. So no two
//! writers can wait for each other, and a head is locked for little more than the commit.

use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{Connection, Postgres, Row};

use super::super::{
    Append, Appended, Error, Idempotency, Offset, Part, Partition, Position, Timeline, row,
    sort_error,
};
use super::erasing;
use super::many::Act;
use super::{code, timeline_numbered};
use crate::domain::facts::FOLD_VERSION;

/// Creates a subject ($1 to $8) that must not exist yet.
macro_rules! create {
    () => {
        "INSERT INTO subject
           (partition, subject_key, business_id, subject_id, version, fold_version, key_id, facts)
         SELECT $1, $2, $3, $4, 1, $5, $6, $7 WHERE $8::bigint = 0
         ON CONFLICT (partition, subject_key) DO NOTHING RETURNING 1"
    };
}

/// Moves a subject ($1 to $8) on that must be at the expected version. Its key is left alone: only
/// a rotation changes that.
macro_rules! advance {
    () => {
        "UPDATE subject SET version = version + 1, fold_version = $5, facts = $7
         WHERE partition = $1 AND subject_key = $2 AND business_id = $3 AND subject_id = $4
           AND version = $8 RETURNING 1"
    };
}

/// Writes an event ($9 to $13) of a subject that the statement in front has written. The head is
/// raised last, so that its lock is held for the commit alone, and nothing is written unless the
/// subject was. A partition without a head leaves the event without an offset, which its table
/// refuses.
macro_rules! event_after {
    ($subject:expr) => {
        concat!(
            "WITH s AS (",
            $subject,
            "),
             h AS (
               UPDATE partition_head SET head = head + 1
               WHERE partition = $1 AND EXISTS (SELECT 1 FROM s) RETURNING head),
             e AS (
               INSERT INTO event
                 (partition, \"offset\", event_id, subject_id, business_id, recorded_at, body)
               SELECT $1, h.head, $9, $4, $3, $10, $11 FROM s LEFT JOIN h ON true),
             a AS (
               INSERT INTO subject_address (subject_id, sealed)
               SELECT $4, $12 FROM h WHERE $12::bytea IS NOT NULL
               ON CONFLICT (subject_id) DO NOTHING),
             p AS (
               INSERT INTO event_payload (event_id, subject_id, sealed)
               SELECT $9, $4, $13 FROM h WHERE $13::bytea IS NOT NULL)"
        )
    };
}

/// A subject, its event and the idempotency row ($14 to $17) at once.
macro_rules! append_after {
    ($subject:expr) => {
        concat!(
            event_after!($subject),
            ", i AS (
               INSERT INTO idempotency
                 (business_id, rpc, key_hash, content_hash, answer, partition, \"offset\", created_at)
               SELECT $3, $14, $15, $16, $17, $1, head, $10 FROM h WHERE $15::bytea IS NOT NULL)
             SELECT head, left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline FROM h"
        )
    };
}

const APPEND_FIRST: &str = append_after!(create!());
const APPEND_NEXT: &str = append_after!(advance!());

const SUBJECT_FIRST: &str = create!();
const SUBJECT_NEXT: &str = advance!();
const EVENT: &str = concat!(
    event_after!("SELECT 1"),
    " SELECT head, left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline FROM h"
);
const IDEMPOTENCY: &str = "INSERT INTO idempotency
     (business_id, rpc, key_hash, content_hash, answer, partition, \"offset\", created_at)
   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

/// What came of it, and in which history it was committed.
pub(super) async fn append(
    connection: &mut PgConnection,
    append: &Append<'_>,
) -> Result<(Appended, Option<Timeline>), Error> {
    let order = append.in_lock_order()?;
    outcome(append_all(connection, append, &order).await)
}

/// The same of an act on one subject.
pub(super) async fn append_act(
    connection: &mut PgConnection,
    act: &Act,
) -> Result<(Appended, Option<Timeline>), Error> {
    outcome(append_one(connection, act).await)
}

fn outcome(
    appended: Result<Option<Committed>, sqlx::Error>,
) -> Result<(Appended, Option<Timeline>), Error> {
    match appended {
        Ok(Some(Committed { places, timeline })) => {
            let timeline = timeline_numbered(&timeline)?;
            Ok((Appended::At(places), Some(timeline)))
        }
        Ok(None) => Ok((Appended::VersionChanged, None)),
        Err(error) if is_used_key(&error) => Ok((Appended::KeyUsed, None)),
        Err(error) => Err(sort_error(error)),
    }
}

struct Committed {
    places: Vec<Position>,
    timeline: String,
}

/// One statement. `None`: the version has changed.
async fn append_one(
    connection: &mut PgConnection,
    act: &Act,
) -> Result<Option<Committed>, sqlx::Error> {
    let statement = match act.expected {
        0 => APPEND_FIRST,
        _ => APPEND_NEXT,
    };
    let call = act.call.as_ref();
    let row = sqlx::query(statement)
        .bind(code(act.partition))
        .bind(act.key.as_slice())
        .bind(&act.business)
        .bind(act.subject_id)
        .bind(FOLD_VERSION)
        .bind(act.key_id)
        .bind(&act.facts)
        .bind(act.expected)
        .bind(act.event_id)
        .bind(act.recorded_at)
        .bind(&act.body)
        .bind(&act.address)
        .bind(&act.payload)
        .bind(call.map(|call| call.rpc))
        .bind(call.map(|call| call.key_hash.as_slice()))
        .bind(call.map(|call| call.content_hash.as_slice()))
        .bind(call.map(|call| call.answer.as_str()))
        .fetch_optional(connection)
        .await?;
    row.map(|row| {
        Ok(Committed {
            places: vec![position(act.partition, &row)?],
            timeline: row.try_get("timeline")?,
        })
    })
    .transpose()
}

/// One transaction. `None`: a version has changed, and nothing is written.
async fn append_all(
    connection: &mut PgConnection,
    append: &Append<'_>,
    order: &[usize],
) -> Result<Option<Committed>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    match write_all(&mut transaction, append, order).await {
        Ok(Some(committed)) => {
            transaction.commit().await?;
            Ok(Some(committed))
        }
        Ok(None) => {
            transaction.rollback().await?;
            Ok(None)
        }
        Err(error) => {
            // The error that stopped the transaction says more than a failing rollback, after which
            // nothing is committed either.
            let _ = transaction.rollback().await;
            Err(error)
        }
    }
}

async fn write_all(
    connection: &mut PgConnection,
    append: &Append<'_>,
    order: &[usize],
) -> Result<Option<Committed>, sqlx::Error> {
    let parts = append.parts;
    for part in order.iter().map(|index| &parts[*index]) {
        let statement = match part.expected.0 {
            0 => SUBJECT_FIRST,
            _ => SUBJECT_NEXT,
        };
        let facts = part.facts.encode();
        let written = bind_subject(sqlx::query(statement), part, append.key_id, Some(facts))
            .execute(&mut *connection)
            .await?;
        if written.rows_affected() == 0 {
            return Ok(None);
        }
    }
    let mut positions = vec![None; parts.len()];
    let mut timeline = String::new();
    for index in order {
        let part = &parts[*index];
        // The subject is written already: its facts need not travel again.
        let subject = bind_subject(sqlx::query(EVENT), part, append.key_id, None);
        let row = bind_event(subject, part)
            .fetch_one(&mut *connection)
            .await?;
        let position = position(part.subject.partition, &row)?;
        if let Some(removal) = part.removal {
            erasing::erase(connection, part, position.offset, removal).await?;
        }
        positions[*index] = Some(position);
        timeline = row.try_get("timeline")?;
    }
    let places: Vec<Position> = positions.into_iter().flatten().collect();
    if let (Some(idempotency), [part, ..], [place, ..]) = (&append.idempotency, parts, &places[..])
    {
        write_idempotency(connection, idempotency, part, *place).await?;
    }
    Ok(Some(Committed { places, timeline }))
}

async fn write_idempotency(
    connection: &mut PgConnection,
    idempotency: &Idempotency<'_>,
    part: &Part<'_>,
    place: Position,
) -> Result<(), sqlx::Error> {
    sqlx::query(IDEMPOTENCY)
        .bind(part.subject.business.as_str())
        .bind(idempotency.rpc.code())
        .bind(idempotency.key_hash.as_slice())
        .bind(idempotency.content_hash.as_slice())
        .bind(idempotency.answer)
        .bind(code(place.partition))
        .bind(place.offset.0)
        .bind(part.event.recorded_at.as_micros())
        .execute(connection)
        .await?;
    Ok(())
}

type Bound<'a> = sqlx::query::Query<'a, Postgres, PgArguments>;

/// Binds $1 to $8.
fn bind_subject<'a>(
    statement: Bound<'a>,
    part: &Part<'a>,
    key_id: u16,
    facts: Option<Vec<u8>>,
) -> Bound<'a> {
    let Part { subject, event, .. } = part;
    statement
        .bind(code(subject.partition))
        .bind(subject.key.as_slice())
        .bind(subject.business.as_str())
        .bind(event.subject_id.0)
        .bind(FOLD_VERSION)
        .bind(i32::from(key_id))
        .bind(facts)
        .bind(part.expected.0)
}

/// Binds $9 to $13.
fn bind_event<'a>(statement: Bound<'a>, part: &Part<'a>) -> Bound<'a> {
    let event = part.event;
    statement
        .bind(event.event_id.0)
        .bind(event.recorded_at.as_micros())
        .bind(row::body(event))
        .bind(part.address)
        .bind(part.payload)
}

fn position(partition: Partition, row: &sqlx::postgres::PgRow) -> Result<Position, sqlx::Error> {
    let offset = Offset(row.try_get("head")?);
    Ok(Position { partition, offset })
}

fn is_used_key(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|database| {
        database.is_unique_violation() && database.constraint() == Some("idempotency_pkey")
    })
}
