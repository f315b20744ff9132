//! A ledger whose answers arrive late: after writes that were acknowledged while they were under way. What a cache that
//! keeps such an answer tells afterwards is from before those writes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use consentgate::domain::id::{BusinessId, SubjectId};
use consentgate::domain::time::Timestamp;
use consentgate::ledger::activity::ActivityStore;
use consentgate::ledger::postgres::{self, Postgres};
use consentgate::ledger::{
    Append, Appended, Error, History, Ledger, Loaded, Meta, Offset, Partition, Position, Recorded,
    Rpc, StoredAnswer, StoredSubject, Subject, SubjectRef, SystemRecord, Touch,
};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::harness::Backend;
use crate::ledger::{LIMITS, open_sqlite};
use crate::postgres::{TestDatabase, database};

/// An empty ledger of one test.
pub struct Store {
    pub ledger: Arc<dyn Ledger>,
    pub activity: Arc<dyn ActivityStore>,
    _kept: (Option<TempDir>, Option<TestDatabase>),
}

impl Store {
    pub async fn open(on: Backend) -> Self {
        match on {
            Backend::Sqlite => {
                let directory = tempfile::tempdir().unwrap();
                let file: PathBuf = directory.path().join("ledger.db");
                let ledger = Arc::new(open_sqlite(&file).await);
                Self {
                    activity: ledger.clone(),
                    ledger,
                    _kept: (Some(directory), None),
                }
            }
            Backend::Postgres => {
                let database = database().await;
                postgres::migrate(database.url(), LIMITS).await.unwrap();
                let ledger = Postgres::open(database.url(), LIMITS).await.unwrap();
                let ledger = Arc::new(ledger);
                Self {
                    activity: ledger.clone(),
                    ledger,
                    _kept: (None, Some(database)),
                }
            }
        }
    }
}

/// How many writes were acknowledged so far.
#[derive(Debug)]
pub struct Acknowledged(watch::Sender<u64>);

impl Acknowledged {
    pub fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    pub fn one_more(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// No more are coming: nobody need wait for one.
    pub fn end(&self) {
        self.0.send_replace(u64::MAX);
    }

    pub fn ended(&self) -> bool {
        *self.0.borrow() == u64::MAX
    }
}

/// Reads facts at once, and hands them over later.
#[derive(Debug)]
pub struct SlowLedger {
    inner: Arc<dyn Ledger>,
    until: Until,
}

#[derive(Debug)]
enum Until {
    /// Up to two more writes were acknowledged.
    Acknowledged(watch::Receiver<u64>, Random),
    /// Who reads many is let through.
    Open(Arc<Gate>),
}

/// Where reads about many wait; those about few pass.
#[derive(Debug)]
pub struct Gate {
    few: usize,
    open: watch::Sender<bool>,
    seen: watch::Sender<Vec<usize>>,
}

impl Gate {
    pub fn above(few: usize) -> Arc<Self> {
        Arc::new(Self {
            few,
            open: watch::Sender::new(false),
            seen: watch::Sender::default(),
        })
    }

    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// About how many each read was that came here.
    pub fn seen(&self) -> Vec<usize> {
        self.seen.borrow().clone()
    }

    async fn pass(&self, people: usize) {
        if people > self.few {
            self.seen.send_modify(|seen| seen.push(people));
            let mut open = self.open.subscribe();
            open.wait_for(|open| *open).await.ok();
        }
    }
}

impl SlowLedger {
    pub fn over(inner: Arc<dyn Ledger>, acknowledged: &Acknowledged) -> Self {
        let until = Until::Acknowledged(acknowledged.0.subscribe(), Random::new(7));
        Self { inner, until }
    }

    pub fn behind(inner: Arc<dyn Ledger>, gate: &Arc<Gate>) -> Self {
        let until = Until::Open(Arc::clone(gate));
        Self { inner, until }
    }
}

#[async_trait]
impl Ledger for SlowLedger {
    async fn facts(&self, subjects: &[SubjectRef]) -> Result<Vec<Loaded>, Error> {
        let loaded = self.inner.facts(subjects).await;
        match &self.until {
            Until::Acknowledged(acknowledged, random) => {
                let mut acknowledged = acknowledged.clone();
                let until = acknowledged.borrow().saturating_add(random.below(3));
                // An error means that the test is over.
                acknowledged.wait_for(|count| *count >= until).await.ok();
            }
            Until::Open(gate) => gate.pass(subjects.len()).await,
        }
        loaded
    }

    fn followed(&self) -> &History {
        self.inner.followed()
    }

    async fn find(&self, subject: SubjectId) -> Result<Option<(SubjectRef, Subject)>, Error> {
        self.inner.find(subject).await
    }

    async fn append(&self, append: &Append<'_>) -> Result<Appended, Error> {
        self.inner.append(append).await
    }

    async fn answer(
        &self,
        business: &BusinessId,
        rpc: Rpc,
        key_hash: &[u8; 16],
        touch: Touch,
    ) -> Result<Option<StoredAnswer>, Error> {
        self.inner.answer(business, rpc, key_hash, touch).await
    }

    async fn forget_answers(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        self.inner.forget_answers(before, limit).await
    }

    async fn carry_out_erasures(&self, now: Timestamp, limit: u32) -> Result<u64, Error> {
        self.inner.carry_out_erasures(now, limit).await
    }

    async fn history(
        &self,
        subject: SubjectId,
        after: Offset,
        limit: u32,
    ) -> Result<Vec<Recorded>, Error> {
        self.inner.history(subject, after, limit).await
    }

    async fn changes_after(&self, after: Position, limit: u32) -> Result<Vec<Recorded>, Error> {
        self.inner.changes_after(after, limit).await
    }

    async fn heads(&self) -> Result<Vec<Position>, Error> {
        self.inner.heads().await
    }

    async fn subjects_after(
        &self,
        partition: Partition,
        after: Option<[u8; 16]>,
        limit: u32,
    ) -> Result<Vec<StoredSubject>, Error> {
        self.inner.subjects_after(partition, after, limit).await
    }

    async fn address(&self, subject: SubjectId) -> Result<Option<Vec<u8>>, Error> {
        self.inner.address(subject).await
    }

    async fn system_after(&self, after: Offset, limit: u32) -> Result<Vec<SystemRecord>, Error> {
        self.inner.system_after(after, limit).await
    }

    async fn append_system(
        &self,
        expected: Offset,
        recorded_at: Timestamp,
        body: &str,
    ) -> Result<Option<Offset>, Error> {
        self.inner.append_system(expected, recorded_at, body).await
    }

    async fn meta(&self) -> Result<Meta, Error> {
        self.inner.meta().await
    }

    async fn set_key_check(&self, value: &str) -> Result<(), Error> {
        self.inner.set_key_check(value).await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.inner.ping().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

/// Numbers without order, and without a library: they need not be good, only different.
#[derive(Debug)]
pub struct Random(AtomicU64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A number from 0 to below `end`.
    pub fn below(&self, end: u64) -> u64 {
        // SplitMix64.
        let mut z = self
            .0
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
