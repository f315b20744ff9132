//! Facts in memory, and the rules that make them safe to answer from.
//!
//! The cache holds facts, never verdicts: facts change only by events, a verdict ages with the
//! clock. One entry answers every purpose; a subject of which nothing is known is an entry too.
//!
//! The steps are named as in the coherence protocol. C1: without a valid lease nothing is answered.
//! C2: an entry counts while it is not below its partition's floor. C3: facts that were loaded are
//! used, and kept, only if no newer event of the partition has been applied meanwhile. F4: applying
//! an event first raises `applied`, then touches the entry under its key's lock. Every insertion
//! and removal is a comparison under that lock; nothing else writes to the map.
//!
//! Only the checking path reads from here: what is written is decided on what the ledger says.

pub mod activity;
pub mod lease;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use moka::ops::compute::Op;
use moka::sync::Cache;

use crate::clock::Clock;
use crate::domain::facts::Facts;
use crate::domain::id::SubjectId;
use crate::ledger::{self, Ledger, Loaded, Offset, Partition, Position, SubjectRef, Version};
use crate::telemetry::{CacheFill, Metrics};
use lease::Lease;

/// How often facts are loaded again because events of their partition were applied meanwhile.
const LOADS: usize = 8;

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
}

impl Entry {
    fn from_loaded(loaded: Loaded, partition: Partition) -> Self {
        let as_of = loaded.as_of;
        match loaded.subject {
            None => Self {
                subject_id: None,
                version: Version(0),
                facts: Facts::default(),
                partition,
                as_of,
            },
            Some(subject) => Self {
                subject_id: Some(subject.subject_id),
                version: subject.version,
                facts: subject.facts,
                partition,
                as_of,
            },
        }
    }

    /// Which of two entries of a subject knows more.
    fn is_newer_than(&self, other: &Self) -> bool {
        (self.version, self.as_of) > (other.version, other.as_of)
    }

    /// Roughly the bytes that the entry and its place in the map take.
    fn weight(&self) -> u32 {
        const MAP: usize = 200;
        let bytes = MAP + size_of::<Self>() + self.facts.heap_bytes();
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// Why no facts can be given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this instance has lost its lease, so it cannot tell whether its facts are current")]
    LeaseLost,
    #[error("the subject's partition changes too fast to be read")]
    Outrun,
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
}

/// Facts of subjects by their keyed hash.
#[derive(Debug)]
pub struct FactsCache {
    entries: Cache<[u8; 16], Arc<Entry>, foldhash::fast::RandomState>,
    /// Per partition: events up to here have been applied to the entries.
    applied: Box<[AtomicI64]>,
    /// Per partition: entries older than this are not used.
    floor: Box<[AtomicI64]>,
    lease: Arc<Lease>,
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl FactsCache {
    /// An empty cache of at most `capacity_bytes`.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        lease: Arc<Lease>,
        capacity_bytes: u64,
        metrics: Metrics,
    ) -> Self {
        let evicted = metrics.clone();
        let entries: Cache<[u8; 16], Arc<Entry>, _> = Cache::builder()
            .max_capacity(capacity_bytes)
            .weigher(|_, entry: &Arc<Entry>| entry.weight())
            .eviction_listener(move |_, _, cause| {
                if cause.was_evicted() {
                    evicted.cache_eviction();
                }
            })
            .build_with_hasher(foldhash::fast::RandomState::default());
        let observed = entries.clone();
        metrics.observe_cache(move || CacheFill {
            entries: observed.entry_count(),
            weight_bytes: observed.weighted_size(),
        });
        let zeros = || (0..PARTITIONS).map(|_| AtomicI64::new(0)).collect();
        Self {
            entries,
            applied: zeros(),
            floor: zeros(),
            lease,
            ledger,
            clock,
            metrics,
        }
    }

    /// Facts of one subject, from memory or from the ledger.
    pub async fn facts(&self, subject: &SubjectRef) -> Result<Arc<Entry>, Error> {
        self.require_lease()?;
        if let Some(entry) = self.hit(subject) {
            return Ok(entry);
        }
        let mut loaded = self.load(std::slice::from_ref(subject)).await?;
        loaded.pop().ok_or(Error::Outrun)
    }

