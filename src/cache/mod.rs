//! Facts in memory, and the protocol that makes them safe to answer from.
//!
//! The cache holds facts, never verdicts: facts change only by events, a verdict ages with the
//! clock. One entry answers every purpose; a subject of which nothing is known is an entry too.
//!
//! The promise: once a restriction was acknowledged, no check that starts later, on any instance, is
//! answered from before it. The steps are named as in the coherence protocol, which ARCHITECTURE
//! tells and a model in the tests explores:
//!
//! - C1 to C4, checking, here. C1: without a valid [`lease`] nothing is answered. C2: an entry counts
//!   while it is of the history that is followed and not below its partition's floor. C3: facts that
//!   were loaded ([`gather`]) are used, and kept, only if no newer event of the partition has been
//!   applied meanwhile.
//! - F0 to F5, following the ledger: [`follower`]. F4, applying, is here: first `applied` is raised,
//!   then entries are dropped, each under its key's lock, then `finished` is raised.
//! - W2 to W6, waiting until a restriction holds everywhere: [`confirm`].
//!
//! Every insertion and removal is a comparison under the key's lock; nothing else writes to the map.
//! What is written may be decided on what lies here, but counts only on the ledger's word ([`FactsCache::remembered`]). Where
//! a process is alone (SQLite) the lease has no end, and whoever commits applies it.

pub mod activity;
pub mod confirm;
pub mod follower;
mod gather;
pub mod lane;
pub mod lease;
mod map;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::domain::facts::{Facts, chunk};
use crate::domain::id::SubjectId;
use crate::ledger::following::{Changes, Offsets};
use crate::ledger::{
    self, Epoch, Generation, History, Ledger, Loaded, Offset, Partition, Position, SYSTEM,
    SubjectRef, Timeline, Version,
};
use crate::telemetry::{CacheFill, Metrics, Shed};
use crate::weakened::{Step, leaves_out};
use gather::Gatherer;
use lane::Lane;
use lease::Lease;
use map::{Change, Map};

/// How often facts are loaded again because events of their partition were applied meanwhile.
const LOADS: usize = 8;

/// After how many hits a batch lets others run: about 0.1 ms.
const YIELD_AFTER: usize = 256;

/// Partitions, the system's included.
const PARTITIONS: usize = crate::keys::SUBJECT_PARTITIONS as usize + 1;

/// What is known of one subject, and as of when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `None`: nothing was ever recorded.
    pub subject_id: Option<SubjectId>,
    pub version: Version,
    pub facts: Facts,
    pub partition: Partition,
    /// The facts hold every event of the partition up to here.
    pub as_of: Offset,
    /// The history of the ledger that they are of.
    pub epoch: Generation,
}

impl Entry {
    fn from_loaded(loaded: Loaded, partition: Partition, epoch: Generation) -> Self {
        let as_of = loaded.as_of;
        match loaded.subject {
            None => Self {
                subject_id: None,
                version: Version(0),
                facts: Facts::default(),
                partition,
                as_of,
                epoch,
            },
            Some(subject) => Self {
                subject_id: Some(subject.subject_id),
                version: subject.version,
                facts: {
                    let mut facts = subject.facts;
                    facts.shrink();
                    facts
                },
                partition,
                as_of,
                epoch,
            },
        }
    }

    /// Which of two entries of a subject knows more. One of another history knows nothing.
    fn is_newer_than(&self, other: &Self) -> bool {
        self.epoch != other.epoch || (self.version, self.as_of) > (other.version, other.as_of)
    }

    /// The bytes that the entry takes beside its place in the map: measured within a twentieth.
    fn weight(&self) -> usize {
        /// Two counts lie before what is shared.
        const SHARED: usize = 2 * size_of::<usize>();
        chunk(SHARED + size_of::<Self>()) + self.facts.heap_bytes()
    }
}

/// Why no facts can be given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this instance has lost its lease, so it cannot tell whether its facts are current")]
    LeaseLost,
    #[error("the subject's partition changes too fast to be read")]
    Outrun,
    #[error("too many wait for the database")]
    Crowded,
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
}

/// What bounds the cache.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Memory that it takes at most.
    pub bytes: u64,
    /// How long a miss may wait until its statement is sent. `None`: as long as it takes.
    pub patience: Option<Duration>,
}

impl Limits {
    /// Of memory alone.
    pub fn of_bytes(bytes: u64) -> Self {
        Self {
            bytes,
            patience: None,
        }
    }
}

