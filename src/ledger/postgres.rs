//! The ledger on PostgreSQL.
//!
//! Every append is one statement, so one round trip and its own transaction: it moves the subject
//! on if the version is still the expected one, then takes the next offset under the row lock of
//! the partition's head, which is held to the commit. So offsets are dense and in commit order.
//!
//! Until instances keep each other's caches coherent, one instance serves a database: see
//! [`ServingLock`].

use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection, Row};
use uuid::Uuid;

use super::row::{self, Read};
use super::{
    Append, Appended, Error, Idempotency, Ledger, Loaded, Meta, Offset, OpenError, Partition,
    Position, Recorded, Rpc, StoredAnswer, StoredSubject, SubjectRef, SystemRecord, Touch,
    check_schema, sort_error,
};
use crate::domain::facts::FOLD_VERSION;
use crate::domain::id::{BusinessId, SubjectId};
use crate::domain::time::Timestamp;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Key of the advisory lock that a serving instance holds ("consentg" in ASCII).
const SERVING_LOCK: i64 = 0x636f_6e73_656e_7467;

/// After how long a silence the server takes the lock from its holder. One that was cut off without
/// a word would keep it, also from itself, for as long as the server believes in the connection,
/// which may be hours.
const SILENCE: &str = "5s";

/// A ledger in PostgreSQL.
#[derive(Debug)]
pub struct Postgres {
    pool: PgPool,
}

/// How to connect.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub max_connections: u32,
    pub acquire_timeout: Duration,
    pub statement_timeout: Duration,
}

impl Postgres {
    /// Connects, and refuses a schema that is not this binary's.
    pub async fn open(url: &str, limits: Limits) -> Result<Self, OpenError> {
        let options = connect_options(url, limits)?;
        let pool = PgPoolOptions::new()
            .max_connections(limits.max_connections)
            .min_connections(1)
            .acquire_timeout(limits.acquire_timeout)
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .map_err(OpenError::Open)?;
        let mut connection = pool.acquire().await.map_err(OpenError::Open)?;
        let found = schema_version(&mut connection).await?;
        check_schema(found, &MIGRATIONS)?;
        drop(connection);
        Ok(Self { pool })
    }

    async fn refold(&self, read: Read) -> Result<super::Subject, Error> {
        match read {
            Read::Current(subject) => Ok(subject),
            Read::Stale {
                subject_id,
                version,
            } => {
                let limit = u32::try_from(version.0).unwrap_or(u32::MAX);
                let history = self.history(subject_id, Offset(0), limit).await?;
                row::refold(subject_id, version, &history)
            }
        }
    }
}

/// Brings the schema up to date. A schema newer than this binary is refused.
pub async fn migrate(url: &str, limits: Limits) -> Result<(), OpenError> {
    // A migration may take longer than a statement of the service may.
    let options = PgConnectOptions::from_str(url).map_err(OpenError::Open)?;
    let mut connection = tokio::time::timeout(
        limits.acquire_timeout.max(Duration::from_secs(5)),
        PgConnection::connect_with(&options),
    )
    .await
    .map_err(|_| OpenError::Open(sqlx::Error::PoolTimedOut))?
    .map_err(OpenError::Open)?;
    let known = MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0);
    match schema_version(&mut connection).await? {
        Some(found) if found > known => Err(OpenError::Newer { found, known }),
        _ => {
            MIGRATIONS
                .run(&mut connection)
                .await
                .map_err(OpenError::Migrate)?;
            connection.close().await.map_err(OpenError::Open)
        }
    }
}

fn connect_options(url: &str, limits: Limits) -> Result<PgConnectOptions, OpenError> {
    let timeout = format!("{}ms", limits.statement_timeout.as_millis());
    Ok(PgConnectOptions::from_str(url)
        .map_err(OpenError::Open)?
        .application_name("consentgate")
        .options([
            ("statement_timeout", timeout.as_str()),
            ("lock_timeout", timeout.as_str()),
            ("idle_in_transaction_session_timeout", timeout.as_str()),
        ]))
}

async fn schema_version(connection: &mut PgConnection) -> Result<Option<i64>, OpenError> {
    let table: Option<String> = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations')::text")
        .fetch_one(&mut *connection)
        .await
        .map_err(OpenError::Open)?;
    if table.is_none() {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
        .fetch_one(connection)
        .await
        .map_err(OpenError::Open)
}

/// The right to serve a database, held by an advisory lock on a connection of its own.
///
/// The lock is gone when the connection is, so its holder must ask for it again and again and stop
/// answering from memory when it cannot. Who leaves without a word (killed, cut off) may believe in
/// its right for a moment longer: see [`Predecessor`].
#[derive(Debug)]
pub struct ServingLock {
    connection: PgConnection,
}

/// Who held the right to serve before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predecessor {
    /// Nobody, or one who gave it up: nothing is answered from memory any more.
    Released,
    /// This instance itself, and nobody since.
    Own,
    /// Another one, which did not give it up: wait until it must have noticed.
    Vanished,
}

