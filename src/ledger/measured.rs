//! A ledger that times every call of another one, and waits for none of them without end. The same
//! for the activity beside it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::activity::{ActivityStore, Kind};
use super::{
    Append, Appended, Call, Error, History, Ledger, Loaded, Looked, Meta, Offset, Partition,
    Position, Recorded, Rpc, StoredAnswer, StoredSubject, Subject, SubjectRef, SystemRecord, Touch,
};
use crate::domain::activity::{Activity, Sent, Wanted};
use crate::domain::id::{BusinessId, EventId, SenderId, SubjectId};
use crate::domain::time::Timestamp;
use crate::telemetry::{LedgerOperation, Metrics, Outcome};

/// Times the calls that serve requests; passes the rest on.
#[derive(Debug)]
pub struct Measured<T: ?Sized> {
    inner: Arc<T>,
    metrics: Metrics,
    /// Longest time for one call: a connection may be cut without either end noticing, and then
    /// the database's own time limits never speak.
    limit: Duration,
}

impl<T: ?Sized> Measured<T> {
    pub fn new(inner: Arc<T>, metrics: Metrics, limit: Duration) -> Self {
        Self {
            inner,
            metrics,
            limit,
        }
    }

    async fn within<A: Send>(
        &self,
        call: impl Future<Output = Result<A, Error>> + Send,
    ) -> Result<A, Error> {
        match tokio::time::timeout(self.limit, call).await {
            Ok(result) => result,
            Err(_) => Err(Error::no_answer(self.limit)),
        }
    }

    async fn time<A: Send>(
        &self,
        operation: LedgerOperation,
        call: impl Future<Output = Result<A, Error>> + Send,
    ) -> Result<A, Error> {
        let outcome = |result: &Result<A, Error>| match result {
            Ok(_) => Outcome::Ok,
            Err(_) => Outcome::Error,
        };
        self.metrics
            .time_ledger(operation, self.within(call), outcome)
            .await
    }
}

#[async_trait]
impl Ledger for Measured<dyn Ledger> {
    async fn facts(&self, subjects: &[SubjectRef]) -> Result<Vec<Loaded>, Error> {
        self.time(LedgerOperation::Facts, self.inner.facts(subjects))
            .await
    }

    async fn find(&self, subject: SubjectId) -> Result<Option<(SubjectRef, Subject)>, Error> {
        self.time(LedgerOperation::Facts, self.inner.find(subject))
            .await
    }

    async fn append(&self, append: &Append<'_>) -> Result<Appended, Error> {
        let outcome = |result: &Result<Appended, Error>| match result {
            Ok(Appended::At(_)) => Outcome::Ok,
            Ok(Appended::VersionChanged | Appended::KeyUsed) => Outcome::Conflict,
            Err(_) => Outcome::Error,
        };
        self.metrics
            .time_ledger(
                LedgerOperation::Append,
                self.within(self.inner.append(append)),
                outcome,
            )
            .await
    }

    async fn answer(
        &self,
        business: &BusinessId,
        rpc: Rpc,
        key_hash: &[u8; 16],
        touch: Touch,
    ) -> Result<Option<StoredAnswer>, Error> {
        self.within(self.inner.answer(business, rpc, key_hash, touch))
            .await
    }