/// Facts of subjects by their keyed hash.
#[derive(Debug)]
pub struct FactsCache {
    entries: Arc<Map>,
    /// Per partition: nothing that is older is taken in any more.
    applied: Box<[AtomicI64]>,
    /// Per partition: everything that is older has been dropped; what other instances are told.
    finished: Box<[AtomicI64]>,
    /// Per partition: entries older than this are not used.
    floor: Box<[AtomicI64]>,
    lease: Arc<Lease>,
    gatherer: Gatherer,
    history: History,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl FactsCache {
    /// An empty cache, which reads for many people in `lane`.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        lease: Arc<Lease>,
        limits: Limits,
        lane: Lane,
        metrics: Metrics,
    ) -> Self {
        let entries = Arc::new(Map::new(limits.bytes));
        let observed = Arc::downgrade(&entries);
        metrics.observe_cache(move || {
            let (entries, weight_bytes) = observed.upgrade().map_or((0, 0), |map| map.fill());
            CacheFill {
                entries,
                weight_bytes,
            }
        });
        let observed = Arc::downgrade(&lease);
        let steady = Arc::clone(&clock);
        metrics.observe_lease(move || {
            let lease = observed.upgrade()?;
            (!lease.is_endless()).then(|| lease.remaining(steady.steady()))
        });
        let zeros = || (0..PARTITIONS).map(|_| AtomicI64::new(0)).collect();
        Self {
            entries,
            applied: zeros(),
            finished: zeros(),
            floor: zeros(),
            lease,
            history: ledger.followed().clone(),
            gatherer: Gatherer::new(ledger, lane, limits.patience),
            clock,
            metrics,
        }
    }

    /// Facts of one subject, from memory or from the ledger.
    pub async fn facts(&self, subject: &SubjectRef) -> Result<Arc<Entry>, Error> {
        match self.facts_in_memory(subject)? {
            Some(entry) => Ok(entry),
            None => self.loaded(subject).await,
        }
    }

    /// Facts of one subject, if they are in memory.
    pub fn facts_in_memory(&self, subject: &SubjectRef) -> Result<Option<Arc<Entry>>, Error> {
        self.require_lease()?;
        Ok(self.hit(subject))
    }

    /// Facts of one subject from the ledger, kept in memory on the way: see [`FactsCache::load`].
    pub async fn loaded(&self, subject: &SubjectRef) -> Result<Arc<Entry>, Error> {
        let mut loaded = self.load(std::slice::from_ref(subject)).await?;
        loaded.pop().ok_or(Error::Outrun)
    }

    /// Facts of many subjects, in their order; what is missing is loaded by few statements.
    pub async fn facts_of_many(&self, subjects: &[SubjectRef]) -> Result<Vec<Arc<Entry>>, Error> {
        self.require_lease()?;
        let mut found: Vec<Option<Arc<Entry>>> = Vec::with_capacity(subjects.len());
        for some in subjects.chunks(YIELD_AFTER) {
            // C1 for each, since others had their turn meanwhile.
            self.require_lease()?;
            found.extend(some.iter().map(|subject| self.hit(subject)));
            if found.len() < subjects.len() {
                tokio::task::yield_now().await;
            }
        }
        let missing: Vec<SubjectRef> = found
            .iter()
            .zip(subjects)
            .filter(|(entry, _)| entry.is_none())
            .map(|(_, subject)| subject.clone())
            .collect();
        let mut loaded = match missing.is_empty() {
            true => Vec::new(),
            false => self.load(&missing).await?,
        }
        .into_iter();
        found
            .into_iter()
            .map(|entry| entry.or_else(|| loaded.next()).ok_or(Error::Outrun))
            .collect()
    }

    /// Whether what is in memory may be used at all. Read it before what it is about.
    pub fn has_lease(&self) -> bool {
        self.lease.is_valid(self.clock.steady()) || leaves_out(Step::Lease)
    }

    /// C1, before the cache is looked at: an instance that was paused between the two, the other
    /// way round, could answer from before the pause.
    pub fn require_lease(&self) -> Result<(), Error> {
        if self.has_lease() {
            Ok(())
        } else {
            self.metrics.refused_without_lease();
            Err(Error::LeaseLost)
        }
    }

    /// What is in memory, however old: without a lease, and without a promise. For what is compared with
    /// the ledger before it counts.
    pub fn remembered(&self, subject: &SubjectRef) -> Option<Arc<Entry>> {
        self.entries
            .get(&subject.key)
            .filter(|entry| entry.epoch == self.history.generation())
            .filter(|entry| entry.as_of >= self.floor(subject.partition))
    }

