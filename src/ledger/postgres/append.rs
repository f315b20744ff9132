//! Appending on PostgreSQL.
//!
//! An act on one subject is one statement, so one round trip and its own transaction. An act on
//! several, or one that erases, is a transaction of several statements. Both take their row locks in one order: the
//! subjects by (partition, key), then the heads by partition, then the idempotency row. So no two
//! writers can wait for each other, and a head is locked for little more than the commit.

use sqlx::postgres::{PgArguments, PgConnection, PgDatabaseError};
use sqlx::{Connection, Postgres, Row};

use super::super::stored::Stored;
use super::super::{
    Append, Appended, Error, Idempotency, Offset, Part, Partition, Position, Timeline, row,
    sort_error,
};
use super::many::Act;
use super::{code, erasing, moving, rotating, timeline_numbered};
use crate::domain::facts::FOLD_VERSION;
use crate::keys::wrapping::Numbers;

/// Creates a subject ($1 to $8) that must not exist yet, if more is true beside.
macro_rules! create {
    ($also:expr) => {
        concat!(
            "INSERT INTO subject
               (partition, subject_key, business_id, subject_id, version, fold_version, key_id, facts)
             SELECT $1, $2, $3, $4, 1, $5, $6, $7 WHERE $8::bigint = 0",
            $also,
            " ON CONFLICT (partition, subject_key) DO NOTHING RETURNING 1"
        )
    };
}

/// Moves a subject ($1 to $8) on that must be at the expected version. Its key is left alone: only
/// a rotation changes that.
macro_rules! advance {
    ($also:expr) => {
        concat!(
            "UPDATE subject SET version = version + 1, fold_version = $5, facts = $7
             WHERE partition = $1 AND subject_key = $2 AND business_id = $3 AND subject_id = $4
               AND version = $8",
            $also,
            " RETURNING 1"
        )
    };
}

