//! The ledger on SQLite: one file, one process, nothing to install.
//!
//! One connection writes, several read. `synchronous = FULL`, so that what was acknowledged
//! survives a power cut. A lock file beside the database keeps a second process out; the system
//! releases it when the process dies.

mod activity;
mod append;
mod erasing;
mod lock;
mod rotating;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::HEXUPPER;
use sqlx::Connection;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};

use super::{
    Append, Appended, Error, History, Ledger, Loaded, Meta, Offset, OpenError, Partition, Position,
    Recorded, Rpc, StoredAnswer, StoredSubject, Subject, SubjectRef, SystemRecord, Touch,
    check_schema, row, sort_error,
    stored::{self, ATTEMPTS, Stored},
};
use crate::domain::id::{BusinessId, SubjectId};
use crate::domain::time::Timestamp;
use crate::keys::wrapping::Wrapping;
pub use lock::lock_path;
use lock::{real_path, wait_for_lock};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// How long a statement waits for another process's lock (a backup, say) before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that read, beside the one that writes.
pub const READERS: u32 = 4;

/// A ledger in one SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
    history: History,
    stored: Stored,
    /// Held as long as the ledger is open: the lock file, and the database file itself.
    _locks: [File; 2],
}

/// Whether opening may create the file and bring its schema up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrate {
    Yes,
    No,
}

impl Sqlite {
    /// Opens a database file and takes its lock. With [`Migrate::Yes`] a missing file is created. Finds nobody
    /// in a ledger whose keys were rotated.
    pub async fn open(
        path: &Path,
        migrate: Migrate,
        acquire_timeout: Duration,
    ) -> Result<Self, OpenError> {
        Self::open_with(path, migrate, acquire_timeout, Arc::default()).await
    }

    /// As [`Sqlite::open`], with what stored keys are wrapped with.
    pub async fn open_with(
        path: &Path,
        migrate: Migrate,
        acquire_timeout: Duration,
        wrapping: Arc<Wrapping>,
    ) -> Result<Self, OpenError> {
        let path = &real_path(path, migrate).map_err(|error| OpenError::Open(error.into()))?;
        let locks = [
            wait_for_lock(&lock_path(path)).await?,
            wait_for_lock(path).await?,
        ];
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(migrate == Migrate::Yes)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .min_connections(1)
                .acquire_timeout(acquire_timeout)
                .test_before_acquire(false)
                // SQLite ends a transaction by itself when it fails for want of room; the driver
                // does not notice and would refuse to begin another one for ever.
                .before_acquire(|connection, _| {
                    Box::pin(async move { Ok(!connection.is_in_transaction()) })
                })
        };
        let writer = pool(1)
            .connect_with(options.clone())
            .await
            .map_err(OpenError::Open)?;
        let found = schema_version(&writer).await?;
        match migrate {
            Migrate::Yes => {
                let known = MIGRATIONS
                    .iter()
                    .map(|migration| migration.version)
                    .max()
                    .unwrap_or(0);
                if let Some(found) = found.filter(|found| *found > known) {
                    return Err(OpenError::Newer { found, known });
                }
                MIGRATIONS.run(&writer).await.map_err(OpenError::Migrate)?;
            }
            Migrate::No => check_schema(found, &MIGRATIONS)?,
        }
        let readers = pool(READERS)
            .connect_with(options.read_only(true))
            .await
            .map_err(OpenError::Open)?;
        let stored = Stored::new(wrapping);
        stored.learn(rotating::numbers(&readers).await?);
        Ok(Self {
            writer,
            readers,
            history: History::only(),
            stored,
            _locks: locks,
        })
    }
}

async fn schema_version(pool: &SqlitePool) -> Result<Option<i64>, OpenError> {
    let exists: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'",
    )
    .fetch_one(pool)
    .await
    .map_err(OpenError::Open)?;
    if exists == 0 {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
        .fetch_one(pool)
        .await
        .map_err(OpenError::Open)
}