    /// C2.
    fn hit(&self, subject: &SubjectRef) -> Option<Arc<Entry>> {
        let entry = self.remembered(subject);
        match entry {
            Some(_) => self.metrics.cache_hit(),
            None => self.metrics.cache_miss(),
        }
        entry
    }

    /// Facts straight from the ledger, kept in memory on the way: what a miss and a caller who asks
    /// for full consistency get. Many are read by several statements, each of which is compared with
    /// what was applied as soon as it is read: one large one would be outrun by any busy partition.
    pub async fn load(&self, subjects: &[SubjectRef]) -> Result<Vec<Arc<Entry>>, Error> {
        if subjects.len() <= lane::FEW {
            return self.load_some(subjects).await;
        }
        let statements = lane::statements(subjects);
        let loads = statements.iter().map(|statement| async move {
            let some = lane::picked(subjects, statement);
            self.load_some(&some).await
        });
        let loaded = lane::together(loads).await?;
        Ok(lane::in_order(&statements, loaded))
    }

    /// C3, with one statement.
    async fn load_some(&self, subjects: &[SubjectRef]) -> Result<Vec<Arc<Entry>>, Error> {
        self.require_lease()?;
        let mut result: Vec<Option<Arc<Entry>>> = vec![None; subjects.len()];
        let mut open: Vec<usize> = (0..subjects.len()).collect();
        for _ in 0..LOADS {
            let asked: Vec<SubjectRef> =
                open.iter().map(|index| subjects[*index].clone()).collect();
            self.metrics.cache_load();
            let loaded = match self.gatherer.load(&asked).await {
                // Its connection is closed; another one may lead to the right history.
                Err(Error::Ledger(error)) if error.is_other_history() => {
                    self.metrics.load_discarded();
                    self.require_lease()?;
                    continue;
                }
                Err(Error::Crowded) => {
                    self.metrics.shed(Shed::Cold);
                    return Err(Error::Crowded);
                }
                loaded => loaded?,
            };
            self.require_lease()?;
            let mut outrun = Vec::new();
            for ((index, subject), entry) in open.iter().zip(&asked).zip(loaded) {
                if self.is_current(&entry) {
                    self.keep(subject, &entry);
                    result[*index] = Some(entry);
                } else {
                    self.metrics.load_discarded();
                    outrun.push(*index);
                }
            }
            open = outrun;
            if open.is_empty() {
                return result
                    .into_iter()
                    .map(|entry| entry.ok_or(Error::Outrun))
                    .collect();
            }
        }
        Err(Error::Outrun)
    }

    /// C3: of the history that is followed, and no older than what was applied.
    fn is_current(&self, entry: &Entry) -> bool {
        entry.epoch == self.history.generation()
            && (entry.as_of >= self.applied(entry.partition) || leaves_out(Step::AppliedOnLoad))
            // Both of one moment: offsets of two histories are not compared.
            && entry.epoch == self.history.generation()
    }

    /// Takes facts in unless something newer was applied or is there already.
    fn keep(&self, subject: &SubjectRef, entry: &Arc<Entry>) {
        self.change(&subject.key, |known| {
            let newer_known = known.is_some_and(|known| !entry.is_newer_than(known));
            if newer_known || !self.is_current(entry) {
                self.metrics.cache_insert_rejected();
                return Change::Keep;
            }
            Change::Put(Arc::clone(entry))
        });
    }

    /// Takes in what was committed here. Where this process is alone that also applies it: no check
    /// that starts later answers from before it. Among several only the follower applies, whoever
    /// restricts waits for it, and this only spares the next check a load.
    pub fn committed(&self, subject: &SubjectRef, position: Position, entry: Entry) {
        if self.lease.is_endless() {
            raise(&self.applied, position.partition, position.offset);
        }
        let mut entry = entry;
        entry.facts.shrink();
        let entry = Arc::new(entry);
        self.change(&subject.key, |known| {
            if known.is_some_and(|known| !entry.is_newer_than(known)) {
                return Change::Keep;
            }
            // Another commit may have been applied meanwhile, of this subject even.
            match self.is_current(&entry) {
                true => Change::Put(Arc::clone(&entry)),
                false => Change::Remove,
            }
        });
    }

    /// Drops what is older than a commit of which only the place is known.
    pub fn observed(&self, subject: &SubjectRef, position: Position) {
        if self.lease.is_endless() {
            raise(&self.applied, position.partition, position.offset);
        }
        self.drop_older(&subject.key, position.offset);
    }

    fn drop_older(&self, key: &[u8; 16], than: Offset) {
        if leaves_out(Step::Dropping) {
            return;
        }
        self.change(key, |known| match known {
            Some(known) if known.as_of < than => Change::Remove,
            Some(_) | None => Change::Keep,
        });
    }

