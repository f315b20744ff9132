//! Activity on PostgreSQL.

use async_trait::async_trait;
use sqlx::postgres::PgArguments;
use sqlx::{Connection, Row};

use super::super::activity::{ActivityStore, Kind, in_lock_order, together, was_new};
use super::super::stored::{self, ATTEMPTS};
use super::super::{Error, SubjectRef, row, sort_error};
use super::{Postgres, code, moving, rotating};
use crate::domain::activity::{Activity, MOST_SENDS, Sent, Wanted};
use crate::domain::id::{EventId, SenderId};
use crate::domain::time::Timestamp;

/// `$1` to `$3` subjects, `$4` sender, `$5` when, `$6` the number in use. Nothing is written, and null said, if
/// that is another one.
const NOTE_INBOUND: &str =
    "WITH own AS (SELECT 1 FROM partition_head WHERE partition = 0 AND key_id = $6),
     i AS (
       INSERT INTO service_window AS w
         (partition, subject_key, sender_id, business_id, last_inbound, key_id)
       SELECT a.partition, a.subject_key, $4, a.business_id, $5, $6
       FROM unnest($1::smallint[], $2::bytea[], $3::text[]) WITH ORDINALITY
         AS a (partition, subject_key, business_id, n), own
       ORDER BY a.n
       ON CONFLICT (partition, subject_key, sender_id)
       DO UPDATE SET last_inbound = excluded.last_inbound
       WHERE w.last_inbound < excluded.last_inbound
       RETURNING 1)
     SELECT CASE WHEN EXISTS (SELECT 1 FROM own) THEN (SELECT count(*) FROM i) END AS written";

/// `$1` to `$3` subjects, `$4` message, `$5` to `$7` what was sent, `$8` as above, `$9` the keys before.
const NOTE_SEND: &str = "WITH own AS (SELECT 1 FROM partition_head WHERE partition = 0 AND key_id = $8),
     i AS (
       INSERT INTO message_send
         (partition, subject_key, message, business_id, purpose, class, sent_at, key_id)
       SELECT a.partition, a.subject_key, $4, a.business_id, $5, $6, $7, $8
       FROM unnest($1::smallint[], $2::bytea[], $3::text[]) WITH ORDINALITY
         AS a (partition, subject_key, business_id, n), own
       WHERE $9::bytea[] IS NULL OR NOT EXISTS (
         SELECT 1 FROM message_send AS b
         WHERE b.partition = a.partition AND b.subject_key = ($9::bytea[])[a.n::integer] AND b.message = $4)
       ORDER BY a.n
       ON CONFLICT (partition, subject_key, message) DO NOTHING
       RETURNING 1)
     SELECT CASE WHEN EXISTS (SELECT 1 FROM own) THEN (SELECT count(*) FROM i) END AS written";

#[async_trait]
impl ActivityStore for Postgres {
    async fn activity(
        &self,
        subjects: &[SubjectRef],
        wanted: Wanted<'_>,
    ) -> Result<Vec<Activity>, Error> {
        for _ in 0..ATTEMPTS {
            let numbers = self.core.stored.numbers();
            let asked = self.core.stored.asked(subjects, numbers)?;
            let mut found = vec![Activity::default(); asked.len()];
            if let Some(sender) = wanted.window_of {
                self.windows(&asked, sender, &mut found).await?;
            }
            if let Some(since) = wanted.sends_since {
                self.sends(&asked, since, &mut found).await?;
            }
            // No lease holds without its holder having learnt that rows are moved, and before they are.
            if self.core.stored.numbers() == numbers {
                return Ok(together(found, subjects.len()));
            }
        }
        Err(stored::restless())
    }

