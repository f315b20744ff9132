//! Activity in memory, in front of its store: what of it may be used again, and for how long.
//!
//! An open service window holds until its end, whatever happens: a later message only moves the end
//! on. A closed or unknown one is read again every time. Sends hold for a second, since other
//! instances report some, too; and longer for whoever is over a cap by them, since more sends never
//! bring anybody under it. So a cap can be overshot by what is sent within one second.
//!
//! What is reported here counts here at once. A read that was under way then may be from before
//! the report: whether it is kept is decided under the key's lock, by whether a report came
//! between. That the report left something newer is not enough: it may have been evicted.
//!
//! This is outside the promise of the coherence protocol, and so of the lease. Nothing is decided
//! here, and nothing is looked up that nobody wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::ops::compute::Op;
use moka::sync::Cache;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::lane::{self, Lane};
use super::{Limits, PARTITIONS, YIELD_AFTER};
use crate::clock::Clock;
use crate::domain::activity::{Activity, SERVICE_WINDOW, Sent, Wanted};
use crate::domain::id::{EventId, SenderId};
use crate::domain::time::Timestamp;
use crate::ledger::activity::ActivityStore;
use crate::ledger::{Error, Partition, SubjectRef};
use crate::telemetry::{Metrics, Shed};

/// For how long sends may be used from before they were read.
pub const SENDS_HOLD: Duration = Duration::from_secs(1);

/// How many reads are under way at a time. The others wait, as misses of facts do, so that records and
/// opt-outs find a connection.
const AT_ONCE: usize = 4;

/// Activity of subjects by their keyed hash.
#[derive(Debug)]
pub struct ActivityCache {
    entries: Cache<[u8; 16], Arc<Entry>, foldhash::fast::RandomState>,
    /// Per partition: how many reports ended here.
    reports: Box<[AtomicU64]>,
    store: Arc<dyn ActivityStore>,
    places: Semaphore,
    patience: Option<Duration>,
    lane: Lane,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

/// What is known of one subject.
#[derive(Debug, Clone, Default)]
struct Entry {
    /// When the person last wrote to a sender.
    windows: Vec<(SenderId, Timestamp)>,
    sends: Option<Known>,
}

/// Sends as one read found them.
#[derive(Debug, Clone)]
struct Known {
    /// Only its sends are filled.
    activity: Arc<Activity>,
    /// All of them from here on.
    since: Timestamp,
    /// Steady time from before they were read.
    read_at: Duration,
}

/// What memory has for one question.
#[derive(Debug, Clone, Default)]
struct Found {
    window: Option<Timestamp>,
    sends: Option<Arc<Activity>>,
}

impl ActivityCache {
    /// An empty cache, which reads for many people in `lane`.
    pub fn new(
        store: Arc<dyn ActivityStore>,
        clock: Arc<dyn Clock>,
        limits: Limits,
        lane: Lane,
        metrics: Metrics,
    ) -> Self {
        let entries = Cache::builder()
            .max_capacity(limits.bytes)
            .weigher(|_, entry: &Arc<Entry>| entry.weight())
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self {
            entries,
            reports: (0..PARTITIONS).map(|_| AtomicU64::new(0)).collect(),
            store,
            places: Semaphore::new(AT_ONCE),
            patience: limits.patience,
            lane,
            clock,
            metrics,
        }
    }

    /// Whether the store knows anything of a subject, whatever memory has.
    pub async fn knows(&self, subject: &SubjectRef) -> Result<bool, super::Error> {
        Ok(self.store.knows(subject).await?)
    }