    fn change(&self, key: &[u8; 16], change: impl FnOnce(Option<&Arc<Entry>>) -> Change) {
        let evicted = self.entries.compute(key, change);
        self.metrics.cache_evictions(evicted);
    }

    /// F4, by the follower alone: what the ledger has up to `heads`, and which subjects changed. First
    /// `applied`, so that a load which began earlier is refused, then the entries.
    pub(in crate::cache) fn apply(&self, heads: &Offsets, changes: &Changes) {
        for (partition, head) in subjects_of(heads) {
            raise(&self.applied, partition, head);
        }
        match changes {
            Changes::Subjects(changed) => {
                for one in changed {
                    self.drop_older(&one.key, one.offset);
                }
            }
            Changes::Many => {
                for (partition, head) in subjects_of(heads) {
                    if self.finished(partition) < head {
                        raise(&self.floor, partition, head);
                    }
                }
            }
        }
        for (partition, head) in subjects_of(heads) {
            raise(&self.finished, partition, head);
        }
    }

    /// The catalogue follows the system partition up to here.
    pub(in crate::cache) fn applied_system(&self, offset: Offset) {
        self.applied[usize::from(SYSTEM.0)].store(offset.0, Ordering::Release);
        self.finished[usize::from(SYSTEM.0)].store(offset.0, Ordering::Release);
    }

    /// Another history begins, with these heads: nothing of the one before is used any more.
    pub(in crate::cache) fn enter(&self, timeline: Timeline, heads: &Offsets) {
        // While the offsets of two histories are told apart by nothing, nothing is taken in.
        for (partition, _) in subjects_of(heads) {
            let index = usize::from(partition.0);
            self.applied[index].store(i64::MAX, Ordering::Release);
        }
        self.history.enter(timeline);
        self.entries.clear();
        for (partition, head) in subjects_of(heads) {
            let index = usize::from(partition.0);
            self.floor[index].store(head.0, Ordering::Release);
            self.finished[index].store(head.0, Ordering::Release);
            self.applied[index].store(head.0, Ordering::Release);
        }
    }

    /// What other instances are told: everything older has been dropped.
    pub(in crate::cache) fn all_finished(&self) -> Offsets {
        let offsets = self.finished.iter();
        Offsets(
            offsets
                .map(|offset| Offset(offset.load(Ordering::Acquire)))
                .collect(),
        )
    }

    /// Starts again from these heads: nothing older is used, whether cached or being loaded. Where
    /// this process is alone.
    pub fn restart_from(&self, heads: &[Position]) {
        for head in heads {
            raise(&self.applied, head.partition, head.offset);
            raise(&self.floor, head.partition, head.offset);
        }
    }

    /// Whether what memory holds of a subject is at least as fresh as this offset of its partition.
    pub fn covers(&self, subject: &SubjectRef, offset: Offset) -> bool {
        self.finished(subject.partition) >= offset
            || self.entries.get(&subject.key).is_some_and(|entry| {
                entry.epoch == self.history.generation() && entry.as_of >= offset
            })
    }

    /// Facts that are looked at from now on hold every event of the partition up to here that concerns
    /// them.
    pub fn finished(&self, partition: Partition) -> Offset {
        Offset(self.finished[usize::from(partition.0)].load(Ordering::Acquire))
    }

    /// No facts are taken in that lack an event of the partition up to here.
    pub fn applied(&self, partition: Partition) -> Offset {
        Offset(self.applied[usize::from(partition.0)].load(Ordering::Acquire))
    }

    fn floor(&self, partition: Partition) -> Offset {
        Offset(self.floor[usize::from(partition.0)].load(Ordering::Acquire))
    }

    /// The history that is followed.
    pub fn epoch(&self) -> Epoch {
        self.history.current()
    }

    pub fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    /// How full it is.
    pub fn fill(&self) -> CacheFill {
        let (entries, weight_bytes) = self.entries.fill();
        CacheFill {
            entries,
            weight_bytes,
        }
    }
}

/// All partitions but the system's, which the catalogue follows.
fn subjects_of(heads: &Offsets) -> impl Iterator<Item = (Partition, Offset)> + '_ {
    heads
        .each()
        .filter(|(partition, _)| *partition != SYSTEM)
        .take(PARTITIONS - 1)
}

fn raise(offsets: &[AtomicI64], partition: Partition, offset: Offset) {
    offsets[usize::from(partition.0)].fetch_max(offset.0, Ordering::AcqRel);
}