    async fn knows(&self, subject: &SubjectRef) -> Result<bool, Error> {
        let keys = self
            .core
            .stored
            .keys(subject.key, self.core.stored.numbers())?;
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM service_window
               WHERE partition = $1 AND subject_key = ANY ($2) AND business_id = $3)
             OR EXISTS (SELECT 1 FROM message_send
               WHERE partition = $1 AND subject_key = ANY ($2) AND business_id = $3)",
        )
        .bind(code(subject.partition))
        .bind(keys.iter().map(<[u8; 16]>::as_slice).collect::<Vec<_>>())
        .bind(subject.business.as_str())
        .fetch_one(&mut *self.core.lent().await?)
        .await
        .map_err(sort_error)
    }

    async fn note_inbound(
        &self,
        subjects: &[SubjectRef],
        sender: &SenderId,
        at: Timestamp,
    ) -> Result<(), Error> {
        let noted = self.noted(subjects, |note| {
            let (partitions, keys, businesses) = columns(&note.asked);
            sqlx::query(NOTE_INBOUND)
                .bind(partitions)
                .bind(keys)
                .bind(businesses)
                .bind(sender.as_str())
                .bind(at.as_micros())
                .bind(i32::from(note.number))
        });
        noted.await.map(drop)
    }

    async fn note_send(
        &self,
        subjects: &[SubjectRef],
        sent: &Sent,
        message: &[u8; 16],
    ) -> Result<bool, Error> {
        let noted = self.noted(subjects, |note| {
            let (partitions, keys, businesses) = columns(&note.asked);
            sqlx::query(NOTE_SEND)
                .bind(partitions)
                .bind(keys)
                .bind(businesses)
                .bind(message.to_vec())
                .bind(sent.purpose.as_str())
                .bind(i16::from(sent.class.code()))
                .bind(sent.at.as_micros())
                .bind(i32::from(note.number))
                .bind(note.before)
        });
        Ok(was_new(&in_lock_order(subjects), noted.await?))
    }

    async fn forget_activity(
        &self,
        kind: Kind,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, Error> {
        // The age is asked for once more outside: a row may have become a younger one meanwhile.
        let statement = match kind {
            Kind::Sends => {
                "DELETE FROM message_send WHERE sent_at < $1 AND ctid = ANY (ARRAY
                   (SELECT ctid FROM message_send WHERE sent_at < $1 LIMIT $2))"
            }
            Kind::Windows => {
                "DELETE FROM service_window WHERE last_inbound < $1 AND ctid = ANY (ARRAY
                   (SELECT ctid FROM service_window WHERE last_inbound < $1 LIMIT $2))"
            }
            Kind::Permits => {
                "DELETE FROM opt_out_permit WHERE taken_at < $1 AND ctid = ANY (ARRAY
                   (SELECT ctid FROM opt_out_permit WHERE taken_at < $1 LIMIT $2))"
            }
        };
        let done = sqlx::query(statement)
            .bind(before.as_micros())
            .bind(i64::from(limit))
            .execute(&mut *self.core.lent().await?)
            .await
            .map_err(sort_error)?;
        Ok(done.rows_affected())
    }

    async fn take_permit(
        &self,
        opt_out: EventId,
        request: &[u8; 16],
        at: Timestamp,
    ) -> Result<bool, Error> {
        let taken = sqlx::query(
            "INSERT INTO opt_out_permit (event_id, request, taken_at) VALUES ($1, $2, $3)
             ON CONFLICT (event_id) DO NOTHING",
        )
        .bind(opt_out.0)
        .bind(request.as_slice())
        .bind(at.as_micros())
        .execute(&mut *self.core.lent().await?)
        .await
        .map_err(sort_error)?;
        if taken.rows_affected() == 1 {
            return Ok(true);
        }
        // A statement of its own: the one that took it may have committed after ours began.
        Ok(self.permit_holder(opt_out).await? == Some(*request))
    }

    async fn permit_holder(&self, opt_out: EventId) -> Result<Option<[u8; 16]>, Error> {
        let row = sqlx::query("SELECT request FROM opt_out_permit WHERE event_id = $1")
            .bind(opt_out.0)
            .fetch_optional(&mut *self.core.lent().await?)
            .await
            .map_err(sort_error)?;
        row.map(|row| row::permit_holder(&row, opt_out)).transpose()
    }
}

/// What a note is written with.
struct Note {
    /// The number in use.
    number: u16,
    /// Those it is of, as they are stored under it, in the order of locks.
    asked: Vec<SubjectRef>,
    /// While keys are rotated, what they may lie under as well.
    before: Option<Vec<Vec<u8>>>,
}

type Bound = sqlx::query::Query<'static, sqlx::Postgres, PgArguments>;