    async fn append_many(&self, appends: &[Append<'_>]) -> Vec<Result<Appended, Error>> {
        let outcome = |result: &Result<Vec<Result<Appended, Error>>, Error>| match result {
            Ok(results) if results.iter().all(|one| matches!(one, Ok(Appended::At(_)))) => {
                Outcome::Ok
            }
            Ok(results) if results.iter().all(Result::is_ok) => Outcome::Conflict,
            Ok(_) | Err(_) => Outcome::Error,
        };
        let call = self.within(async { Ok(self.inner.append_many(appends).await) });
        let done = self
            .metrics
            .time_ledger(LedgerOperation::Append, call, outcome)
            .await;
        done.unwrap_or_else(|error| {
            let error = Arc::new(error);
            let shared = appends
                .iter()
                .map(|_| Err(Error::shared(Arc::clone(&error))));
            shared.collect()
        })
    }

    async fn look(&self, subject: &SubjectRef, call: Option<Call>) -> Result<Looked, Error> {
        self.time(LedgerOperation::Facts, self.inner.look(subject, call))
            .await
    }

    async fn forget_answers(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        self.within(self.inner.forget_answers(before, limit)).await
    }

    async fn carry_out_erasures(&self, now: Timestamp, limit: u32) -> Result<u64, Error> {
        self.within(self.inner.carry_out_erasures(now, limit)).await
    }

    async fn history(
        &self,
        subject: SubjectId,
        after: Offset,
        limit: u32,
    ) -> Result<Vec<Recorded>, Error> {
        self.time(
            LedgerOperation::History,
            self.inner.history(subject, after, limit),
        )
        .await
    }

    async fn changes_after(&self, after: Position, limit: u32) -> Result<Vec<Recorded>, Error> {
        self.time(
            LedgerOperation::Changes,
            self.inner.changes_after(after, limit),
        )
        .await
    }

    async fn heads(&self) -> Result<Vec<Position>, Error> {
        self.time(LedgerOperation::Heads, self.inner.heads()).await
    }

    async fn subjects_after(
        &self,
        partition: Partition,
        after: Option<[u8; 16]>,
        limit: u32,
    ) -> Result<Vec<StoredSubject>, Error> {
        self.within(self.inner.subjects_after(partition, after, limit))
            .await
    }

    async fn address(&self, subject: SubjectId) -> Result<Option<Vec<u8>>, Error> {
        self.within(self.inner.address(subject)).await
    }

    async fn system_after(&self, after: Offset, limit: u32) -> Result<Vec<SystemRecord>, Error> {
        self.time(
            LedgerOperation::Changes,
            self.inner.system_after(after, limit),
        )
        .await
    }

    async fn append_system(
        &self,
        expected: Offset,
        recorded_at: Timestamp,
        body: &str,
    ) -> Result<Option<Offset>, Error> {
        self.time(
            LedgerOperation::Append,
            self.inner.append_system(expected, recorded_at, body),
        )
        .await
    }

    async fn meta(&self) -> Result<Meta, Error> {
        self.within(self.inner.meta()).await
    }

    async fn set_key_check(&self, value: &str) -> Result<(), Error> {
        self.within(self.inner.set_key_check(value)).await
    }

    fn followed(&self) -> &History {
        self.inner.followed()
    }

    async fn ping(&self) -> Result<(), Error> {
        self.within(self.inner.ping()).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl ActivityStore for Measured<dyn ActivityStore> {
    async fn activity(
        &self,
        subjects: &[SubjectRef],
        wanted: Wanted<'_>,
    ) -> Result<Vec<Activity>, Error> {
        self.time(
            LedgerOperation::Activity,
            self.inner.activity(subjects, wanted),
        )
        .await
    }

    async fn knows(&self, subject: &SubjectRef) -> Result<bool, Error> {
        self.time(LedgerOperation::Activity, self.inner.knows(subject))
            .await
    }

    async fn note_inbound(
        &self,
        subjects: &[SubjectRef],
        sender: &SenderId,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.time(
            LedgerOperation::Note,
            self.inner.note_inbound(subjects, sender, at),
        )
        .await
    }

    async fn note_send(
        &self,
        subjects: &[SubjectRef],
        sent: &Sent,
        message: &[u8; 16],
    ) -> Result<bool, Error> {
        self.time(
            LedgerOperation::Note,
            self.inner.note_send(subjects, sent, message),
        )
        .await
    }

    async fn forget_activity(
        &self,
        kind: Kind,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, Error> {
        self.within(self.inner.forget_activity(kind, before, limit))
            .await
    }

    async fn take_permit(
        &self,
        opt_out: EventId,
        request: &[u8; 16],
        at: Timestamp,
    ) -> Result<bool, Error> {
        let outcome = |result: &Result<bool, Error>| match result {
            Ok(true) => Outcome::Ok,
            Ok(false) => Outcome::Conflict,
            Err(_) => Outcome::Error,
        };
        self.metrics
            .time_ledger(
                LedgerOperation::Note,
                self.within(self.inner.take_permit(opt_out, request, at)),
                outcome,
            )
            .await
    }

    async fn permit_holder(&self, opt_out: EventId) -> Result<Option<[u8; 16]>, Error> {
        let holder = self.inner.permit_holder(opt_out);
        self.time(LedgerOperation::Activity, holder).await
    }
}
