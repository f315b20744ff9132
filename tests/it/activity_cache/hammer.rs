//! Readers, reports and evictions at once, over a store whose answers arrive late. The clock stands still, so that
//! nothing is ever forgotten for its age: on one instance every answer then holds each report that was acknowledged
//! before its question. The same harness catches a cache that keeps what it read without asking whether a report came
//! between: see the twin at the end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use consentgate::cache::Limits;
use consentgate::cache::activity::ActivityCache;
use consentgate::cache::lane::Lane;
use consentgate::clock::ManualClock;
use consentgate::domain::activity::{Activity, Sent, Wanted};
use consentgate::domain::id::{EventId, SenderId};
use consentgate::domain::time::Timestamp;
use consentgate::ledger::activity::{ActivityStore, Kind};
use consentgate::ledger::{Error, SubjectRef};
use consentgate::telemetry::Metrics;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{EVER, NOON, SHOP, offer, person};
use crate::ledger::Store;

/// Few enough that every entry is thrown out again and again.
const CAPACITY_BYTES: u64 = 5 << 10;
const PEOPLE: u8 = 12;
const WRITERS: u64 = 2;
const READERS: u64 = 6;
const REPORTS: usize = 100;

const BOTH: fn() -> Wanted<'static> = || Wanted {
    window_of: Some(&SHOP),
    sends_since: Some(EVER),
};

/// Activity in memory, as checks and reports use it.
#[async_trait]
trait Memory: Send + Sync + 'static {
    async fn activity(&self, people: &[SubjectRef]) -> Vec<Arc<Activity>>;
    async fn inbound(&self, people: &[SubjectRef], at: Timestamp);
    async fn send(&self, people: &[SubjectRef], message: [u8; 16]);
    fn evict(&self, random: &Random);
}

#[async_trait]
impl Memory for ActivityCache {
    async fn activity(&self, people: &[SubjectRef]) -> Vec<Arc<Activity>> {
        let found = self.activity(people, BOTH(), NOON, |_, _| false);
        found.await.unwrap()
    }

    async fn inbound(&self, people: &[SubjectRef], at: Timestamp) {
        self.note_inbound(people, &SHOP, at).await.unwrap();
    }

    async fn send(&self, people: &[SubjectRef], message: [u8; 16]) {
        assert!(
            self.note_send(people, &offer(NOON), &message)
                .await
                .unwrap()
        );
    }

    fn evict(&self, _: &Random) {
        self.run_pending_evictions();
    }
}

/// Reads at once, and hands over after up to two more reports were acknowledged.
#[derive(Debug)]
struct SlowStore {
    inner: Arc<dyn ActivityStore>,
    acknowledged: watch::Receiver<u64>,
    random: Random,
}

