//! The cache of one instance is exact: no check that starts after a write was acknowledged answers from before it.
//!
//! Readers, writers and evictions hammer a cache of a few entries over a ledger whose answers arrive late. The same
//! harness catches a cache that keeps what it loaded without asking whether it is outdated: see the twin at the end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use consentgate::cache::lane::Lane;
use consentgate::cache::lease::Lease;
use consentgate::cache::{self, Entry, FactsCache, Limits};
use consentgate::clock::SystemClock;
use consentgate::domain::address::Spelling;
use consentgate::domain::event::{Act, Event, Restriction, SCHEMA, Scope};
use consentgate::domain::facts::Facts;
use consentgate::domain::id::{BusinessId, EventId, SubjectId};
use consentgate::domain::time::Timestamp;
use consentgate::domain::vocabulary::{RestrictionKind, TimeSource};
use consentgate::ledger::{
    Append, Appended, Epoch, Ledger, Offset, Part, Partition, Position, Subject, SubjectRef,
    Version,
};
use consentgate::telemetry::Metrics;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::slow_ledger::{Acknowledged, Random, SlowLedger, Store};
use crate::harness::Backend;

/// Few enough that every entry is thrown out again and again.
const CAPACITY_BYTES: u64 = 3 << 10;
const PEOPLE: usize = 12;
const PARTITIONS: u16 = 3;
const WRITERS: usize = 2;
const READERS: usize = 6;
const WRITES: usize = 40;

/// Facts in memory, as checks and writes use them.
#[async_trait]
trait Memory: Send + Sync + 'static {
    async fn facts(&self, people: &[SubjectRef]) -> Result<Vec<Arc<Entry>>, cache::Error>;
    /// A commit, before it is acknowledged.
    fn committed(&self, person: &SubjectRef, position: Position, entry: Entry);
    fn evict(&self, random: &Random);
}

#[async_trait]
impl Memory for FactsCache {
    async fn facts(&self, people: &[SubjectRef]) -> Result<Vec<Arc<Entry>>, cache::Error> {
        match people {
            [one] => Ok(vec![Self::facts(self, one).await?]),
            many => self.facts_of_many(many).await,
        }
    }

    fn committed(&self, person: &SubjectRef, position: Position, entry: Entry) {
        Self::committed(self, person, position, entry);
    }

    /// It evicts when something is put.
    fn evict(&self, _: &Random) {}
}

fn facts_cache(ledger: Arc<dyn Ledger>) -> FactsCache {
    FactsCache::new(
        ledger,
        Arc::new(SystemClock),
        Arc::new(Lease::endless()),
        Limits::of_bytes(CAPACITY_BYTES),
        Lane::of(4),
        Metrics::disabled(),
    )
}

/// What a run of the hammer saw.
#[derive(Debug, Default)]
struct Seen {
    answers: AtomicU64,
    /// Answers from before a write that was acknowledged when the question was put.
    stale: AtomicU64,
}

struct Hammer {
    memory: Arc<dyn Memory>,
    /// Without the delay, for those who write.
    ledger: Arc<dyn Ledger>,
    people: Vec<SubjectRef>,
    /// The version up to which each one's writes are acknowledged.
    versions: Vec<AtomicI64>,
    acknowledged: Acknowledged,
    seen: Seen,
}

