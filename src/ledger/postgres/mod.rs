//! The ledger on PostgreSQL.
//!
//! An append moves its subjects on if they are still at the versions that it was decided on, then
//! takes the next offset under the row lock of the partition's head, which is held to the commit.
//! So offsets are dense and in commit order.
//!
//! Several instances may share a database: how they follow it is said in [`following`]. What is read
//! and committed for requests says which history of the database it is of, and one of another than
//! the instance follows is an error: it may come from a primary that was deposed.

mod activity;
mod append;
mod connecting;
mod erasing;
pub mod following;
mod grouping;
pub mod hints;
mod lending;
mod many;
mod moving;
mod notices;
mod reading;
mod rotating;
mod schema;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::stored::{self, ATTEMPTS, Stored};
use super::together::{self, Sorted};
use super::{
    Append, Appended, Call, Epoch, Error, History, Ledger, Loaded, Looked, Meta, Offset, OpenError,
    Partition, Position, Recorded, Rpc, StoredAnswer, StoredSubject, Subject, SubjectRef,
    SystemRecord, Timeline, Touch, row, sort_error,
};
use crate::domain::id::{BusinessId, SubjectId};
use crate::domain::time::Timestamp;
use crate::keys::wrapping::Wrapping;
pub use connecting::unproven_peer;
use grouping::Grouping;
use lending::{Lender, Lent};
use many::Act;
pub use schema::{Role, SERVICE_ROLE, migrate};

/// An answer is touched under its row's lock, after which the statement sees what it saw before: what
/// the answer's own call wrote is in the same snapshot.
const LOOK: &str = "WITH i AS (
       UPDATE idempotency SET repeats = repeats + 1
       WHERE business_id = $3 AND rpc = $4 AND key_hash = $5
       RETURNING content_hash, answer, partition::bigint AS partition, \"offset\")
     SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline,
       h.head, h.key_id::bigint AS key_id, h.leaving::bigint AS leaving,
       s.business_id, s.subject_id, s.version, s.fold_version::bigint AS fold_version, s.facts,
       i.content_hash, i.answer, i.partition, i.\"offset\"
     FROM (SELECT) AS asked
     LEFT JOIN partition_head AS h ON h.partition = $1
     LEFT JOIN subject AS s ON s.partition = $1 AND s.subject_key = $2
     LEFT JOIN i ON true";

/// A ledger in PostgreSQL.
#[derive(Debug)]
pub struct Postgres {
    core: Arc<Core>,
    grouping: Grouping,
}

/// What also the statements need that are sent for several callers.
#[derive(Debug)]
struct Core {
    lender: Lender,
    history: History,
    stored: Stored,
}

/// How to connect.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub max_connections: u32,
    pub acquire_timeout: Duration,
    pub statement_timeout: Duration,
}

impl Postgres {
    /// Connects, and refuses a schema that is not this binary's. Until somebody follows its history
    /// every answer is taken. Finds nobody in a ledger whose keys were rotated.
    pub async fn open(url: &str, limits: Limits) -> Result<Self, OpenError> {
        Self::open_with(url, limits, Arc::default()).await
    }

    /// As [`Postgres::open`], with what stored keys are wrapped with.
    pub async fn open_with(
        url: &str,
        limits: Limits,
        wrapping: Arc<Wrapping>,
    ) -> Result<Self, OpenError> {
        let options = connecting::limited(url, limits).map_err(OpenError::Open)?;
        let lender = Lender::open(options, limits)
            .await
            .map_err(OpenError::Open)?;
        let mut connection = lender.lend().await.map_err(OpenError::Open)?;
        schema::check(&mut connection).await?;
        let stored = Stored::new(wrapping);
        stored.learn(rotating::numbers(&mut connection).await?);
        drop(connection);
        let core = Arc::new(Core {
            lender,
            history: History::unknown(),
            stored,
        });
        let grouping = Grouping::new(Arc::clone(&core));
        Ok(Self { core, grouping })
    }

