//! The order of commits under many writers: offsets without a hole, and snapshots that agree with themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use consentgate::domain::facts::Facts;
use consentgate::ledger::{Appended, Ledger, Offset, Recorded, Subject, SubjectRef, replay};

use super::people::{Draft, Person, at, race};
use super::store::Store;

const PARTITIONS: [u16; 3] = [1, 2, 64];
const ALL: u32 = 100_000;

/// Many writers of few people, and what they were told so far.
struct Traffic {
    ledger: Arc<dyn Ledger>,
    people: Vec<Person>,
    /// The greatest acknowledged offset of each of [`PARTITIONS`].
    acknowledged: [AtomicI64; 3],
    over: AtomicBool,
}

impl Traffic {
    fn of(store: &Store, people: u8) -> Arc<Self> {
        let place = |number| PARTITIONS[usize::from(number) % PARTITIONS.len()];
        Arc::new(Self {
            ledger: Arc::clone(&store.ledger),
            people: (0..people).map(|n| Person::new(n, place(n))).collect(),
            acknowledged: Default::default(),
            over: AtomicBool::new(false),
        })
    }

    /// Runs the writers to their end, then lets the watchers have a last look.
    async fn run(self: &Arc<Self>, writers: usize, appends: usize) {
        race((0..writers).map(|writer| {
            let traffic = Arc::clone(self);
            async move {
                for round in 0..appends {
                    traffic.append(writer + round).await;
                }
            }
        }))
        .await;
        self.over.store(true, Ordering::SeqCst);
        let total: i64 = self
            .acknowledged
            .iter()
            .map(|n| n.load(Ordering::SeqCst))
            .sum();
        assert_eq!(total, i64::try_from(writers * appends).unwrap());
    }