    /// Activity of many subjects at `at`, in their order. What memory cannot answer is read in one
    /// statement for each kind that is wanted, for many people in a few.
    ///
    /// `is_over_cap` is asked of sends that are older than [`SENDS_HOLD`], with the index of the
    /// subject: whether they are too many for this question at `at`. Only then are they used again.
    pub async fn activity(
        &self,
        subjects: &[SubjectRef],
        wanted: Wanted<'_>,
        at: Timestamp,
        is_over_cap: impl Fn(usize, &Activity) -> bool + Send,
    ) -> Result<Vec<Arc<Activity>>, super::Error> {
        if wanted.is_nothing() {
            return Ok(vec![Arc::default(); subjects.len()]);
        }
        let steady = self.clock.steady();
        let mut found: Vec<Found> = Vec::with_capacity(subjects.len());
        for some in subjects.chunks(YIELD_AFTER) {
            if !found.is_empty() {
                tokio::task::yield_now().await;
            }
            let first = found.len();
            found.extend(some.iter().enumerate().map(|(index, subject)| {
                self.hit(subject, wanted, at, steady, |sends| {
                    is_over_cap(first + index, sends)
                })
            }));
        }
        drop(is_over_cap);
        let missing: Vec<usize> = (0..subjects.len())
            .filter(|index| !found[*index].answers(wanted))
            .collect();
        if !missing.is_empty() {
            let asked: Vec<SubjectRef> = missing
                .iter()
                .map(|index| subjects[*index].clone())
                .collect();
            for (index, loaded) in missing
                .into_iter()
                .zip(self.load(&asked, wanted, at).await?)
            {
                let window = loaded.window.max(found[index].window);
                found[index] = Found { window, ..loaded };
            }
        }
        Ok(found
            .into_iter()
            .map(|found| found.into_activity(wanted))
            .collect())
    }

    /// What memory has of a subject and may still be used.
    fn hit(
        &self,
        subject: &SubjectRef,
        wanted: Wanted<'_>,
        at: Timestamp,
        steady: Duration,
        is_over_cap: impl Fn(&Activity) -> bool,
    ) -> Found {
        let Some(entry) = self.entries.get(&subject.key) else {
            return Found::default();
        };
        let window = wanted.window_of.and_then(|sender| entry.window_of(sender));
        let sends = wanted.sends_since.and_then(|since| {
            let known = entry.sends.as_ref().filter(|known| known.since <= since)?;
            let fresh = steady.saturating_sub(known.read_at) < SENDS_HOLD;
            (fresh || is_over_cap(&known.activity)).then(|| Arc::clone(&known.activity))
        });
        Found {
            window: window.filter(|inbound| is_open(*inbound, at)),
            sends,
        }
    }

    /// Reads the store, for many people by several statements, each in its place of the lane.
    async fn load(
        &self,
        subjects: &[SubjectRef],
        wanted: Wanted<'_>,
        at: Timestamp,
    ) -> Result<Vec<Found>, super::Error> {
        if subjects.len() <= lane::FEW {
            let _place = self.place().await?;
            let read = self.store.activity(subjects, wanted);
            return Ok(self.load_some(subjects, wanted, at, read).await?);
        }
        let statements = lane::statements(subjects);
        let loads = statements.iter().map(|statement| async move {
            let some = lane::picked(subjects, statement);
            let read = self.lane.run(self.read(some.clone(), wanted));
            self.load_some(&some, wanted, at, read).await
        });
        let loaded = lane::together(loads).await?;
        Ok(lane::in_order(&statements, loaded))
    }

    /// A read that borrows nothing.
    fn read(
        &self,
        subjects: Vec<SubjectRef>,
        wanted: Wanted<'_>,
    ) -> impl Future<Output = Result<Vec<Activity>, Error>> + Send + use<> {
        let store = Arc::clone(&self.store);
        let (sender, sends_since) = (wanted.window_of.cloned(), wanted.sends_since);
        async move {
            let window_of = sender.as_ref();
            let wanted = Wanted {
                window_of,
                sends_since,
            };
            store.activity(&subjects, wanted).await
        }
    }

    /// Reads, and keeps what the store says unless a report came between.
    async fn load_some(
        &self,
        subjects: &[SubjectRef],
        wanted: Wanted<'_>,
        at: Timestamp,
        read: impl Future<Output = Result<Vec<Activity>, Error>>,
    ) -> Result<Vec<Found>, Error> {
        let read_at = self.clock.steady();
        let before: Vec<u64> = subjects
            .iter()
            .map(|subject| self.reports(subject.partition))
            .collect();
        let loaded = read.await?;
        let kept = subjects.iter().zip(before).zip(loaded);
        Ok(kept
            .map(|((subject, before), loaded)| {
                let window = loaded.last_inbound;
                let known = wanted.sends_since.map(|since| Known {
                    activity: Arc::new(Activity {
                        last_inbound: None,
                        sends: loaded.sends,
                    }),
                    since,
                    read_at,
                });
                let sends = known.as_ref().map(|known| Arc::clone(&known.activity));
                let open = wanted
                    .window_of
                    .zip(window.filter(|inbound| is_open(*inbound, at)));
                self.keep(subject, open, known, before);
                Found { window, sends }
            })
            .collect())
    }