    /// What of this server's settings weakens what is acknowledged, and what of our role's rights what is
    /// kept, in sentences for whoever runs it.
    pub async fn weaknesses(&self) -> Result<Vec<&'static str>, Error> {
        let row = sqlx::query(
            "SELECT EXISTS (
                 SELECT 1 FROM (VALUES ('event'), ('system_event')) AS t (name)
                 WHERE has_any_column_privilege(name, 'UPDATE')
                   OR has_table_privilege(name, 'DELETE, TRUNCATE, TRIGGER')) AS rights,
               current_setting('fsync') = 'off' AS fsync,
               current_setting('synchronous_commit') IN ('off', 'local') AS commit,
               current_setting('synchronous_standby_names') = '' AS alone,
               EXISTS (SELECT 1 FROM pg_stat_replication) AS standby",
        )
        .fetch_one(&mut *self.core.lent().await?)
        .await
        .map_err(sort_error)?;
        let is = |name: &str| row.try_get::<bool, _>(name).map_err(sort_error);
        let mut found = Vec::new();
        if is("fsync")? {
            found.push("`fsync` is off: a crash of the machine loses what was acknowledged");
        }
        if is("commit")? {
            found.push(
                "`synchronous_commit` waits for less than it should: a crash or a failover loses \
                 what was acknowledged",
            );
        }
        if is("alone")? && is("standby")? {
            found.push(
                "no standby is waited for (`synchronous_standby_names` is empty): a failover can \
                 lose what was acknowledged",
            );
        }
        if is("rights")? {
            found.push(
                "the database's role may change events, and only triggers stand in its way: serve with a \
                 login that is a member of `consentgate_service` and nothing more",
            );
        }
        Ok(found)
    }
}

impl Core {
    async fn lent(&self) -> Result<Lent, Error> {
        self.lender.lend().await.map_err(sort_error)
    }

    /// Whether what was found is of the history in which the call began. If not, the connection is
    /// not used again: it may lead to a primary that was deposed.
    fn compare(&self, began: Epoch, found: Timeline, lent: &mut Lent) -> Result<(), Error> {
        self.history.compare(began, found).map_err(|other| {
            lent.distrust();
            tracing::warn!(%other, "an answer is discarded, and its connection closed");
            Error::Unavailable(other.into())
        })
    }
}

/// The history that a row says it is of.
fn timeline_of(row: &PgRow) -> Result<Timeline, Error> {
    timeline_numbered(row.try_get("timeline").map_err(sort_error)?)
}

fn timeline_numbered(text: &str) -> Result<Timeline, Error> {
    let number = u32::from_str_radix(text, 16);
    number
        .map(Timeline)
        .map_err(|fault| Error::corrupt("pg_walfile_name", text, fault))
}