#[async_trait]
impl ActivityStore for SlowStore {
    async fn activity(
        &self,
        subjects: &[SubjectRef],
        wanted: Wanted<'_>,
    ) -> Result<Vec<Activity>, Error> {
        let found = self.inner.activity(subjects, wanted).await;
        let mut acknowledged = self.acknowledged.clone();
        let until = acknowledged.borrow().saturating_add(self.random.below(3));
        // An error means that the test is over.
        acknowledged.wait_for(|count| *count >= until).await.ok();
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
        self.inner.note_send(subjects, sent, message).await
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

/// What a run saw.
#[derive(Debug, Default)]
struct Seen {
    answers: AtomicU64,
    /// Answers that lack a send, or the latest message of the person, acknowledged before they were asked for.
    stale_sends: AtomicU64,
    stale_windows: AtomicU64,
}

/// What is acknowledged of one person.
#[derive(Debug, Default)]
struct Told {
    sends: AtomicU64,
    /// Microseconds after noon.
    inbound: AtomicU64,
}

struct Hammer {
    memory: Arc<dyn Memory>,
    people: Vec<SubjectRef>,
    told: Vec<Told>,
    acknowledged: watch::Sender<u64>,
    messages: AtomicU64,
    over: AtomicBool,
    seen: Seen,
}

impl Hammer {
    async fn run<M: Memory>(
        store: &Store,
        memory: impl FnOnce(Arc<dyn ActivityStore>) -> M,
    ) -> Seen {
        let acknowledged = watch::Sender::new(0);
        let slow = SlowStore {
            inner: Arc::clone(&store.activity),
            acknowledged: acknowledged.subscribe(),
            random: Random::new(7),
        };
        let hammer = Arc::new(Self {
            memory: Arc::new(memory(Arc::new(slow))),
            people: (0..PEOPLE).map(person).collect(),
            told: (0..PEOPLE).map(|_| Told::default()).collect(),
            acknowledged,
            messages: AtomicU64::new(0),
            over: AtomicBool::new(false),
            seen: Seen::default(),
        });
        let mut others = JoinSet::new();
        for reader in 0..READERS {
            let hammer = Arc::clone(&hammer);
            others.spawn(async move { hammer.read(&Random::new(100 + reader)).await });
        }
        let evictor = Arc::clone(&hammer);
        others.spawn(async move { evictor.evict().await });
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let hammer = Arc::clone(&hammer);
            writers.spawn(async move {
                let random = Random::new(200 + writer);
                for _ in 0..REPORTS {
                    hammer.report(&random).await;
                }
            });
        }
        writers.join_all().await;
        hammer.over.store(true, Ordering::SeqCst);
        hammer.acknowledged.send_replace(u64::MAX);
        others.join_all().await;
        Arc::try_unwrap(hammer).map_or_else(|_| panic!("a task still runs"), |hammer| hammer.seen)
    }

    /// Reports a message from or to one or two people, as linked addresses are.
    async fn report(&self, random: &Random) {
        let first = index(random);
        let other = first + 1 + index(random) % (usize::from(PEOPLE) - 1);
        let mut named = vec![first, other % usize::from(PEOPLE)];
        named.truncate(1 + usize::from(random.below(2) == 0));
        let people: Vec<_> = named.iter().map(|n| self.people[*n].clone()).collect();
        let number = 1 + self.messages.fetch_add(1, Ordering::SeqCst);
        if random.below(3) == 0 {
            let at = NOON.plus(Duration::from_micros(number));
            self.memory.inbound(&people, at).await;
            for n in named {
                self.told[n].inbound.fetch_max(number, Ordering::SeqCst);
            }
        } else {
            let mut message = [0; 16];
            message[..8].copy_from_slice(&number.to_be_bytes());
            self.memory.send(&people, message).await;
            for n in named {
                self.told[n].sends.fetch_add(1, Ordering::SeqCst);
            }
        }
        self.acknowledged.send_modify(|count| *count += 1);
    }

    async fn read(&self, random: &Random) {
        while !self.over.load(Ordering::SeqCst) {
            let count = 1 + index(random) % 4;
            let asked: Vec<usize> = (0..count).map(|_| index(random)).collect();
            let people: Vec<_> = asked.iter().map(|n| self.people[*n].clone()).collect();
            let told = asked.iter().map(|n| {
                let told = &self.told[*n];
                let sends = told.sends.load(Ordering::SeqCst);
                (sends, told.inbound.load(Ordering::SeqCst))
            });
            let told: Vec<_> = told.collect();
            let found = self.memory.activity(&people).await;
            assert_eq!(found.len(), count);
            for (found, (sends, inbound)) in found.iter().zip(told) {
                self.seen.answers.fetch_add(1, Ordering::Relaxed);
                if (found.sends.len() as u64) < sends {
                    self.seen.stale_sends.fetch_add(1, Ordering::Relaxed);
                }
                let expected = (inbound > 0).then(|| NOON.plus(Duration::from_micros(inbound)));
                if found.last_inbound < expected {
                    self.seen.stale_windows.fetch_add(1, Ordering::Relaxed);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    async fn evict(&self) {
        let random = Random::new(300);
        while !self.over.load(Ordering::SeqCst) {
            self.memory.evict(&random);
            tokio::task::yield_now().await;
        }
    }
}

fn index(random: &Random) -> usize {
    usize::try_from(random.below(u64::from(PEOPLE))).unwrap()
}

pub async fn no_answer_is_from_before_an_acknowledged_report(store: &Store) {
    let seen = Hammer::run(store, |slow| {
        ActivityCache::new(
            slow,
            Arc::new(ManualClock::at(NOON)),
            Limits::of_bytes(CAPACITY_BYTES),
            Lane::of(4),
            Metrics::disabled(),
        )
    })
    .await;
    assert!(seen.answers.load(Ordering::Relaxed) > 100, "{seen:?}");
    assert_eq!(seen.stale_sends.load(Ordering::Relaxed), 0, "{seen:?}");
    assert_eq!(seen.stale_windows.load(Ordering::Relaxed), 0, "{seen:?}");
}

/// What the hammer must catch: a cache that drops an entry at every report, and keeps every read.
struct Unchecked {
    entries: Mutex<HashMap<[u8; 16], Arc<Activity>>>,
    store: Arc<dyn ActivityStore>,
}

impl Unchecked {
    fn drop_all(&self, people: &[SubjectRef]) {
        let mut entries = self.entries.lock().unwrap();
        for person in people {
            entries.remove(&person.key);
        }
    }
}

#[async_trait]
impl Memory for Unchecked {
    async fn activity(&self, people: &[SubjectRef]) -> Vec<Arc<Activity>> {
        let mut found = Vec::new();
        for person in people {
            let known = self.entries.lock().unwrap().get(&person.key).cloned();
            found.push(match known {
                Some(known) => known,
                None => {
                    let one = std::slice::from_ref(person);
                    let read = self.store.activity(one, BOTH()).await.unwrap();
                    let read = Arc::new(read.into_iter().next().unwrap());
                    let mut entries = self.entries.lock().unwrap();
                    entries.insert(person.key, Arc::clone(&read));
                    read
                }
            });
        }
        found
    }

    async fn inbound(&self, people: &[SubjectRef], at: Timestamp) {
        let noted = self.store.note_inbound(people, &SHOP, at).await;
        noted.unwrap();
        self.drop_all(people);
    }

    async fn send(&self, people: &[SubjectRef], message: [u8; 16]) {
        let noted = self.store.note_send(people, &offer(NOON), &message).await;
        noted.unwrap();
        self.drop_all(people);
    }

    fn evict(&self, random: &Random) {
        let mut entries = self.entries.lock().unwrap();
        entries.retain(|_, _| random.below(4) > 0);
    }
}

pub async fn the_hammer_catches_a_cache_that_keeps_what_it_read_unchecked(store: &Store) {
    // A read must begin before a report and be kept after it, which one run may miss.
    const RUNS: usize = 20;
    for _ in 0..RUNS {
        let seen = Hammer::run(store, |slow| Unchecked {
            entries: Mutex::default(),
            store: slow,
        });
        let seen = seen.await;
        let stale = [&seen.stale_sends, &seen.stale_windows].map(|n| n.load(Ordering::Relaxed));
        if stale.iter().sum::<u64>() > 0 {
            return;
        }
    }
    panic!("nothing stale in {RUNS} runs");
}

/// Numbers without order, and without a library: they need not be good, only different.
#[derive(Debug)]
struct Random(AtomicU64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A number from 0 to below `end`.
    fn below(&self, end: u64) -> u64 {
        // SplitMix64.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