    /// A place among the reads that are under way, until it is dropped.
    async fn place(&self) -> Result<Option<SemaphorePermit<'_>>, super::Error> {
        let Some(patience) = self.patience else {
            return Ok(None);
        };
        match tokio::time::timeout(patience, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(Some(place)),
            Ok(Err(_)) | Err(_) => {
                self.metrics.shed(Shed::Cold);
                Err(super::Error::Crowded)
            }
        }
    }

    /// Keeps what was read, an open window and sends, unless a report ended since `before` was taken
    /// or something newer is known.
    fn keep(
        &self,
        subject: &SubjectRef,
        open: Option<(&SenderId, Timestamp)>,
        read: Option<Known>,
        before: u64,
    ) {
        self.entries.entry(subject.key).and_compute_with(|known| {
            if self.reports(subject.partition) != before {
                return Op::Nop;
            }
            let known = known.map(|known| Arc::clone(known.value()));
            let newer = known.as_ref().and_then(|known| known.sends.as_ref());
            let read = read.filter(|read| newer.is_none_or(|newer| newer.read_at <= read.read_at));
            if open.is_none() && read.is_none() {
                return Op::Nop;
            }
            let mut entry = known.map_or_else(Entry::default, Arc::unwrap_or_clone);
            if let Some((sender, inbound)) = open {
                entry.raise_window(sender, inbound);
            }
            entry.sends = read.or(entry.sends);
            Op::Put(Arc::new(entry))
        });
    }

    /// Notes a message that opens the sender's service window, and that it is open.
    pub async fn note_inbound(
        &self,
        subjects: &[SubjectRef],
        sender: &SenderId,
        at: Timestamp,
    ) -> Result<(), Error> {
        self.store.note_inbound(subjects, sender, at).await?;
        let opens = is_open(at, self.clock.now());
        for subject in subjects {
            self.count_report(subject.partition);
            if opens {
                self.entries.entry(subject.key).and_compute_with(|known| {
                    let known = known.map(|known| Arc::clone(known.value()));
                    let mut entry = known.map_or_else(Entry::default, Arc::unwrap_or_clone);
                    entry.raise_window(sender, at);
                    Op::Put(Arc::new(entry))
                });
            }
        }
        Ok(())
    }

    /// Notes a message that was sent, and drops the sends that it makes outdated. `message` is a
    /// keyed hash of its id. True if none of the subjects had it.
    pub async fn note_send(
        &self,
        subjects: &[SubjectRef],
        sent: &Sent,
        message: &[u8; 16],
    ) -> Result<bool, Error> {
        // Also where the outcome stays unknown, or its caller leaves.
        let _drops = DropSends {
            cache: self,
            subjects,
        };
        self.store.note_send(subjects, sent, message).await
    }

    /// Takes the one permit of an opt-out for its confirmation; see [`ActivityStore::take_permit`].
    /// Never answered from memory.
    pub async fn take_permit(
        &self,
        opt_out: EventId,
        request: &[u8; 16],
        at: Timestamp,
    ) -> Result<bool, Error> {
        self.store.take_permit(opt_out, request, at).await
    }

    /// The request that took an opt-out's permit; see [`ActivityStore::permit_holder`]. Never answered
    /// from memory.
    pub async fn permit_holder(&self, opt_out: EventId) -> Result<Option<[u8; 16]>, Error> {
        self.store.permit_holder(opt_out).await
    }

