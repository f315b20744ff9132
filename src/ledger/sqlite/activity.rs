//! Activity on SQLite. Each write is a transaction of its own.

use async_trait::async_trait;
use data_encoding::HEXUPPER;

use super::super::activity::{ActivityStore, Kind, in_lock_order, together, was_new};
use super::super::stored::{self, ATTEMPTS};
use super::super::{Error, SubjectRef, row, sort_error};
use super::Sqlite;
use crate::domain::activity::{Activity, MOST_SENDS, Sent, Wanted};
use crate::domain::id::{EventId, SenderId};
use crate::domain::time::Timestamp;

#[async_trait]
impl ActivityStore for Sqlite {
    async fn activity(
        &self,
        subjects: &[SubjectRef],
        wanted: Wanted<'_>,
    ) -> Result<Vec<Activity>, Error> {
        for _ in 0..ATTEMPTS {
            let numbers = self.stored.numbers();
            let asked = self.stored.asked(subjects, numbers)?;
            let mut found = vec![Activity::default(); asked.len()];
            if let Some(sender) = wanted.window_of {
                self.windows(&asked, sender, &mut found).await?;
            }
            if let Some(since) = wanted.sends_since {
                self.sends(&asked, since, &mut found).await?;
            }
            if self.stored.numbers() == numbers {
                return Ok(together(found, subjects.len()));
            }
        }
        Err(stored::restless())
    }

    async fn knows(&self, subject: &SubjectRef) -> Result<bool, Error> {
        for key in self.stored.keys(subject.key, self.stored.numbers())? {
            let known: i64 = sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM service_window
                   WHERE partition = ?1 AND subject_key = ?2 AND business_id = ?3)
                 OR EXISTS (SELECT 1 FROM message_send
                   WHERE partition = ?1 AND subject_key = ?2 AND business_id = ?3)",
            )
            .bind(subject.partition.0)
            .bind(key.as_slice())
            .bind(subject.business.as_str())
            .fetch_one(&self.readers)
            .await
            .map_err(sort_error)?;
            if known != 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn note_inbound(
        &self,
        subjects: &[SubjectRef],
        sender: &SenderId,
        at: Timestamp,
    ) -> Result<(), Error> {
        let mut transaction = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(sort_error)?;
        let note = self.note(subjects)?;
        sqlx::query(
            "INSERT INTO service_window AS w
               (partition, subject_key, sender_id, business_id, last_inbound, key_id)
             SELECT a.value ->> 0, unhex(a.value ->> 1), ?2, a.value ->> 2, ?3, ?4
             FROM json_each(?1) AS a WHERE true
             ON CONFLICT (partition, subject_key, sender_id)
             DO UPDATE SET last_inbound = excluded.last_inbound
             WHERE w.last_inbound < excluded.last_inbound",
        )
        .bind(as_json(&note.asked, &[]))
        .bind(sender.as_str())
        .bind(at.as_micros())
        .bind(note.number)
        .execute(&mut *transaction)
        .await
        .map_err(sort_error)?;
        transaction.commit().await.map_err(sort_error)
    }

    async fn note_send(
        &self,
        subjects: &[SubjectRef],
        sent: &Sent,
        message: &[u8; 16],
    ) -> Result<bool, Error> {
        let mut transaction = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(sort_error)?;
        let note = self.note(subjects)?;
        let done = sqlx::query(
            "INSERT INTO message_send
               (partition, subject_key, message, business_id, purpose, class, sent_at, key_id)
             SELECT a.value ->> 0, unhex(a.value ->> 1), ?2, a.value ->> 2, ?3, ?4, ?5, ?6
             FROM json_each(?1) AS a WHERE NOT EXISTS (
               SELECT 1 FROM message_send AS b
               WHERE b.partition = a.value ->> 0 AND b.subject_key = unhex(a.value ->> 3)
                 AND b.message = ?2)
             ON CONFLICT (partition, subject_key, message) DO NOTHING",
        )
        .bind(as_json(&note.asked, &note.before))
        .bind(message.as_slice())
        .bind(sent.purpose.as_str())
        .bind(sent.class.code())
        .bind(sent.at.as_micros())
        .bind(note.number)
        .execute(&mut *transaction)
        .await
        .map_err(sort_error)?;
        transaction.commit().await.map_err(sort_error)?;
        Ok(was_new(&in_lock_order(subjects), done.rows_affected()))
    }