impl ServingLock {
    /// Takes the right for `instance`, or says that somebody else has it.
    pub async fn take(
        url: &str,
        limits: Limits,
        instance: Uuid,
    ) -> Result<(Self, Predecessor), OpenError> {
        let options = connect_options(url, limits)?;
        let mut connection = PgConnection::connect_with(&options)
            .await
            .map_err(OpenError::Open)?;
        let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(SERVING_LOCK)
            .fetch_one(&mut connection)
            .await
            .map_err(OpenError::Open)?;
        if !taken {
            return Err(OpenError::Locked(
                "another instance serves this PostgreSQL database".into(),
            ));
        }
        let before: Option<String> =
            sqlx::query_scalar("SELECT value FROM ledger_meta WHERE name = 'serving'")
                .fetch_optional(&mut connection)
                .await
                .map_err(OpenError::Open)?;
        let predecessor = match before {
            None => Predecessor::Released,
            Some(before) if before == instance.to_string() => Predecessor::Own,
            Some(_) => Predecessor::Vanished,
        };
        Ok((Self { connection }, predecessor))
    }

    /// Notes who holds the right now. Only after a vanished predecessor was waited out: whoever is
    /// cut off while it waits still owes the wait. From here on the holder must ask for its lock
    /// within [`SILENCE`] again and again.
    pub async fn claim(&mut self, instance: Uuid) -> Result<(), Error> {
        // PostgreSQL 14 and later.
        sqlx::query(
            "SELECT set_config('idle_session_timeout', $1, false)
             WHERE current_setting('server_version_num')::integer >= 140000",
        )
        .bind(SILENCE)
        .execute(&mut self.connection)
        .await
        .map_err(sort_error)?;
        sqlx::query(
            "INSERT INTO ledger_meta (name, value) VALUES ('serving', $1)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(instance.to_string())
        .execute(&mut self.connection)
        .await
        .map_err(sort_error)?;
        Ok(())
    }

    /// Whether the lock is still held. Any error means that it must be taken for lost.
    pub async fn holds(&mut self) -> Result<bool, Error> {
        let (high, low) = (SERVING_LOCK >> 32, SERVING_LOCK & 0xffff_ffff);
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted
               AND pid = pg_backend_pid() AND classid = $1::bigint::oid AND objid = $2::bigint::oid)",
        )
        .bind(high)
        .bind(low)
        .fetch_one(&mut self.connection)
        .await
        .map_err(sort_error)
    }

    /// Gives the right up, so that the next one need not wait.
    pub async fn release(mut self) -> Result<(), Error> {
        sqlx::query("DELETE FROM ledger_meta WHERE name = 'serving'")
            .execute(&mut self.connection)
            .await
            .map_err(sort_error)?;
        self.connection.close().await.map_err(sort_error)
    }
}

#[async_trait]
impl Ledger for Postgres {
    async fn facts(&self, subjects: &[SubjectRef]) -> Result<Vec<Loaded>, Error> {
        let partitions: Vec<i16> = subjects
            .iter()
            .map(|subject| code(subject.partition))
            .collect();
        let keys: Vec<&[u8]> = subjects
            .iter()
            .map(|subject| subject.key.as_slice())
            .collect();
        let rows = sqlx::query(
            "SELECT h.head, s.business_id, s.subject_id, s.version,
               s.fold_version::bigint AS fold_version, s.facts
             FROM unnest($1::smallint[], $2::bytea[]) WITH ORDINALITY AS a (partition, subject_key, n)
             LEFT JOIN partition_head AS h ON h.partition = a.partition
             LEFT JOIN subject AS s
               ON s.partition = a.partition AND s.subject_key = a.subject_key
             ORDER BY a.n",
        )
        .bind(partitions)
        .bind(keys)
        .fetch_all(&self.pool)
        .await
        .map_err(sort_error)?;
        let mut loaded = Vec::with_capacity(rows.len());
        for (row, asked) in rows.iter().zip(subjects) {
            let (as_of, read) = row::loaded(row, asked)?;
            let subject = match read {
                None => None,
                Some(read) => Some(self.refold(read).await?),
            };
            loaded.push(Loaded { subject, as_of });
        }
        Ok(loaded)
    }

    async fn append(&self, append: &Append<'_>) -> Result<Appended, Error> {
        let partition = append.subject.partition;
        match append_statement(append).fetch_optional(&self.pool).await {
            Ok(Some(row)) => {
                let offset = Offset(row.try_get("head").map_err(sort_error)?);
                Ok(Appended::At(Position { partition, offset }))
            }
            Ok(None) => Ok(Appended::VersionChanged),
            Err(error) if is_used_key(&error) => Ok(Appended::KeyUsed),
            Err(error) => Err(sort_error(error)),
        }
    }