#[async_trait]
impl Ledger for Sqlite {
    async fn facts(&self, subjects: &[SubjectRef]) -> Result<Vec<Loaded>, Error> {
        for _ in 0..ATTEMPTS {
            let numbers = self.stored.numbers();
            let asked = self.stored.asked(subjects, numbers)?;
            let rows = self.rows_of(&asked).await?;
            if !self.stored.still(numbers, &rows)? {
                continue;
            }
            let mut loaded = Vec::with_capacity(subjects.len());
            for (index, subject) in subjects.iter().enumerate() {
                let (as_of, read) = row::loaded(&rows[index], subject)?;
                let before = rows.get(subjects.len() + index);
                let before = before.map(|row| row::loaded(row, subject)).transpose()?;
                let before = before.and_then(|(_, read)| read);
                let subject = match Stored::one(subject, read, before)? {
                    None => None,
                    Some(read) => Some(row::refolded(self, read).await?),
                };
                loaded.push(Loaded { subject, as_of });
            }
            return Ok(loaded);
        }
        Err(stored::restless())
    }

    async fn find(&self, subject: SubjectId) -> Result<Option<(SubjectRef, Subject)>, Error> {
        let row = sqlx::query(
            "SELECT partition, subject_key, key_id, business_id, subject_id, version,
               fold_version, facts
             FROM subject WHERE subject_id = ?1",
        )
        .bind(subject.0)
        .fetch_optional(&self.readers)
        .await
        .map_err(sort_error)?;
        let Some(row) = row else { return Ok(None) };
        let (place, read) = row::found(&row, subject, &self.stored)?;
        Ok(Some((place, row::refolded(self, read).await?)))
    }

    async fn append(&self, append: &Append<'_>) -> Result<Appended, Error> {
        append::append(&self.writer, append, &self.stored).await
    }

    async fn append_many(&self, appends: &[Append<'_>]) -> Vec<Result<Appended, Error>> {
        append::append_many(&self.writer, appends, &self.stored).await
    }

    async fn answer(
        &self,
        business: &BusinessId,
        rpc: Rpc,
        key_hash: &[u8; 16],
        touch: Touch,
    ) -> Result<Option<StoredAnswer>, Error> {
        let row = sqlx::query(
            "SELECT content_hash, answer, partition, \"offset\" FROM idempotency
             WHERE business_id = ?1 AND rpc = ?2 AND key_hash = ?3",
        )
        .bind(business.as_str())
        .bind(rpc.code())
        .bind(key_hash.as_slice())
        .fetch_optional(&self.readers)
        .await
        .map_err(sort_error)?;
        if row.is_some() && touch == Touch::Yes {
            // A transaction of its own rather than RETURNING: a row may be handed over before the
            // statement that wrote it has ended.
            let mut transaction = self
                .writer
                .begin_with("BEGIN IMMEDIATE")
                .await
                .map_err(sort_error)?;
            sqlx::query(
                "UPDATE idempotency SET repeats = repeats + 1
                 WHERE business_id = ?1 AND rpc = ?2 AND key_hash = ?3",
            )
            .bind(business.as_str())
            .bind(rpc.code())
            .bind(key_hash.as_slice())
            .execute(&mut *transaction)
            .await
            .map_err(sort_error)?;
            transaction.commit().await.map_err(sort_error)?;
        }
        row.map(|row| row::answer(&row, business, rpc, key_hash))
            .transpose()
    }

    async fn forget_answers(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let done = sqlx::query(
            "DELETE FROM idempotency WHERE (business_id, rpc, key_hash) IN
               (SELECT business_id, rpc, key_hash FROM idempotency WHERE created_at < ?1 LIMIT ?2)",
        )
        .bind(before.as_micros())
        .bind(limit)
        .execute(&self.writer)
        .await
        .map_err(sort_error)?;
        Ok(done.rows_affected())
    }

    async fn carry_out_erasures(&self, now: Timestamp, limit: u32) -> Result<u64, Error> {
        erasing::carry_out(&self.writer, now, limit).await
    }

    async fn history(
        &self,
        subject: SubjectId,
        after: Offset,
        limit: u32,
    ) -> Result<Vec<Recorded>, Error> {
        sqlx::query(
            "SELECT e.partition, e.\"offset\", e.event_id, e.subject_id, e.business_id, e.recorded_at,
               e.body, p.sealed
             FROM event AS e
             LEFT JOIN event_payload AS p
               ON p.subject_id = e.subject_id AND p.event_id = e.event_id
             WHERE e.subject_id = ?1 AND e.\"offset\" > ?2 ORDER BY e.\"offset\" LIMIT ?3",
        )
        .bind(subject.0)
        .bind(after.0)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(sort_error)?
        .iter()
        .map(row::recorded)
        .collect()
    }

    async fn changes_after(&self, after: Position, limit: u32) -> Result<Vec<Recorded>, Error> {
        sqlx::query(
            "SELECT partition, \"offset\", event_id, subject_id, business_id, recorded_at, body,
               NULL AS sealed
             FROM event WHERE partition = ?1 AND \"offset\" > ?2 ORDER BY \"offset\" LIMIT ?3",
        )
        .bind(after.partition.0)
        .bind(after.offset.0)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(sort_error)?
        .iter()
        .map(row::recorded)
        .collect()
    }

    async fn heads(&self) -> Result<Vec<Position>, Error> {
        sqlx::query("SELECT partition, head FROM partition_head ORDER BY partition")
            .fetch_all(&self.readers)
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
            "SELECT subject_key, subject_id, version, fold_version, facts FROM subject
             WHERE partition = ?1 AND subject_key > ?2 ORDER BY subject_key LIMIT ?3",
        )
        .bind(partition.0)
        .bind(after.map_or_else(Vec::new, |key| key.to_vec()))
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(sort_error)?
        .iter()
        .map(row::stored_subject)
        .collect()
    }