impl Hammer {
    /// Hammers `written` of the people with writes, and all of them with questions.
    async fn run<M: Memory>(
        on: Backend,
        written: usize,
        memory: impl FnOnce(Arc<dyn Ledger>) -> M,
    ) -> Seen {
        let store = Store::open(on).await;
        let acknowledged = Acknowledged::new();
        let slow = SlowLedger::over(Arc::clone(&store.ledger), &acknowledged);
        let hammer = Arc::new(Self {
            memory: Arc::new(memory(Arc::new(slow))),
            ledger: Arc::clone(&store.ledger),
            people: (0..PEOPLE).map(person).collect(),
            versions: (0..PEOPLE).map(|_| AtomicI64::new(0)).collect(),
            acknowledged,
            seen: Seen::default(),
        });
        let mut others = JoinSet::new();
        for reader in 0..READERS {
            let hammer = Arc::clone(&hammer);
            others.spawn(async move { hammer.read(Random::new(100 + reader as u64)).await });
        }
        let evictor = Arc::clone(&hammer);
        others.spawn(async move { evictor.evict().await });
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let hammer = Arc::clone(&hammer);
            let random = Random::new(200 + writer as u64);
            writers.spawn(async move {
                for _ in 0..WRITES {
                    hammer.write(index(&random, written)).await;
                }
            });
        }
        writers.join_all().await;
        hammer.acknowledged.end();
        others.join_all().await;
        Arc::try_unwrap(hammer).map_or_else(|_| panic!("a task still runs"), |hammer| hammer.seen)
    }

    async fn read(&self, random: Random) {
        while !self.acknowledged.ended() {
            let count = 1 + index(&random, 4);
            let asked: Vec<usize> = (0..count).map(|_| index(&random, PEOPLE)).collect();
            let people: Vec<_> = asked.iter().map(|i| self.people[*i].clone()).collect();
            let known = |i: &usize| self.versions[*i].load(Ordering::SeqCst);
            let before: Vec<i64> = asked.iter().map(known).collect();
            match self.memory.facts(&people).await {
                Ok(entries) => {
                    assert_eq!(entries.len(), count);
                    for (entry, before) in entries.iter().zip(before) {
                        self.judge(entry, before);
                    }
                }
                // No answer is no wrong answer.
                Err(cache::Error::Outrun) => {}
                Err(error) => panic!("{error}"),
            }
            tokio::task::yield_now().await;
        }
    }

    fn judge(&self, entry: &Entry, before: i64) {
        self.seen.answers.fetch_add(1, Ordering::Relaxed);
        if entry.version.0 < before {
            self.seen.stale.fetch_add(1, Ordering::Relaxed);
        }
        // The version may not say more than the facts that come with it.
        let latest = entry.facts.restrictions.first().map(|r| r.mark.at);
        let expected = (entry.version.0 > 0).then(|| second(entry.version.0));
        assert_eq!(latest, expected);
    }

    /// One write, decided again until it is the next one.
    async fn write(&self, index: usize) {
        let person = &self.people[index];
        loop {
            let loaded = self.ledger.facts(std::slice::from_ref(person)).await;
            let known = loaded.unwrap().pop().unwrap().subject;
            let (subject_id, version, mut facts) = match known {
                None => (SubjectId(Uuid::new_v4()), Version(0), Facts::default()),
                Some(Subject {
                    subject_id,
                    version,
                    facts,
                }) => (subject_id, version, facts),
            };
            let event = opt_out(subject_id, version.0 + 1);
            facts.apply(&event);
            let part = Part {
                subject: person,
                expected: version,
                event: &event,
                facts: &facts,
                payload: None,
                address: Some(b"sealed"),
                removal: None,
            };
            let append = Append {
                parts: &[part],
                key_id: 1,
                idempotency: None,
            };
            match self.ledger.append(&append).await.unwrap() {
                Appended::At(positions) => {
                    let position = positions[0];
                    let version = Version(version.0 + 1);
                    let entry = Entry {
                        subject_id: Some(subject_id),
                        version,
                        facts,
                        partition: position.partition,
                        as_of: position.offset,
                        epoch: self.ledger.followed().generation(),
                    };
                    self.memory.committed(person, position, entry);
                    self.versions[index].fetch_max(version.0, Ordering::SeqCst);
                    self.acknowledged.one_more();
                    return;
                }
                Appended::VersionChanged => {}
                Appended::KeyUsed => panic!("there is no key"),
            }
        }
    }

    async fn evict(&self) {
        let random = Random::new(300);
        while !self.acknowledged.ended() {
            self.memory.evict(&random);
            tokio::task::yield_now().await;
        }
    }
}

fn index(random: &Random, end: usize) -> usize {
    usize::try_from(random.below(end as u64)).unwrap()
}

fn person(number: usize) -> SubjectRef {
    let number = u8::try_from(number).unwrap();
    SubjectRef {
        business: BusinessId::parse("acme").unwrap(),
        partition: Partition(1 + u16::from(number) % PARTITIONS),
        key: [number; 16],
    }
}