    async fn answer(
        &self,
        business: &BusinessId,
        rpc: Rpc,
        key_hash: &[u8; 16],
        touch: Touch,
    ) -> Result<Option<StoredAnswer>, Error> {
        let statement = match touch {
            Touch::Yes => {
                "UPDATE idempotency SET repeats = repeats + 1
                 WHERE business_id = $1 AND rpc = $2 AND key_hash = $3
                 RETURNING content_hash, answer, partition::bigint AS partition, \"offset\""
            }
            Touch::No => {
                "SELECT content_hash, answer, partition::bigint AS partition, \"offset\" FROM idempotency
                 WHERE business_id = $1 AND rpc = $2 AND key_hash = $3"
            }
        };
        let row = sqlx::query(statement)
            .bind(business.as_str())
            .bind(rpc.code())
            .bind(key_hash.as_slice())
            .fetch_optional(&self.pool)
            .await
            .map_err(sort_error)?;
        row.map(|row| row::answer(&row, business, rpc, key_hash))
            .transpose()
    }

    async fn forget_answers(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let done = sqlx::query(
            "DELETE FROM idempotency WHERE ctid = ANY (ARRAY
               (SELECT ctid FROM idempotency WHERE created_at < $1 LIMIT $2))",
        )
        .bind(before.as_micros())
        .bind(i64::from(limit))
        .execute(&self.pool)
        .await
        .map_err(sort_error)?;
        Ok(done.rows_affected())
    }

    async fn history(
        &self,
        subject: SubjectId,
        after: Offset,
        limit: u32,
    ) -> Result<Vec<Recorded>, Error> {
        sqlx::query(
            "SELECT e.partition::bigint AS partition, e.\"offset\", e.event_id, e.subject_id,
               e.business_id, e.recorded_at, e.body, p.sealed
             FROM event AS e
             LEFT JOIN event_payload AS p
               ON p.subject_id = e.subject_id AND p.event_id = e.event_id
             WHERE e.subject_id = $1 AND e.\"offset\" > $2 ORDER BY e.\"offset\" LIMIT $3",
        )
        .bind(subject.0)
        .bind(after.0)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(sort_error)?
        .iter()
        .map(row::recorded)
        .collect()
    }

    async fn changes_after(&self, after: Position, limit: u32) -> Result<Vec<Recorded>, Error> {
        sqlx::query(
            "SELECT partition::bigint AS partition, \"offset\", event_id, subject_id, business_id,
               recorded_at, body, NULL::bytea AS sealed
             FROM event WHERE partition = $1 AND \"offset\" > $2 ORDER BY \"offset\" LIMIT $3",
        )
        .bind(code(after.partition))
        .bind(after.offset.0)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(sort_error)?
        .iter()
        .map(row::recorded)
        .collect()
    }

    async fn heads(&self) -> Result<Vec<Position>, Error> {
        sqlx::query("SELECT partition::bigint AS partition, head FROM partition_head AS h ORDER BY h.partition")
            .fetch_all(&self.pool)
            .await
            .map_err(sort_error)?
            .iter()
            .map(row::head)
            .collect()
    }

    async fn subjects_after(
        &self,
        partition: Partition,
        after: Option<[u8; 16]>,
        limit: u32,
    ) -> Result<Vec<StoredSubject>, Error> {
        sqlx::query(
            "SELECT subject_key, subject_id, version, fold_version::bigint AS fold_version, facts
             FROM subject
             WHERE partition = $1 AND subject_key > $2 ORDER BY subject_key LIMIT $3",
        )
        .bind(code(partition))
        .bind(after.map_or_else(Vec::new, |key| key.to_vec()))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(sort_error)?
        .iter()
        .map(row::stored_subject)
        .collect()
    }

    async fn address(&self, subject: SubjectId) -> Result<Option<Vec<u8>>, Error> {
        sqlx::query_scalar("SELECT sealed FROM subject_address WHERE subject_id = $1")
            .bind(subject.0)
            .fetch_optional(&self.pool)
            .await
            .map_err(sort_error)
    }

    async fn system_after(&self, after: Offset, limit: u32) -> Result<Vec<SystemRecord>, Error> {
        sqlx::query(
            "SELECT \"offset\", recorded_at, body FROM system_event
             WHERE \"offset\" > $1 ORDER BY \"offset\" LIMIT $2",
        )
        .bind(after.0)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(sort_error)?
        .iter()
        .map(row::system_record)
        .collect()
    }

    async fn append_system(
        &self,
        expected: Offset,
        recorded_at: Timestamp,
        body: &str,
    ) -> Result<Option<Offset>, Error> {
        let row = sqlx::query(
            "WITH h AS (
               UPDATE partition_head SET head = head + 1
               WHERE partition = 0 AND head = $1 RETURNING head),
             e AS (
               INSERT INTO system_event (\"offset\", recorded_at, body)
               SELECT head, $2, $3 FROM h)
             SELECT head FROM h",
        )
        .bind(expected.0)
        .bind(recorded_at.as_micros())
        .bind(body)
        .fetch_optional(&self.pool)
        .await
        .map_err(sort_error)?;
        row.map(|row| row.try_get("head").map(Offset).map_err(sort_error))
            .transpose()
    }

    async fn meta(&self) -> Result<Meta, Error> {
        let rows = sqlx::query("SELECT name, value FROM ledger_meta")
            .fetch_all(&self.pool)
            .await
            .map_err(sort_error)?;
        row::meta(&rows)
    }

    async fn set_key_check(&self, value: &str) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO ledger_meta (name, value) VALUES ('key_check', $1)
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(value)
        .execute(&self.pool)
        .await
        .map_err(sort_error)?;
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1")
            .execute(&self.pool)
            .await
            .map_err(sort_error)?;
        Ok(())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// The part that both appends share: the head is raised last, so that its lock is held for the