    /// Appends one event, deciding again as often as somebody else was faster.
    async fn append(&self, person: usize) {
        let person = &self.people[person % self.people.len()];
        let partition = person.subject.partition.0;
        let acknowledged = PARTITIONS.iter().position(|known| *known == partition);
        let acknowledged = &self.acknowledged[acknowledged.unwrap()];
        let before = acknowledged.load(Ordering::SeqCst);
        loop {
            let loaded = person.load(&*self.ledger).await.unwrap();
            let draft = Draft::after(&person.subject, loaded);
            match draft.offer(&*self.ledger).await.unwrap() {
                Appended::At(positions) => {
                    let position = positions[0];
                    assert_eq!(position.partition.0, partition);
                    // What began after another was acknowledged comes after it.
                    assert!(position.offset.0 > before);
                    acknowledged.fetch_max(position.offset.0, Ordering::SeqCst);
                    return;
                }
                Appended::VersionChanged => {}
                Appended::KeyUsed => panic!("no key was given"),
            }
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

pub async fn offsets_are_dense_and_in_commit_order_under_32_writers(store: &Store) {
    let traffic = Traffic::of(store, 10);
    let watchers = [0, 1, 2].map(|n| tokio::spawn(watch(Arc::clone(&traffic), n)));
    traffic.run(32, 8).await;
    let mut looks = 0;
    for watcher in watchers {
        looks += watcher.await.unwrap();
    }
    assert!(looks > 6, "the watchers saw no more than the end");

    let report = replay::check(&*store.ledger).await.unwrap();
    assert_eq!((report.events, report.subjects), (32 * 8, 10));
    assert_eq!(report.differences, []);
}

/// Reads a partition over and over: what was seen once stays as it is, and only grows at its end.
async fn watch(traffic: Arc<Traffic>, number: usize) -> u32 {
    let ledger = &*traffic.ledger;
    let partition = PARTITIONS[number];
    let mut seen: Vec<Recorded> = Vec::new();
    let mut looks = 0;
    loop {
        let last_look = traffic.is_over();
        let acknowledged = traffic.acknowledged[number].load(Ordering::SeqCst);
        let heads = ledger.heads().await.unwrap();
        let head = heads[usize::from(partition)].offset.0;
        assert!(head >= acknowledged, "head {head}, told {acknowledged}");

        let now = ledger.changes_after(at(partition, 0), ALL).await.unwrap();
        dense_after(0, &now);
        assert!(now.starts_with(&seen), "what was seen has changed");
        let length = i64::try_from(now.len()).unwrap();
        assert!(length >= head, "{length} events, head was {head}");

        let tail = ledger
            .changes_after(at(partition, length), ALL)
            .await
            .unwrap();
        dense_after(length, &tail);
        seen = now;
        seen.extend(tail);
        looks += 1;
        if last_look {
            return looks;
        }
    }
}

fn dense_after(after: i64, changes: &[Recorded]) {
    for (offset, recorded) in (after + 1..).zip(changes) {
        assert_eq!(recorded.position.offset.0, offset, "after {after}");
    }
}

pub async fn facts_versions_and_as_of_are_of_one_snapshot(store: &Store) {
    let traffic = Traffic::of(store, 6);
    let sampler = tokio::spawn(sample(Arc::clone(&traffic)));
    traffic.run(8, 16).await;
    let samples = sampler.await.unwrap();
    assert!(samples.len() > 2);
    samples_agree_with_the_events(&traffic, &samples).await;
}

pub async fn facts_of_another_fold_version_are_those_of_their_version_while_it_moves_on(
    store: &Store,
) {
    let traffic = Traffic::of(store, 6);
    let sampler = tokio::spawn(sample(Arc::clone(&traffic)));
    let mut raw = store.connect().await;
    let outdating = {
        let traffic = Arc::clone(&traffic);
        tokio::spawn(async move {
            while !traffic.is_over() {
                let spoil = "UPDATE subject SET fold_version = 999 WHERE fold_version <> 999";
                raw.run(spoil).await;
            }
            raw.run("UPDATE subject SET fold_version = 999").await
        })
    };
    traffic.run(8, 12).await;
    assert_eq!(outdating.await.unwrap(), 6);
    let samples = sampler.await.unwrap();
    samples_agree_with_the_events(&traffic, &samples).await;
}

/// Facts of everybody, as single statements saw them.
async fn sample(traffic: Arc<Traffic>) -> Vec<BTreeMap<usize, Subject>> {
    // Everybody twice: a duplicate is of the same snapshot too.
    let everybody = traffic.people.iter().chain(&traffic.people);
    let asked: Vec<SubjectRef> = everybody.map(|person| person.subject.clone()).collect();
    let count = traffic.people.len();
    let mut samples = Vec::new();
    loop {
        let last_look = traffic.is_over();
        let loaded = traffic.ledger.facts(&asked).await.unwrap();
        assert_eq!(loaded[..count], loaded[count..]);
        for partition in PARTITIONS {
            let there = (0..count).filter(|n| asked[*n].partition.0 == partition);
            let there: Vec<usize> = there.collect();
            let version = |n: &usize| loaded[*n].subject.as_ref().map_or(0, |s| s.version.0);
            let events: i64 = there.iter().map(version).sum();
            for n in there {
                assert_eq!(loaded[n].as_of.0, events, "partition {partition}");
            }
        }
        let known = loaded.into_iter().take(count).enumerate();
        samples.push(known.filter_map(|(n, l)| Some((n, l.subject?))).collect());
        if last_look {
            return samples;
        }
    }
}

async fn samples_agree_with_the_events(traffic: &Traffic, samples: &[BTreeMap<usize, Subject>]) {
    let ledger = &*traffic.ledger;
    let mut events: Vec<Vec<Recorded>> = Vec::new();
    for person in &traffic.people {
        let known = person.load(ledger).await.unwrap().subject.unwrap();
        let history = ledger.history(known.subject_id, Offset(0), ALL).await;
        events.push(history.unwrap());
    }
    for (person, subject) in samples.iter().flatten() {
        let version = usize::try_from(subject.version.0).unwrap();
        let events = events[*person][..version].iter();
        let folded = Facts::fold(events.map(|recorded| &recorded.event));
        assert!(subject.facts == folded, "person {person} at {version}");
    }
}

pub async fn replay_of_a_ledger_that_is_written_to_finds_nothing(store: &Store) {
    let traffic = Traffic::of(store, 6);
    let replaying = {
        let traffic = Arc::clone(&traffic);
        tokio::spawn(async move {
            let mut checks = 0;
            while !traffic.is_over() {
                let report = replay::check(&*traffic.ledger).await.unwrap();
                assert_eq!(report.differences, []);
                checks += 1;
            }
            checks
        })
    };
    traffic.run(8, 16).await;
    assert!(replaying.await.unwrap() > 0);
}