/// An instant that is no whole second, so that an opt-out counts from it exactly.
fn second(count: i64) -> Timestamp {
    Timestamp::from_micros(count * 1_000_000 + 1)
}

fn opt_out(subject_id: SubjectId, version: i64) -> Event {
    Event {
        copied_from: None,
        schema: SCHEMA,
        event_id: EventId(Uuid::new_v4()),
        subject_id,
        business_id: BusinessId::parse("acme").unwrap(),
        event_time: second(version),
        recorded_at: second(version),
        time_source: TimeSource::Gate,
        spelling: Spelling::Verbatim,
        act: Act::Restricted(Restriction {
            received_by: None,
            kind: RestrictionKind::Withdrawn,
            scope: Scope::Everything,
            sender_id: None,
            withdrawal_method: None,
            indication_method: None,
            notice: None,
            import_batch_id: None,
        }),
        payload_commitment: None,
        recorded_by: None,
    }
}

#[track_caller]
fn is_exact(seen: &Seen) {
    let (answers, stale) = (
        seen.answers.load(Ordering::Relaxed),
        seen.stale.load(Ordering::Relaxed),
    );
    assert!(answers > 100, "too few to say anything: {answers}");
    assert_eq!(stale, 0, "of {answers} answers");
}

pub async fn no_answer_is_from_before_an_acknowledged_write_of_one_person(on: Backend) {
    is_exact(&Hammer::run(on, 1, facts_cache).await);
}

pub async fn no_answer_is_from_before_an_acknowledged_write_of_several_people(on: Backend) {
    is_exact(&Hammer::run(on, PEOPLE, facts_cache).await);
}

/// What the hammer must catch: a cache that is emptied by every write, and keeps every load.
struct Unchecked {
    entries: Mutex<HashMap<[u8; 16], Arc<Entry>>>,
    ledger: Arc<dyn Ledger>,
}

#[async_trait]
impl Memory for Unchecked {
    async fn facts(&self, people: &[SubjectRef]) -> Result<Vec<Arc<Entry>>, cache::Error> {
        let mut found = Vec::new();
        for person in people {
            let known = self.entries.lock().unwrap().get(&person.key).cloned();
            let entry = match known {
                Some(entry) => entry,
                None => {
                    let loaded = self.ledger.facts(std::slice::from_ref(person)).await?;
                    let entry = Arc::new(unchecked(loaded.into_iter().next().unwrap(), person));
                    let mut entries = self.entries.lock().unwrap();
                    entries.insert(person.key, Arc::clone(&entry));
                    entry
                }
            };
            found.push(entry);
        }
        Ok(found)
    }

    fn committed(&self, person: &SubjectRef, _: Position, _: Entry) {
        self.entries.lock().unwrap().remove(&person.key);
    }

    fn evict(&self, random: &Random) {
        let mut entries = self.entries.lock().unwrap();
        entries.retain(|_, _| random.below(4) > 0);
    }
}

fn unchecked(loaded: consentgate::ledger::Loaded, person: &SubjectRef) -> Entry {
    let subject = loaded.subject;
    Entry {
        subject_id: subject.as_ref().map(|subject| subject.subject_id),
        version: subject
            .as_ref()
            .map_or(Version(0), |subject| subject.version),
        facts: subject.map(|subject| subject.facts).unwrap_or_default(),
        partition: person.partition,
        as_of: Offset(0),
        epoch: Epoch::ONLY.generation(),
    }
}

pub async fn the_hammer_catches_a_cache_that_keeps_what_it_loaded_unchecked(on: Backend) {
    // A load must begin before a commit and be kept after it, which one run may miss.
    const RUNS: usize = 20;
    for written in [1, PEOPLE] {
        let mut caught = false;
        for _ in 0..RUNS {
            let seen = Hammer::run(on, written, |ledger| Unchecked {
                entries: Mutex::default(),
                ledger,
            });
            caught = seen.await.stale.load(Ordering::Relaxed) > 0;
            if caught {
                break;
            }
        }
        assert!(
            caught,
            "nothing stale in {RUNS} runs with {written} written"
        );
    }
}