#[async_trait]
impl Ledger for Postgres {
    async fn facts(&self, subjects: &[SubjectRef]) -> Result<Vec<Loaded>, Error> {
        let stored = &self.core.stored;
        for _ in 0..ATTEMPTS {
            let numbers = stored.numbers();
            let asked = stored.asked(subjects, numbers)?;
            let (heads, rows) = self.core.read(&asked).await?;
            if let Some(others) = heads.others_than(numbers) {
                stored.learn(others);
                continue;
            }
            let mut loaded = Vec::with_capacity(subjects.len());
            for (index, subject) in subjects.iter().enumerate() {
                let as_of = heads.of(subject.partition)?;
                let read = rows.known(index, subject)?;
                let before = rows.known(subjects.len() + index, subject)?;
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
            "SELECT partition::bigint AS partition, subject_key, key_id::bigint AS key_id, business_id,
               subject_id, version, fold_version::bigint AS fold_version, facts
             FROM subject WHERE subject_id = $1",
        )
        .bind(subject.0)
        .fetch_optional(&mut *self.core.lent().await?)
        .await
        .map_err(sort_error)?;
        let Some(row) = row else { return Ok(None) };
        let (place, read) = row::found(&row, subject, &self.core.stored)?;
        Ok(Some((place, row::refolded(self, read).await?)))
    }

    async fn append(&self, append: &Append<'_>) -> Result<Appended, Error> {
        append.in_lock_order()?;
        if let [part @ super::Part { removal: None, .. }] = append.parts {
            return self.grouping.append(Act::of(append, part)).await;
        }
        let (began, mut lent) = (self.core.history.current(), self.core.lent().await?);
        let appended =
            notices::durably(append::append(&mut lent, append, &self.core.stored)).await?;
        let (appended, timeline) = appended;
        if let Some(timeline) = timeline {
            self.core.compare(began, timeline, &mut lent)?;
        }
        Ok(appended)
    }

    async fn append_many(&self, appends: &[Append<'_>]) -> Vec<Result<Appended, Error>> {
        let (mut acts, mut places) = (Vec::new(), Vec::new());
        let mut results = Vec::with_capacity(appends.len());
        for (append, sorted) in appends.iter().zip(together::sort(appends)) {
            results.push(match sorted {
                Sorted::Taken(part) => {
                    places.push(results.len());
                    acts.push(Act::of(append, part));
                    Ok(Appended::VersionChanged)
                }
                Sorted::Later => Ok(Appended::VersionChanged),
                Sorted::Refused(error) => Err(error),
            });
        }
        if acts.is_empty() {
            return results;
        }
        let appended = self.core.append_each(&acts, &mut None).await;
        for (place, result) in places.into_iter().zip(appended) {
            results[place] = result;
        }
        results
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
                 RETURNING content_hash, answer, partition::bigint AS partition, \"offset\",
                   left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline"
            }
            Touch::No => {
                "SELECT content_hash, answer, partition::bigint AS partition, \"offset\",
                   left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline
                 FROM idempotency WHERE business_id = $1 AND rpc = $2 AND key_hash = $3"
            }
        };
        let (began, mut lent) = (self.core.history.current(), self.core.lent().await?);
        let statement = sqlx::query(statement)
            .bind(business.as_str())
            .bind(rpc.code())
            .bind(key_hash.as_slice());
        let row = notices::durably(async {
            let found = statement.fetch_optional(&mut *lent).await;
            found.map_err(sort_error)
        })
        .await?;
        if let Some(row) = &row {
            self.core.compare(began, timeline_of(row)?, &mut lent)?;
        }
        row.map(|row| row::answer(&row, business, rpc, key_hash))
            .transpose()
    }

    async fn look(&self, subject: &SubjectRef, call: Option<Call>) -> Result<Looked, Error> {
        let numbers = self.core.stored.numbers();
        if numbers.leaving.is_some() {
            return self.look_apart(subject, call).await;
        }
        let key = self.core.stored.key(subject.key, numbers.current)?;
        let (began, mut lent) = (self.core.history.current(), self.core.lent().await?);
        let statement = sqlx::query(LOOK)
            .bind(code(subject.partition))
            .bind(key.as_slice())
            .bind(subject.business.as_str())
            .bind(call.map(|call| call.rpc.code()))
            .bind(call.map(|call| call.key_hash.to_vec()));
        let row = notices::durably(async {
            let found = statement.fetch_one(&mut *lent).await;
            found.map_err(sort_error)
        })
        .await?;
        self.core.compare(began, timeline_of(&row)?, &mut lent)?;
        if !self
            .core
            .stored
            .still(numbers, std::slice::from_ref(&row))?
        {
            drop(lent);
            return self.look_apart(subject, call).await;
        }
        let answer = match call {
            Some(Call { rpc, key_hash }) if row::has_answer(&row)? => {
                Some(row::answer(&row, &subject.business, rpc, &key_hash)?)
            }
            Some(_) | None => None,
        };
        let (as_of, read) = row::loaded(&row, subject)?;
        let subject = match read {
            None => None,
            Some(read) => Some(row::refolded(self, read).await?),
        };
        Ok(Looked {
            answer,
            loaded: Loaded { subject, as_of },
        })
    }