/// Writes an event ($9 to $13) of a subject that the statement in front has written. The head is
/// raised last, so that its lock is held for the commit alone, and nothing is written unless the
/// subject was. A partition without a head leaves the event without an offset, which its table
/// refuses; so does one in which another number ($6) is in use by now.
macro_rules! event_after {
    ($before:expr, $subject:expr, $known:expr) => {
        concat!(
            "WITH ",
            $before,
            "s AS (",
            $subject,
            "),
             h AS (
               UPDATE partition_head SET head = head + 1
               WHERE partition = $1 AND key_id = $6 AND EXISTS (SELECT 1 FROM s) RETURNING head),
             e AS (
               INSERT INTO event
                 (partition, \"offset\", event_id, subject_id, business_id, recorded_at, body)
               SELECT $1, h.head, $9, $4, $3, $10, $11 FROM s LEFT JOIN h ON true),
             a AS (
               INSERT INTO subject_address (subject_id, sealed)
               SELECT $4, $12 FROM h WHERE $12::bytea IS NOT NULL",
            $known,
            "),
             p AS (
               INSERT INTO event_payload (event_id, subject_id, sealed)
               SELECT $9, $4, $13 FROM h WHERE $13::bytea IS NOT NULL)"
        )
    };
}

/// A subject, its event and the idempotency row ($14 to $17) at once; nothing if the key was used, so that a repeat
/// need not be rolled back. Then there is a row without a head.
macro_rules! append_after {
    ($subject:ident, $known:expr) => {
        concat!(
            event_after!(
                "used AS MATERIALIZED (
                   SELECT 1 FROM idempotency
                   WHERE business_id = $3 AND rpc = $14 AND key_hash = $15), ",
                $subject!(" AND NOT EXISTS (SELECT 1 FROM used)"),
                $known
            ),
            ", i AS (
               INSERT INTO idempotency
                 (business_id, rpc, key_hash, content_hash, answer, partition, \"offset\", created_at)
               SELECT $3, $14, $15, $16, $17, $1, head, $10 FROM h WHERE $15::bytea IS NOT NULL)
             SELECT head, left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline FROM h
             UNION ALL SELECT NULL, NULL FROM used"
        )
    };
}

/// The address of a subject that may have one already: the first one stays.
macro_rules! unless_known {
    () => {
        " ON CONFLICT (subject_id) DO NOTHING"
    };
}

/// The id of a new subject is new, so that its address conflicts with none.
const APPEND_FIRST: &str = append_after!(create, "");
const APPEND_NEXT: &str = append_after!(advance, unless_known!());

const SUBJECT_FIRST: &str = create!("");
const SUBJECT_NEXT: &str = advance!("");
const EVENT: &str = concat!(
    event_after!("", "SELECT 1", unless_known!()),
    " SELECT head, left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline FROM h"
);
const IDEMPOTENCY: &str = "INSERT INTO idempotency
     (business_id, rpc, key_hash, content_hash, answer, partition, \"offset\", created_at)
   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

/// What came of it, and in which history it was committed.
pub(super) async fn append(
    connection: &mut PgConnection,
    append: &Append<'_>,
    stored: &Stored,
) -> Result<(Appended, Option<Timeline>), Error> {
    let order = append.in_lock_order()?;
    let numbers = stored.numbers();
    if numbers.current != append.key_id {
        return Ok((Appended::VersionChanged, None));
    }
    let appended = append_all(connection, append, &order, (stored, numbers)).await;
    outcome(connection, appended, (stored, numbers)).await
}

/// The same of an act on one subject.
pub(super) async fn append_act(
    connection: &mut PgConnection,
    act: &Act,
    stored: &Stored,
) -> Result<(Appended, Option<Timeline>), Error> {
    let numbers = stored.numbers();
    if numbers.current != act.key_id {
        return Ok((Appended::VersionChanged, None));
    }
    let appended = match numbers.leaving {
        None => {
            let key = stored.key(act.key, numbers.current)?;
            append_one(connection, act, key).await
        }
        Some(leaving) => append_one_found(connection, act, stored, (numbers, leaving)).await,
    };
    outcome(connection, appended, (stored, numbers)).await
}

async fn append_one_found(
    connection: &mut PgConnection,
    act: &Act,
    stored: &Stored,
    numbers: (Numbers, u16),
) -> Result<Written, Fault> {
    let mut transaction = connection.begin().await?;
    let appended = async {
        moving::lock_to_write(&mut transaction, [act.partition]).await?;
        let at = [(act.partition, act.key)];
        let keys = moving::found(&mut transaction, stored, &at, numbers).await?;
        let [key] = keys[..] else {
            return Ok(Written::VersionChanged);
        };
        append_one(&mut transaction, act, key).await
    };
    let appended = appended.await;
    ended(transaction, appended).await
}

/// What stopped an append: the database, or what was found there.
pub(super) enum Fault {
    Sent(sqlx::Error),
    Found(Error),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sent(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Found(error)
    }
}

async fn outcome(
    connection: &mut PgConnection,
    appended: Result<Written, Fault>,
    (stored, assumed): (&Stored, Numbers),
) -> Result<(Appended, Option<Timeline>), Error> {
    let appended = match appended {
        Ok(committed) => Ok(committed),
        Err(Fault::Sent(error)) => Err(error),
        Err(Fault::Found(error)) => return Err(error),
    };
    match appended {
        Ok(Written::Rows { places, timeline }) => {
            let timeline = timeline_numbered(&timeline)?;
            Ok((Appended::At(places), Some(timeline)))
        }
        Ok(Written::VersionChanged) => Ok((Appended::VersionChanged, None)),
        Ok(Written::KeyUsed) => Ok((Appended::KeyUsed, None)),
        Err(error) if is_used_key(&error) => Ok((Appended::KeyUsed, None)),
        // Refused by the head: another key is in use, or there is no head.
        Err(error) if has_no_offset(&error) => {
            let found = rotating::numbers(connection).await?;
            stored.learn(found);
            match found == assumed {
                true => Err(sort_error(error)),
                false => Ok((Appended::VersionChanged, None)),
            }
        }
        Err(error) => Err(sort_error(error)),
    }
}

/// What was written.
enum Written {
    /// All of it.
    Rows {
        places: Vec<Position>,
        timeline: String,
    },
    /// Nothing: somebody else has moved a subject on.
    VersionChanged,
    /// Nothing: the call was carried out before.
    KeyUsed,
}

/// One statement.
async fn append_one(
    connection: &mut PgConnection,
    act: &Act,
    key: [u8; 16],
) -> Result<Written, Fault> {
    let statement = match act.expected {
        0 => APPEND_FIRST,
        _ => APPEND_NEXT,
    };
    let call = act.call.as_ref();
    let row = sqlx::query(statement)
        .bind(code(act.partition))
        .bind(key.to_vec())
        .bind(&act.business)
        .bind(act.subject_id)
        .bind(FOLD_VERSION)
        .bind(i32::from(act.key_id))
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
    let Some(row) = row else {
        return Ok(Written::VersionChanged);
    };
    let Some(offset) = row.try_get("head")? else {
        return Ok(Written::KeyUsed);
    };
    let (partition, offset) = (act.partition, Offset(offset));
    Ok(Written::Rows {
        places: vec![Position { partition, offset }],
        timeline: row.try_get("timeline")?,
    })
}

/// One transaction.
async fn append_all(
    connection: &mut PgConnection,
    append: &Append<'_>,
    order: &[usize],
    numbers: (&Stored, Numbers),
) -> Result<Written, Fault> {
    let mut transaction = connection.begin().await?;
    let written = write_all(&mut transaction, append, order, numbers).await;
    ended(transaction, written).await
}

async fn ended(
    transaction: sqlx::Transaction<'_, Postgres>,
    written: Result<Written, Fault>,
) -> Result<Written, Fault> {
    match written {
        Ok(written @ Written::Rows { .. }) => {
            transaction.commit().await?;
            Ok(written)
        }
        Ok(nothing @ (Written::VersionChanged | Written::KeyUsed)) => {
            transaction.rollback().await?;
            Ok(nothing)
        }
        Err(error) => {
            // The error that stopped the transaction says more than a failing rollback, after which
            // nothing is committed either.
            let _ = transaction.rollback().await;
            Err(error)
        }
    }
}

/// Under which key each part's subject lies, or is to be created.
async fn keys_of(
    connection: &mut PgConnection,
    parts: &[Part<'_>],
    (stored, numbers): (&Stored, Numbers),
) -> Result<Vec<[u8; 16]>, Fault> {
    let at: Vec<(Partition, [u8; 16])> = parts
        .iter()
        .map(|part| (part.subject.partition, part.subject.key))
        .collect();
    let Some(leaving) = numbers.leaving else {
        let keys = at
            .iter()
            .map(|(_, inner)| stored.key(*inner, numbers.current));
        return Ok(keys.collect::<Result<_, Error>>()?);
    };
    let partitions = at.iter().map(|(partition, _)| *partition);
    moving::lock_to_write(connection, partitions).await?;
    Ok(moving::found(connection, stored, &at, (numbers, leaving)).await?)
}

async fn write_all(
    connection: &mut PgConnection,
    append: &Append<'_>,
    order: &[usize],
    (stored, numbers): (&Stored, Numbers),
) -> Result<Written, Fault> {
    let parts = append.parts;
    let keys = keys_of(connection, parts, (stored, numbers)).await?;
    for index in order {
        let part = &parts[*index];
        let statement = match part.expected.0 {
            0 => SUBJECT_FIRST,
            _ => SUBJECT_NEXT,
        };
        let place = (keys[*index].as_slice(), append.key_id);
        let facts = part.facts.encode();
        let written = bind_subject(sqlx::query(statement), part, place, Some(facts))
            .execute(&mut *connection)
            .await?;
        if written.rows_affected() == 0 {
            return Ok(Written::VersionChanged);
        }
    }
    let mut positions = vec![None; parts.len()];
    let mut timeline = String::new();
    for index in order {
        let part = &parts[*index];
        // The subject is written already: its facts need not travel again.
        let place = (keys[*index].as_slice(), append.key_id);
        let subject = bind_subject(sqlx::query(EVENT), part, place, None);
        let row = bind_event(subject, part)
            .fetch_one(&mut *connection)
            .await?;
        let position = position(part.subject.partition, &row)?;
        if let Some(removal) = part.removal {
            let keys = stored.keys(part.subject.key, numbers)?;
            erasing::erase(connection, part, &keys, (position.offset, removal)).await?;
        }
        positions[*index] = Some(position);
        timeline = row.try_get("timeline")?;
    }
    let places: Vec<Position> = positions.into_iter().flatten().collect();
    if let (Some(idempotency), [part, ..], [place, ..]) = (&append.idempotency, parts, &places[..])
    {
        write_idempotency(connection, idempotency, part, *place).await?;
    }
    Ok(Written::Rows { places, timeline })
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
    part: &'a Part<'a>,
    (key, key_id): (&'a [u8], u16),
    facts: Option<Vec<u8>>,
) -> Bound<'a> {
    let Part { subject, event, .. } = part;
    statement
        .bind(code(subject.partition))
        .bind(key)
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

fn has_no_offset(error: &sqlx::Error) -> bool {
    let database = error.as_database_error();
    let database = database.and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    database.is_some_and(|error| {
        error.code() == "23502"
            && error.table() == Some("event")
            && error.column() == Some("offset")
    })
}

fn is_used_key(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|database| {
        database.is_unique_violation() && database.constraint() == Some("idempotency_pkey")
    })
}