    fn drop_sends(&self, subject: &SubjectRef) {
        self.count_report(subject.partition);
        self.entries.entry(subject.key).and_compute_with(|known| {
            let Some(known) = known.filter(|known| known.value().sends.is_some()) else {
                return Op::Nop;
            };
            let windows = known.value().windows.clone();
            if windows.is_empty() {
                return Op::Remove;
            }
            Op::Put(Arc::new(Entry {
                windows,
                sends: None,
            }))
        });
    }

    /// Before the entry is touched, so that a read which began earlier is not kept after it.
    fn count_report(&self, partition: Partition) {
        self.reports[usize::from(partition.0)].fetch_add(1, Ordering::AcqRel);
    }

    fn reports(&self, partition: Partition) -> u64 {
        self.reports[usize::from(partition.0)].load(Ordering::Acquire)
    }

    /// Runs the map's pending evictions now. For tests: the map does it by itself, later.
    pub fn run_pending_evictions(&self) {
        self.entries.run_pending_tasks();
    }
}

/// Drops the sends of subjects, whichever way a report of one more ends.
struct DropSends<'a> {
    cache: &'a ActivityCache,
    subjects: &'a [SubjectRef],
}

impl Drop for DropSends<'_> {
    fn drop(&mut self) {
        for subject in self.subjects {
            self.cache.drop_sends(subject);
        }
    }
}

fn is_open(inbound: Timestamp, at: Timestamp) -> bool {
    at < inbound.plus(SERVICE_WINDOW)
}

impl Entry {
    fn window_of(&self, sender: &SenderId) -> Option<Timestamp> {
        let mut windows = self.windows.iter();
        windows.find(|(of, _)| of == sender).map(|(_, at)| *at)
    }

    fn raise_window(&mut self, sender: &SenderId, inbound: Timestamp) {
        match self.windows.iter_mut().find(|(of, _)| of == sender) {
            Some((_, known)) => *known = inbound.max(*known),
            None => self.windows.push((sender.clone(), inbound)),
        }
    }

    /// Roughly the bytes that the entry and its place in the map take.
    fn weight(&self) -> u32 {
        /// As measured: moka keeps this beside each entry.
        const MAP: usize = 323;
        let windows: usize = self
            .windows
            .iter()
            .map(|window| size_of_val(window) + window.0.as_str().len())
            .sum();
        let sends: usize = self
            .sends
            .iter()
            .flat_map(|known| &known.activity.sends)
            .map(|sent| size_of_val(sent) + sent.purpose.as_str().len())
            .sum();
        let bytes = MAP + size_of::<Self>() + size_of::<Activity>() + windows + sends;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

impl Found {
    fn answers(&self, wanted: Wanted<'_>) -> bool {
        (wanted.window_of.is_none() || self.window.is_some())
            && (wanted.sends_since.is_none() || self.sends.is_some())
    }

    fn into_activity(self, wanted: Wanted<'_>) -> Arc<Activity> {
        match (self.window, self.sends) {
            (None, Some(sends)) => sends,
            (last_inbound, sends) => {
                debug_assert!(wanted.sends_since.is_none() || sends.is_some());
                Arc::new(Activity {
                    last_inbound,
                    sends: sends.map(|sends| sends.sends.clone()).unwrap_or_default(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::PurposeKey;
    use crate::domain::vocabulary::MessageClass;

    #[test]
    fn an_entry_weighs_more_the_more_it_holds() {
        let mut entry = Entry::default();
        let empty = entry.weight();
        entry.raise_window(&SenderId::parse("shop").unwrap(), Timestamp::EPOCH);
        let one_window = entry.weight();
        entry.raise_window(&SenderId::parse("shop").unwrap(), Timestamp::MAX);
        assert!(one_window > empty);
        assert_eq!(entry.weight(), one_window);
        let sent = Sent {
            purpose: PurposeKey::parse("offers").unwrap(),
            class: MessageClass::Marketing,
            at: Timestamp::EPOCH,
        };
        entry.sends = Some(Known {
            activity: Arc::new(Activity {
                last_inbound: None,
                sends: vec![sent; 100],
            }),
            since: Timestamp::EPOCH,
            read_at: Duration::ZERO,
        });
        assert!(entry.weight() > one_window + 2_000);
    }
}