    async fn forget_activity(
        &self,
        kind: Kind,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, Error> {
        let statement = match kind {
            Kind::Sends => {
                "DELETE FROM message_send WHERE rowid IN
                   (SELECT rowid FROM message_send WHERE sent_at < ?1 LIMIT ?2)"
            }
            Kind::Windows => {
                "DELETE FROM service_window WHERE rowid IN
                   (SELECT rowid FROM service_window WHERE last_inbound < ?1 LIMIT ?2)"
            }
            Kind::Permits => {
                "DELETE FROM opt_out_permit WHERE event_id IN
                   (SELECT event_id FROM opt_out_permit WHERE taken_at < ?1 LIMIT ?2)"
            }
        };
        let done = sqlx::query(statement)
            .bind(before.as_micros())
            .bind(limit)
            .execute(&self.writer)
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
            "INSERT INTO opt_out_permit (event_id, request, taken_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (event_id) DO NOTHING",
        )
        .bind(opt_out.0)
        .bind(request.as_slice())
        .bind(at.as_micros())
        .execute(&self.writer)
        .await
        .map_err(sort_error)?;
        if taken.rows_affected() == 1 {
            return Ok(true);
        }
        Ok(self.permit_holder(opt_out).await? == Some(*request))
    }

    async fn permit_holder(&self, opt_out: EventId) -> Result<Option<[u8; 16]>, Error> {
        let row = sqlx::query("SELECT request FROM opt_out_permit WHERE event_id = ?1")
            .bind(opt_out.0)
            .fetch_optional(&self.readers)
            .await
            .map_err(sort_error)?;
        row.map(|row| row::permit_holder(&row, opt_out)).transpose()
    }
}

impl Sqlite {
    async fn windows(
        &self,
        subjects: &[SubjectRef],
        sender: &SenderId,
        found: &mut [Activity],
    ) -> Result<(), Error> {
        let rows = sqlx::query(
            "SELECT a.key + 1 AS n, w.business_id, w.last_inbound
             FROM json_each(?1) AS a
             JOIN service_window AS w
               ON w.partition = a.value ->> 0 AND w.subject_key = unhex(a.value ->> 1)
                 AND w.sender_id = ?2",
        )
        .bind(as_json(subjects, &[]))
        .bind(sender.as_str())
        .fetch_all(&self.readers)
        .await
        .map_err(sort_error)?;
        row::windows(&rows, subjects, found)
    }

    async fn sends(
        &self,
        subjects: &[SubjectRef],
        since: Timestamp,
        found: &mut [Activity],
    ) -> Result<(), Error> {
        // SQLite cannot limit the rows of each: the time of the last one that counts does it. Of
        // those of one instant there may be more, which are left out when they are read.
        let rows = sqlx::query(
            "SELECT a.n, s.business_id, s.purpose, s.class, s.sent_at
             FROM (
               SELECT a.key + 1 AS n, a.value ->> 0 AS partition, unhex(a.value ->> 1) AS subject_key,
                 coalesce(
                   (SELECT t.sent_at FROM message_send AS t
                    WHERE t.partition = a.value ->> 0 AND t.subject_key = unhex(a.value ->> 1)
                      AND t.sent_at >= ?2
                    ORDER BY t.sent_at DESC LIMIT 1 OFFSET ?3 - 1), ?2) AS since
               FROM json_each(?1) AS a) AS a
             JOIN message_send AS s
               ON s.partition = a.partition AND s.subject_key = a.subject_key AND s.sent_at >= a.since
             ORDER BY a.n, s.sent_at DESC, s.message",
        )
        .bind(as_json(subjects, &[]))
        .bind(since.as_micros())
        .bind(i64::try_from(MOST_SENDS).unwrap_or(i64::MAX))
        .fetch_all(&self.readers)
        .await
        .map_err(sort_error)?;
        row::sends(&rows, subjects, found)
    }
}

/// What a note is written with.
struct Note {
    /// The number in use.
    number: u16,
    /// Those it is of, as they are stored under it, in the order of locks.
    asked: Vec<SubjectRef>,
    /// While keys are rotated, as they may lie as well.
    before: Vec<SubjectRef>,
}

impl Sqlite {
    /// Asked for in the transaction that writes: rows are moved in none but such.
    fn note(&self, subjects: &[SubjectRef]) -> Result<Note, Error> {
        let ordered: Vec<SubjectRef> = in_lock_order(subjects).into_iter().cloned().collect();
        let numbers = self.stored.numbers();
        let mut asked = self.stored.asked(&ordered, numbers)?.into_owned();
        let before = asked.split_off(ordered.len());
        Ok(Note {
            number: numbers.current,
            asked,
            before,
        })
    }
}

/// SQLite binds no arrays: the subjects travel as one JSON text of partition, key, business and, while keys are
/// rotated, the key before.
fn as_json(subjects: &[SubjectRef], before: &[SubjectRef]) -> String {
    let rows: Vec<(u16, String, &str, Option<String>)> = subjects
        .iter()
        .enumerate()
        .map(|(index, subject)| {
            let key = HEXUPPER.encode(&subject.key);
            let before = before.get(index).map(|one| HEXUPPER.encode(&one.key));
            (subject.partition.0, key, subject.business.as_str(), before)
        })
        .collect();
    serde_json::to_string(&rows).expect("numbers and texts are JSON")
}
