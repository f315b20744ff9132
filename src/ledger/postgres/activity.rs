//! Activity on PostgreSQL.

use async_trait::async_trait;

use super::super::activity::{ActivityStore, Kind, in_lock_order, was_new};
use super::super::{Error, SubjectRef, row, sort_error};
use super::{Postgres, code};
use crate::domain::activity::{Activity, MOST_SENDS, Sent, Wanted};
use crate::domain::id::{EventId, SenderId};
use crate::domain::time::Timestamp;

#[async_trait]
impl ActivityStore for Postgres {
    async fn activity(
        &self,
        subjects: &[SubjectRef],
        wanted: Wanted<'_>,
    ) -> Result<Vec<Activity>, Error> {
        let mut found = vec![Activity::default(); subjects.len()];
        if let Some(sender) = wanted.window_of {
            self.windows(subjects, sender, &mut found).await?;
        }
        if let Some(since) = wanted.sends_since {
            self.sends(subjects, since, &mut found).await?;
        }
        Ok(found)
    }

    async fn knows(&self, subject: &SubjectRef) -> Result<bool, Error> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM service_window
               WHERE partition = $1 AND subject_key = $2 AND business_id = $3)
             OR EXISTS (SELECT 1 FROM message_send
               WHERE partition = $1 AND subject_key = $2 AND business_id = $3)",
        )
        .bind(code(subject.partition))
        .bind(subject.key.as_slice())
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
        let subjects = in_lock_order(subjects);
        let (partitions, keys, businesses) = columns(&subjects);
        sqlx::query(
            "INSERT INTO service_window AS w
               (partition, subject_key, sender_id, business_id, last_inbound)
             SELECT a.partition, a.subject_key, $4, a.business_id, $5
             FROM unnest($1::smallint[], $2::bytea[], $3::text[]) WITH ORDINALITY
               AS a (partition, subject_key, business_id, n)
             ORDER BY a.n
             ON CONFLICT (partition, subject_key, sender_id)
             DO UPDATE SET last_inbound = excluded.last_inbound
             WHERE w.last_inbound < excluded.last_inbound",
        )
        .bind(partitions)
        .bind(keys)
        .bind(businesses)
        .bind(sender.as_str())
        .bind(at.as_micros())
        .execute(&mut *self.core.lent().await?)
        .await
        .map_err(sort_error)?;
        Ok(())
    }

    async fn note_send(
        &self,
        subjects: &[SubjectRef],
        sent: &Sent,
        message: &[u8; 16],
    ) -> Result<bool, Error> {
        let subjects = in_lock_order(subjects);
        let (partitions, keys, businesses) = columns(&subjects);
        let done = sqlx::query(
            "INSERT INTO message_send
               (partition, subject_key, message, business_id, purpose, class, sent_at)
             SELECT a.partition, a.subject_key, $4, a.business_id, $5, $6, $7
             FROM unnest($1::smallint[], $2::bytea[], $3::text[]) WITH ORDINALITY
               AS a (partition, subject_key, business_id, n)
             ORDER BY a.n
             ON CONFLICT (partition, subject_key, message) DO NOTHING",
        )
        .bind(partitions)
        .bind(keys)
        .bind(businesses)
        .bind(message.as_slice())
        .bind(sent.purpose.as_str())
        .bind(i16::from(sent.class.code()))
        .bind(sent.at.as_micros())
        .execute(&mut *self.core.lent().await?)
        .await
        .map_err(sort_error)?;
        Ok(was_new(&subjects, done.rows_affected()))
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

impl Postgres {
    async fn windows(
        &self,
        subjects: &[SubjectRef],
        sender: &SenderId,
        found: &mut [Activity],
    ) -> Result<(), Error> {
        let all: Vec<&SubjectRef> = subjects.iter().collect();
        let (partitions, keys, _) = columns(&all);
        let rows = sqlx::query(
            "SELECT a.n, w.business_id, w.last_inbound
             FROM unnest($1::smallint[], $2::bytea[]) WITH ORDINALITY AS a (partition, subject_key, n)
             JOIN service_window AS w
               ON w.partition = a.partition AND w.subject_key = a.subject_key AND w.sender_id = $3",
        )
        .bind(partitions)
        .bind(keys)
        .bind(sender.as_str())
        .fetch_all(&mut *self.core.lent().await?)
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
        let all: Vec<&SubjectRef> = subjects.iter().collect();
        let (partitions, keys, _) = columns(&all);
        let rows = sqlx::query(
            "SELECT a.n, s.business_id, s.purpose, s.class::bigint AS class, s.sent_at
             FROM unnest($1::smallint[], $2::bytea[]) WITH ORDINALITY AS a (partition, subject_key, n)
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
fn columns<'a>(subjects: &[&'a SubjectRef]) -> (Vec<i16>, Vec<&'a [u8]>, Vec<&'a str>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for subject in subjects {
        columns.0.push(code(subject.partition));
        columns.1.push(subject.key.as_slice());
        columns.2.push(subject.business.as_str());
    }
    columns
}