impl Postgres {
    /// Writes a note under the number in use: once more if that was another one meanwhile. Says how many
    /// rows were written.
    async fn noted(
        &self,
        subjects: &[SubjectRef],
        statement: impl Fn(Note) -> Bound + Send,
    ) -> Result<u64, Error> {
        let stored = &self.core.stored;
        // Innermost keys give the order of locks, whatever rows lie under.
        let ordered: Vec<SubjectRef> = in_lock_order(subjects).into_iter().cloned().collect();
        let mut lent = self.core.lent().await?;
        for _ in 0..ATTEMPTS {
            let numbers = stored.numbers();
            let mut asked = stored.asked(&ordered, numbers)?.into_owned();
            let before = asked.split_off(ordered.len());
            let before = numbers.leaving.map(|_| {
                let keys = before.into_iter().map(|one| one.key.to_vec());
                keys.collect()
            });
            let is_moving = before.is_some();
            let note = statement(Note {
                number: numbers.current,
                asked,
                before,
            });
            let written = match is_moving {
                false => note.fetch_one(&mut *lent).await,
                true => {
                    let mut transaction = lent.begin().await.map_err(sort_error)?;
                    let partitions = ordered.iter().map(|one| one.partition);
                    moving::lock_to_write(&mut transaction, partitions)
                        .await
                        .map_err(sort_error)?;
                    let written = note.fetch_one(&mut *transaction).await;
                    transaction.commit().await.map_err(sort_error)?;
                    written
                }
            };
            let written: Option<i64> = written
                .and_then(|row| row.try_get("written"))
                .map_err(sort_error)?;
            if let Some(written) = written {
                return Ok(u64::try_from(written).unwrap_or_default());
            }
            stored.learn(rotating::numbers(&mut lent).await?);
        }
        Err(stored::restless())
    }

    /// Planned once, as the reading of facts is: see [`super::reading`].
    async fn windows(
        &self,
        subjects: &[SubjectRef],
        sender: &SenderId,
        found: &mut [Activity],
    ) -> Result<(), Error> {
        let (partitions, keys, _) = columns(subjects);
        let rows = sqlx::query(
            "SELECT a.n, w.business_id, w.last_inbound
             FROM unnest((SELECT $1::smallint[]), (SELECT $2::bytea[])) WITH ORDINALITY
               AS a (partition, subject_key, n)
             CROSS JOIN LATERAL
               (SELECT * FROM service_window AS w
                WHERE w.partition = a.partition AND w.subject_key = a.subject_key AND w.sender_id = $3
                OFFSET 0) AS w",
        )
        .bind(partitions)
        .bind(keys)
        .bind(sender.as_str())
        .fetch_all(&mut *self.core.lent().await?)
        .await
        .map_err(sort_error)?;
        row::windows(&rows, subjects, found)
    }

    /// Planned once, too.
    async fn sends(
        &self,
        subjects: &[SubjectRef],
        since: Timestamp,
        found: &mut [Activity],
    ) -> Result<(), Error> {
        let (partitions, keys, _) = columns(subjects);
        let rows = sqlx::query(
            "SELECT a.n, s.business_id, s.purpose, s.class::bigint AS class, s.sent_at
             FROM unnest((SELECT $1::smallint[]), (SELECT $2::bytea[])) WITH ORDINALITY
               AS a (partition, subject_key, n)
             CROSS JOIN LATERAL (
               SELECT business_id, purpose, class, sent_at, message FROM message_send AS s
               WHERE s.partition = a.partition AND s.subject_key = a.subject_key AND s.sent_at >= $3
               ORDER BY s.sent_at DESC, s.message LIMIT $4) AS s
             ORDER BY a.n, s.sent_at DESC, s.message",
        )
        .bind(partitions)
        .bind(keys)
        .bind(since.as_micros())
        .bind(i64::try_from(MOST_SENDS).unwrap_or(i64::MAX))
        .fetch_all(&mut *self.core.lent().await?)
        .await
        .map_err(sort_error)?;
        row::sends(&rows, subjects, found)
    }
}

/// The subjects as arrays: partitions, keys, businesses.
fn columns(subjects: &[SubjectRef]) -> (Vec<i16>, Vec<Vec<u8>>, Vec<String>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for subject in subjects {
        columns.0.push(code(subject.partition));
        columns.1.push(subject.key.to_vec());
        columns.2.push(subject.business.as_str().to_owned());
    }
    columns
}