    /// Facts of many subjects, in their order; what is missing is loaded in one statement.
    pub async fn facts_of_many(&self, subjects: &[SubjectRef]) -> Result<Vec<Arc<Entry>>, Error> {
        self.require_lease()?;
        let found: Vec<Option<Arc<Entry>>> =
            subjects.iter().map(|subject| self.hit(subject)).collect();
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

    /// C1, before the cache is looked at: an instance that was paused between the two, the other
    /// way round, could answer from before the pause.
    fn require_lease(&self) -> Result<(), Error> {
        if self.lease.is_valid(self.clock.steady()) {
            Ok(())
        } else {
            Err(Error::LeaseLost)
        }
    }

    /// C2.
    fn hit(&self, subject: &SubjectRef) -> Option<Arc<Entry>> {
        let entry = self
            .entries
            .get(&subject.key)
            .filter(|entry| entry.as_of >= self.floor(subject.partition));
        match entry {
            Some(_) => self.metrics.cache_hit(),
            None => self.metrics.cache_miss(),
        }
        entry
    }

    /// Facts straight from the ledger, kept in memory on the way: what a miss and a caller who asks
    /// for full consistency get. C3.
    pub async fn load(&self, subjects: &[SubjectRef]) -> Result<Vec<Arc<Entry>>, Error> {
        self.require_lease()?;
        let mut result: Vec<Option<Arc<Entry>>> = vec![None; subjects.len()];
        let mut open: Vec<usize> = (0..subjects.len()).collect();
        for _ in 0..LOADS {
            let asked: Vec<SubjectRef> =
                open.iter().map(|index| subjects[*index].clone()).collect();
            self.metrics.cache_load();
            let loaded = self.ledger.facts(&asked).await?;
            self.require_lease()?;
            let mut outrun = Vec::new();
            for ((index, subject), loaded) in open.iter().zip(&asked).zip(loaded) {
                let entry = Arc::new(Entry::from_loaded(loaded, subject.partition));
                if entry.as_of >= self.applied(subject.partition) {
                    self.keep(subject, &entry);
                    result[*index] = Some(entry);
                } else {
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

    /// Keeps loaded facts unless something newer was applied or is there already.
    fn keep(&self, subject: &SubjectRef, entry: &Arc<Entry>) {
        self.entries.entry(subject.key).and_compute_with(|known| {
            let outdated = entry.as_of < self.applied(subject.partition);
            let newer_known = known.is_some_and(|known| !entry.is_newer_than(known.value()));
            if outdated || newer_known {
                self.metrics.cache_insert_rejected();
                return Op::Nop;
            }
            Op::Put(Arc::clone(entry))
        });
    }

    /// Applies a commit of this instance: no check that starts after this answers from before it.
    /// F4: first `applied`, so that a load which began earlier is refused, then the entry.
    pub fn committed(&self, subject: &SubjectRef, position: Position, entry: Entry) {
        raise(&self.applied, position.partition, position.offset);
        let entry = Arc::new(entry);
        self.entries
            .entry(subject.key)
            .and_compute_with(|known| match known {
                Some(known) if !entry.is_newer_than(known.value()) => Op::Nop,
                _ => Op::Put(entry),
            });
    }

    /// Applies a commit of which only the position is known: an older entry is dropped.
    pub fn observed(&self, subject: &SubjectRef, position: Position) {
        raise(&self.applied, position.partition, position.offset);
        self.entries
            .entry(subject.key)
            .and_compute_with(|known| match known {
                Some(known) if known.value().as_of < position.offset => Op::Remove,
                _ => Op::Nop,
            });
    }

    /// Starts again from these heads: nothing older is used, whether cached or being loaded.
    pub fn restart_from(&self, heads: &[Position]) {
        for head in heads {
            raise(&self.applied, head.partition, head.offset);
            raise(&self.floor, head.partition, head.offset);
        }
    }

    /// Whether the ledger has less than was applied already: history was lost.
    pub fn is_ahead_of(&self, heads: &[Position]) -> bool {
        heads
            .iter()
            .any(|head| head.offset < self.applied(head.partition))
    }

    /// Events of a partition up to here have been applied.
    pub fn applied(&self, partition: Partition) -> Offset {
        Offset(self.applied[usize::from(partition.0)].load(Ordering::Acquire))
    }

    fn floor(&self, partition: Partition) -> Offset {
        Offset(self.floor[usize::from(partition.0)].load(Ordering::Acquire))
    }

    pub fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    /// Runs the map's pending evictions now. For tests: the map does it by itself, later.
    pub fn run_pending_evictions(&self) {
        self.entries.run_pending_tasks();
    }
}

fn raise(offsets: &[AtomicI64], partition: Partition, offset: Offset) {
    offsets[usize::from(partition.0)].fetch_max(offset.0, Ordering::AcqRel);
}
