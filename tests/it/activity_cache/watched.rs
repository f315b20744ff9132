//! A store of activity that counts what it is asked, and whose answers arrive when a test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use consentgate::domain::activity::{Activity, Sent, Wanted};
use consentgate::domain::id::{EventId, SenderId};
use consentgate::domain::time::Timestamp;
use consentgate::ledger::activity::{ActivityStore, Kind};
use consentgate::ledger::{Error, SubjectRef};
use tokio::sync::Semaphore;

#[derive(Debug)]
pub struct Watched {
    inner: Arc<dyn ActivityStore>,
    reads: AtomicU64,
    asked: AtomicU64,
    reading: Gate,
    reporting: Gate,
    loses_answers: AtomicBool,
}

/// Where an answer waits after it was read, or a report after it was committed.
#[derive(Debug)]
struct Gate {
    holds_next: AtomicBool,
    arrived: Semaphore,
    released: Semaphore,
}

/// Whoever comes next waits until it is released; those behind it pass.
pub struct Held<'a>(&'a Gate);

impl Gate {
    fn open() -> Self {
        Self {
            holds_next: AtomicBool::new(false),
            arrived: Semaphore::new(0),
            released: Semaphore::new(0),
        }
    }

    fn hold(&self) -> Held<'_> {
        self.holds_next.store(true, Ordering::SeqCst);
        Held(self)
    }

    async fn pass(&self) {
        if self.holds_next.swap(false, Ordering::SeqCst) {
            self.arrived.add_permits(1);
            self.released.acquire().await.unwrap().forget();
        }
    }
}

impl Held<'_> {
    pub async fn arrived(&self) {
        self.0.arrived.acquire().await.unwrap().forget();
    }

    pub fn release(self) {
        self.0.released.add_permits(1);
    }
}

impl Watched {
    pub fn over(inner: &Arc<dyn ActivityStore>) -> Self {
        Self {
            inner: Arc::clone(inner),
            reads: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            reading: Gate::open(),
            reporting: Gate::open(),
            loses_answers: AtomicBool::new(false),
        }
    }

    /// How often it was read.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    /// How many subjects it was asked for.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// The next read sees what is there and does not answer until it is released.
    pub fn hold(&self) -> Held<'_> {
        self.reading.hold()
    }

    /// The next report of a send commits and does not answer until it is released.
    pub fn hold_reports(&self) -> Held<'_> {
        self.reporting.hold()
    }

    /// Reports of sends commit, and nobody hears of it.
    pub fn lose_answers_of_reports(&self, lose: bool) {
        self.loses_answers.store(lose, Ordering::SeqCst);
    }
}

#[async_trait]
impl ActivityStore for Watched {
    async fn activity(
        &self,
        subjects: &[SubjectRef],
        wanted: Wanted<'_>,
    ) -> Result<Vec<Activity>, Error> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let asked = u64::try_from(subjects.len()).unwrap();
        self.asked.fetch_add(asked, Ordering::SeqCst);
        let found = self.inner.activity(subjects, wanted).await;
        self.reading.pass().await;
        found
    }

    async fn knows(&self, subject: &SubjectRef) -> Result<bool, Error> {
        self.inner.knows(subject).await
    }

    async fn note_inbound(
        &self,
        subjects: &[SubjectRef],
        sender: &SenderId,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.inner.note_inbound(subjects, sender, at).await
    }

    async fn note_send(
        &self,
        subjects: &[SubjectRef],
        sent: &Sent,
        message: &[u8; 16],
    ) -> Result<bool, Error> {
        let noted = self.inner.note_send(subjects, sent, message).await;
        self.reporting.pass().await;
        if self.loses_answers.load(Ordering::SeqCst) {
            return Err(Error::Unavailable("the answer was lost".into()));
        }
        noted
    }

    async fn forget_activity(
        &self,
        kind: Kind,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, Error> {
        self.inner.forget_activity(kind, before, limit).await
    }

    async fn take_permit(
        &self,
        opt_out: EventId,
        request: &[u8; 16],
        at: Timestamp,
    ) -> Result<bool, Error> {
        self.inner.take_permit(opt_out, request, at).await
    }

    async fn permit_holder(&self, opt_out: EventId) -> Result<Option<[u8; 16]>, Error> {
        self.inner.permit_holder(opt_out).await
    }
}