/// commit alone, and nothing is written unless the subject (`s`) was. A partition without a head
/// leaves the event without an offset, which its table refuses.
macro_rules! append_after {
    ($subject:literal) => {
        concat!(
            "WITH s AS (",
            $subject,
            " RETURNING 1),
             h AS (
               UPDATE partition_head SET head = head + 1
               WHERE partition = $1 AND EXISTS (SELECT 1 FROM s) RETURNING head),
             e AS (
               INSERT INTO event
                 (partition, \"offset\", event_id, subject_id, business_id, recorded_at, body)
               SELECT $1, h.head, $9, $4, $3, $10, $11 FROM s LEFT JOIN h ON true),
             a AS (
               INSERT INTO subject_address (subject_id, sealed) SELECT $4, $12 FROM h
               ON CONFLICT (subject_id) DO NOTHING),
             p AS (
               INSERT INTO event_payload (event_id, subject_id, sealed)
               SELECT $9, $4, $13 FROM h WHERE $13::bytea IS NOT NULL),
             i AS (
               INSERT INTO idempotency
                 (business_id, rpc, key_hash, content_hash, answer, partition, \"offset\", created_at)
               SELECT $3, $14, $15, $16, $17, $1, head, $10 FROM h WHERE $15::bytea IS NOT NULL)
             SELECT head FROM h"
        )
    };
}

/// Creates a subject that must not exist yet.
const APPEND_FIRST: &str = append_after!(
    "INSERT INTO subject
       (partition, subject_key, business_id, subject_id, version, fold_version, key_id, facts)
     SELECT $1, $2, $3, $4, 1, $5, $6, $7 WHERE $8::bigint = 0
     ON CONFLICT (partition, subject_key) DO NOTHING"
);

/// Moves a subject on that must be at the expected version. Its key is left alone: only a rotation
/// changes that.
const APPEND_NEXT: &str = append_after!(
    "UPDATE subject SET version = version + 1, fold_version = $5, facts = $7
     WHERE partition = $1 AND subject_key = $2 AND business_id = $3 AND subject_id = $4
       AND version = $8 AND $6::integer IS NOT NULL"
);

type Bound<'a> = sqlx::query::Query<'a, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn append_statement<'a>(append: &'a Append<'a>) -> Bound<'a> {
    let Append {
        subject,
        event,
        idempotency,
        ..
    } = append;
    let statement = if append.expected.0 == 0 {
        APPEND_FIRST
    } else {
        APPEND_NEXT
    };
    let idempotency: Option<&Idempotency<'a>> = idempotency.as_ref();
    sqlx::query(statement)
        .bind(code(subject.partition))
        .bind(subject.key.as_slice())
        .bind(subject.business.as_str())
        .bind(event.subject_id.0)
        .bind(FOLD_VERSION)
        .bind(i32::from(append.key_id))
        .bind(append.facts.encode())
        .bind(append.expected.0)
        .bind(event.event_id.0)
        .bind(event.recorded_at.as_micros())
        .bind(row::body(event))
        .bind(append.address)
        .bind(append.payload)
        .bind(idempotency.map(|i| i.rpc.code()))
        .bind(idempotency.map(|i| i.key_hash.to_vec()))
        .bind(idempotency.map(|i| i.content_hash.to_vec()))
        .bind(idempotency.map(|i| i.answer))
}

fn is_used_key(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|database| {
        database.is_unique_violation() && database.constraint() == Some("idempotency_pkey")
    })
}

fn code(partition: Partition) -> i16 {
    i16::try_from(partition.0).expect("partitions are few")
}