    async fn forget_answers(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let done = sqlx::query(
            "DELETE FROM idempotency WHERE ctid = ANY (ARRAY
               (SELECT ctid FROM idempotency WHERE created_at < $1 LIMIT $2))",
        )
        .bind(before.as_micros())
        .bind(i64::from(limit))
        .execute(&mut *self.core.lent().await?)
        .await
        .map_err(sort_error)?;
        Ok(done.rows_affected())
    }

    async fn carry_out_erasures(&self, now: Timestamp, limit: u32) -> Result<u64, Error> {
        erasing::carry_out(&mut *self.core.lent().await?, now, limit).await
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
        .fetch_all(&mut *self.core.lent().await?)
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
        .fetch_all(&mut *self.core.lent().await?)
        .await
        .map_err(sort_error)?
        .iter()
        .map(row::recorded)
        .collect()
    }

    async fn heads(&self) -> Result<Vec<Position>, Error> {
        sqlx::query("SELECT partition::bigint AS partition, head FROM partition_head AS h ORDER BY h.partition")
            .fetch_all(&mut *self.core.lent().await?)
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
        .fetch_all(&mut *self.core.lent().await?)
        .await
        .map_err(sort_error)?
        .iter()
        .map(row::stored_subject)
        .collect()
    }

    async fn address(&self, subject: SubjectId) -> Result<Option<Vec<u8>>, Error> {
        sqlx::query_scalar("SELECT sealed FROM subject_address WHERE subject_id = $1")
            .bind(subject.0)
            .fetch_optional(&mut *self.core.lent().await?)
            .await
            .map_err(sort_error)
    }

    async fn system_after(&self, after: Offset, limit: u32) -> Result<Vec<SystemRecord>, Error> {
        let (began, mut lent) = (self.core.history.current(), self.core.lent().await?);
        let (timeline, records) = following::system_after(&mut lent, after, limit).await?;
        self.core.compare(began, timeline, &mut lent)?;
        Ok(records)
    }

    async fn append_system(
        &self,
        expected: Offset,
        recorded_at: Timestamp,
        body: &str,
    ) -> Result<Option<Offset>, Error> {
        let (began, mut lent) = (self.core.history.current(), self.core.lent().await?);
        let statement = sqlx::query(
            "WITH h AS (
               UPDATE partition_head SET head = head + 1
               WHERE partition = 0 AND head = $1 RETURNING head),
             e AS (
               INSERT INTO system_event (\"offset\", recorded_at, body)
               SELECT head, $2, $3 FROM h)
             SELECT head, left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline FROM h",
        )
        .bind(expected.0)
        .bind(recorded_at.as_micros())
        .bind(body);
        let row = notices::durably(async {
            let found = statement.fetch_optional(&mut *lent).await;
            found.map_err(sort_error)
        })
        .await?;
        if let Some(row) = &row {
            self.core.compare(began, timeline_of(row)?, &mut lent)?;
        }
        row.map(|row| row.try_get("head").map(Offset).map_err(sort_error))
            .transpose()
    }

    async fn meta(&self) -> Result<Meta, Error> {
        let rows = sqlx::query("SELECT name, value FROM ledger_meta")
            .fetch_all(&mut *self.core.lent().await?)
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
        .execute(&mut *self.core.lent().await?)
        .await
        .map_err(sort_error)?;
        Ok(())
    }

    fn followed(&self) -> &History {
        &self.core.history
    }

    async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1")
            .execute(&mut *self.core.lent().await?)
            .await
            .map_err(sort_error)?;
        Ok(())
    }

    async fn close(&self) {
        self.core.lender.close().await;
    }
}

impl Postgres {
    /// A look in two statements: while keys are rotated, somebody may lie under two.
    async fn look_apart(&self, subject: &SubjectRef, call: Option<Call>) -> Result<Looked, Error> {
        let answer = match call {
            None => None,
            Some(Call { rpc, key_hash }) => {
                self.answer(&subject.business, rpc, &key_hash, Touch::Yes)
                    .await?
            }
        };
        let loaded = self.facts(std::slice::from_ref(subject)).await?.pop();
        Ok(Looked {
            answer,
            loaded: loaded.ok_or_else(stored::restless)?,
        })
    }
}

fn code(partition: Partition) -> i16 {
    i16::try_from(partition.0).expect("partitions are few")
}