    async fn address(&self, subject: SubjectId) -> Result<Option<Vec<u8>>, Error> {
        sqlx::query_scalar("SELECT sealed FROM subject_address WHERE subject_id = ?1")
            .bind(subject.0)
            .fetch_optional(&self.readers)
            .await
            .map_err(sort_error)
    }

    async fn system_after(&self, after: Offset, limit: u32) -> Result<Vec<SystemRecord>, Error> {
        sqlx::query(
            "SELECT \"offset\", recorded_at, body FROM system_event
             WHERE \"offset\" > ?1 ORDER BY \"offset\" LIMIT ?2",
        )
        .bind(after.0)
        .bind(limit)
        .fetch_all(&self.readers)
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
        let mut transaction = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(sort_error)?;
        let raised = sqlx::query(
            "UPDATE partition_head SET head = head + 1 WHERE partition = 0 AND head = ?1",
        )
        .bind(expected.0)
        .execute(&mut *transaction)
        .await
        .map_err(sort_error)?
        .rows_affected();
        if raised == 0 {
            transaction.rollback().await.map_err(sort_error)?;
            return Ok(None);
        }
        let offset = expected.0 + 1;
        sqlx::query("INSERT INTO system_event (\"offset\", recorded_at, body) VALUES (?1, ?2, ?3)")
            .bind(offset)
            .bind(recorded_at.as_micros())
            .bind(body)
            .execute(&mut *transaction)
            .await
            .map_err(sort_error)?;
        transaction.commit().await.map_err(sort_error)?;
        Ok(Some(Offset(offset)))
    }

    async fn meta(&self) -> Result<Meta, Error> {
        let rows = sqlx::query("SELECT name, value FROM ledger_meta")
            .fetch_all(&self.readers)
            .await
            .map_err(sort_error)?;
        row::meta(&rows)
    }

    async fn set_key_check(&self, value: &str) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO ledger_meta (name, value) VALUES ('key_check', ?1)
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(value)
        .execute(&self.writer)
        .await
        .map_err(sort_error)?;
        Ok(())
    }

    fn followed(&self) -> &History {
        &self.history
    }

    async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1")
            .execute(&self.readers)
            .await
            .map_err(sort_error)?;
        Ok(())
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

impl Sqlite {
    /// What is found of subjects as they are stored, each with the head of its partition: one snapshot.
    async fn rows_of(&self, asked: &[SubjectRef]) -> Result<Vec<SqliteRow>, Error> {
        // SQLite binds no arrays: the keys travel as one JSON text.
        let asked: Vec<(u16, String)> = asked
            .iter()
            .map(|subject| (subject.partition.0, HEXUPPER.encode(&subject.key)))
            .collect();
        let asked = serde_json::to_string(&asked).expect("numbers and texts are JSON");
        sqlx::query(
            "SELECT h.head, h.key_id, h.leaving,
               s.business_id, s.subject_id, s.version, s.fold_version, s.facts
             FROM json_each(?1) AS a
             LEFT JOIN partition_head AS h ON h.partition = a.value ->> 0
             LEFT JOIN subject AS s
               ON s.partition = a.value ->> 0 AND s.subject_key = unhex(a.value ->> 1)
             ORDER BY a.key",
        )
        .bind(asked)
        .fetch_all(&self.readers)
        .await
        .map_err(sort_error)
    }
}
