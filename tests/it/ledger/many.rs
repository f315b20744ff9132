//! Many acts at once: each as if it had been appended by itself, in one transaction.

use std::sync::Arc;

use consentgate::domain::id::SubjectId;
use consentgate::ledger::{
    Append, Appended, Error, Ledger, Offset, Partition, Rpc, SubjectRef, Touch, Version, replay,
};
use uuid::Uuid;

use super::people::{Call, Draft, Person, abandon_after, at, offer_many, race};
use super::store::Store;

/// Without the errors, which nothing here may meet.
async fn offered(drafts: &[Draft], ledger: &dyn Ledger) -> Vec<Appended> {
    let results = offer_many(drafts, ledger).await;
    results.into_iter().map(Result::unwrap).collect()
}

async fn nothing_differs(ledger: &dyn Ledger) {
    let report = replay::check(ledger).await.unwrap();
    assert_eq!(report.differences, []);
}

/// How many events, payloads and answers there are.
async fn rows_of(store: &Store) -> (usize, usize, usize) {
    let contents = store.contents().await;
    let rows = |table: &str| contents.iter().filter(|row| row.table == table).count();
    (rows("event"), rows("event_payload"), rows("idempotency"))
}

pub async fn many_acts_commit_with_what_came_of_each(store: &Store) {
    let ledger = &*store.ledger;
    let mut known = Person::new(9, 7);
    known.record(ledger).await;
    let mut outdated = Person::new(5, 7);
    outdated.record(ledger).await;
    let old = outdated.next();
    outdated.record(ledger).await;
    let used = Call::new(Rpc::RecordConsent, 1);
    let mut caller = Person::new(6, 8);
    let first = caller.next().with_call(used.clone());
    caller.record_as(first, ledger).await;

    let call = Call::new(Rpc::RecordConsent, 2);
    let (low, high, other) = (Person::new(1, 7), Person::new(200, 7), Person::new(3, 64));
    let mut ahead = Person::new(4, 9).next();
    ahead.expected = Version(1);
    let mut stranger = known.next();
    stranger.event.subject_id = SubjectId(Uuid::from_u128(3));
    let drafts = [
        high.next().with_payload(b"high"),
        old.with_payload(b"old")
            .with_call(Call::new(Rpc::RecordConsent, 3)),
        other.next().with_payload(b"other").with_call(call.clone()),
        ahead.with_payload(b"ahead"),
        Person::new(7, 8)
            .next()
            .with_payload(b"used")
            .with_call(used),
        low.next(),
        known.next().with_payload(b"known"),
        // On a subject and under a key that were named before.
        Person::new(1, 7).next().with_payload(b"again"),
        Person::new(8, 9)
            .next()
            .with_payload(b"same key")
            .with_call(call.clone()),
    ];
    let results = offered(&drafts, ledger).await;

    assert_eq!(
        results,
        [
            // In the order of the subjects, as an act on several lies.
            Appended::At(vec![at(7, 6)]),
            Appended::VersionChanged,
            Appended::At(vec![at(64, 1)]),
            Appended::VersionChanged,
            Appended::KeyUsed,
            Appended::At(vec![at(7, 4)]),
            Appended::At(vec![at(7, 5)]),
            Appended::VersionChanged,
            Appended::VersionChanged,
        ]
    );
    assert_eq!(
        offered(&[stranger], ledger).await,
        [Appended::VersionChanged]
    );
    for (index, mut person) in [(0, high), (2, other), (5, low), (6, known)] {
        person.events.push(drafts[index].event.clone());
        let loaded = person.load(ledger).await.unwrap();
        assert_eq!(loaded.subject, person.loaded(0).subject);
        let history = ledger.history(person.id, Offset(0), 10).await.unwrap();
        let last = history.last().unwrap();
        assert_eq!(last.event, drafts[index].event);
        assert_eq!(last.payload, drafts[index].payload);
        let address = ledger.address(person.id).await.unwrap();
        assert_eq!(address.as_deref(), Some(&b"sealed address"[..]));
    }
    let business = &drafts[2].subject.business;
    let answer = ledger.answer(business, call.rpc, &call.key_hash, Touch::No);
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(
        (answer.answer, answer.content_hash, answer.position),
        (call.answer, call.content_hash, at(64, 1))
    );
    // Nothing of the others.
    assert_eq!(rows_of(store).await, (8, 3, 2));
    nothing_differs(ledger).await;
    assert!(offered(&[], ledger).await.is_empty());
}

/// A generator of its own, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

pub async fn many_acts_are_as_the_same_acts_one_by_one(store: &Store) {
    const CALLS: u8 = 40;
    let ledger = &*store.ledger;
    for seed in 0..6_u64 {
        let mut random = Random(seed);
        let business = format!("b{seed}");
        let mut people: Vec<Person> = (0..30_u8)
            .map(|number| {
                let partition = u16::from(number % 3) + 1;
                let mut person = Person::of(&business, number, partition);
                person.subject.key[1] = u8::try_from(seed).unwrap();
                person.id = SubjectId(Uuid::new_v4());
                person
            })
            .collect();
        // Which keys are used; what is to come of each act is told one by one.
        let mut used = vec![false; usize::from(CALLS)];
        for _ in 0..12 {
            let (mut drafts, mut expected) = (Vec::new(), Vec::new());
            let (mut subjects, mut keys) = (Vec::new(), Vec::new());
            for _ in 0..random.below(40) {
                let whose = random.below(people.len());
                let mut draft = people[whose].next().with_payload(b"sealed");
                let off = [0, 0, 0, 0, 1, -1][random.below(6)];
                draft.expected = Version((draft.expected.0 + off).max(0));
                let is_current = draft.expected == people[whose].version();
                let key = random.below(usize::from(CALLS) * 2);
                if key < used.len() {
                    let number = u8::try_from(key).unwrap();
                    draft = draft.with_call(Call::new(Rpc::Withdraw, number));
                }
                let is_later = subjects.contains(&whose) || keys.contains(&key);
                let is_used = used.get(key) == Some(&true);
                if !is_later {
                    subjects.push(whose);
                    keys.extend((key < used.len()).then_some(key));
                }
                expected.push((whose, key, !is_later && is_current && !is_used));
                drafts.push(draft);
            }
            let results = offered(&drafts, ledger).await;
            for (((whose, key, goes_in), draft), result) in
                expected.into_iter().zip(drafts).zip(results)
            {
                let is_in = matches!(result, Appended::At(_));
                assert_eq!(is_in, goes_in, "seed {seed}: {result:?} of {draft:?}");
                if result == Appended::KeyUsed {
                    assert!(used[key], "seed {seed}: {draft:?}");
                }
                if goes_in {
                    people[whose].events.push(draft.event);
                    if let Some(used) = used.get_mut(key) {
                        *used = true;
                    }
                }
            }
            for person in &people {
                let loaded = person.load(ledger).await.unwrap();
                assert_eq!(loaded.subject, person.loaded(0).subject);
            }
        }
    }
    nothing_differs(ledger).await;
}

pub async fn one_act_that_is_refused_is_no_fault_of_the_others(store: &Store) {
    let ledger = &*store.ledger;
    let mut known = Person::new(1, 7);
    known.record(ledger).await;
    let mut taken = known.next();
    taken.event.event_id = known.events[0].event_id;
    let nowhere = Person::new(3, 65).next();
    let (ann, bob) = (Person::new(2, 7), Person::new(4, 9));
    let drafts = [ann.next(), taken, nowhere, bob.next()];
    let results = offer_many(&drafts, ledger).await;
    assert!(
        matches!(
            &results[..],
            [
                Ok(Appended::At(_)),
                Err(Error::Rejected(_)),
                Err(_),
                Ok(Appended::At(_))
            ]
        ),
        "{results:?}"
    );
    nothing_differs(ledger).await;
    assert_eq!(known.record(ledger).await, at(7, 3));
}

pub async fn more_acts_than_may_go_together_are_refused(store: &Store) {
    let ledger = &*store.ledger;
    let people = (0..=Append::MOST_AT_ONCE).map(|number| {
        let mut person = Person::new(0, 7);
        person.subject.key = u128::try_from(number).unwrap().to_be_bytes();
        person.id = SubjectId(Uuid::new_v4());
        person.next()
    });
    let drafts: Vec<Draft> = people.collect();
    let mut results = offer_many(&drafts, ledger).await;
    let last = results.pop();
    assert!(matches!(last, Some(Err(Error::Rejected(_)))), "{last:?}");
    for (offset, result) in (1..).zip(results) {
        assert_eq!(result.unwrap(), Appended::At(vec![at(7, offset)]));
    }
    nothing_differs(ledger).await;
}

pub async fn many_acts_stand_in_nobodys_way(store: &Store) {
    const ROUNDS: usize = 12;
    let people: Vec<Person> = (0..24_u8)
        .map(|number| Person::new(number.wrapping_mul(37), u16::from(number % 4) + 5))
        .collect();
    let writers = (0..8_usize).map(|writer| {
        let (ledger, people) = (Arc::clone(&store.ledger), people.clone());
        async move {
            let mut random = Random(u64::try_from(writer).unwrap());
            let mut written = 0;
            for round in 0..ROUNDS {
                // Some append one, some two as one act, most many; all in orders of their own.
                let mut left: Vec<&Person> = people.iter().collect();
                let count = [1, 2, 15, 24][(writer + round) % 4];
                let chosen = (0..count).map(|_| left.swap_remove(random.below(left.len())));
                let chosen: Vec<SubjectRef> = chosen.map(|person| person.subject.clone()).collect();
                written += append_all(&chosen, &*ledger, (writer, round)).await;
            }
            written
        }
    });
    let written: usize = race(writers).await.into_iter().sum();

    let ledger = &*store.ledger;
    let report = replay::check(ledger).await.unwrap();
    assert_eq!(report.differences, []);
    assert_eq!(report.events, u64::try_from(written).unwrap());
    let heads = ledger.heads().await.unwrap();
    let total: i64 = heads.iter().map(|head| head.offset.0).sum();
    assert_eq!(total, i64::try_from(written).unwrap());
    for head in heads.iter().filter(|head| head.partition != Partition(0)) {
        let changes = ledger.changes_after(at(head.partition.0, 0), 100_000);
        let changes = changes.await.unwrap();
        let offsets = changes.iter().map(|change| change.position.offset.0);
        assert!(offsets.eq(1..=head.offset.0), "{head:?}");
    }
}

/// Decides again until all are in. A deadlock would be an error of the database.
async fn append_all(
    subjects: &[SubjectRef],
    ledger: &dyn Ledger,
    (writer, round): (usize, usize),
) -> usize {
    let mut left: Vec<SubjectRef> = subjects.to_vec();
    while !left.is_empty() {
        let loaded = ledger.facts(&left).await.unwrap();
        let drafts: Vec<Draft> = left
            .iter()
            .zip(loaded)
            .map(|(subject, loaded)| {
                let mut call = Call::new(Rpc::Withdraw, subject.key[0]);
                call.key_hash[1] = u8::try_from(writer).unwrap();
                call.key_hash[2] = u8::try_from(round).unwrap();
                Draft::after(subject, loaded).with_call(call)
            })
            .collect();
        let results = match &drafts[..] {
            [one] => vec![one.offer(ledger).await.unwrap()],
            [one, two] => {
                let both = super::people::offer_together(&[one, two], ledger).await;
                vec![both.unwrap(); 2]
            }
            many => offered(many, ledger).await,
        };
        let mut results = results.into_iter();
        left.retain(|_| !matches!(results.next(), Some(Appended::At(_))));
    }
    subjects.len()
}

pub async fn many_abandoned_acts_are_there_all_or_not_at_all(store: &Store) {
    let ledger = &*store.ledger;
    let (mut there, mut not_there) = (0, 0);
    for polls in 0..40_u8 {
        let people = (0..5).map(|n| Person::new(5 * polls + n, 7 + u16::from(n % 2)));
        let people: Vec<Person> = people.collect();
        let drafts: Vec<Draft> = people.iter().map(Person::next).collect();
        // The result is dropped with the future, so nobody knows whether it commits, or when.
        abandon_after(u32::from(polls), offer_many(&drafts, ledger)).await;
        // The same subjects in one act of many: either comes first with all of them.
        let again: Vec<Draft> = people.iter().map(Person::next).collect();
        let results = offered(&again, ledger).await;
        let in_now = results.iter().filter(|one| matches!(one, Appended::At(_)));
        let expected = match in_now.count() {
            0 => {
                there += 1;
                &drafts
            }
            5 => {
                not_there += 1;
                &again
            }
            _ => panic!("{polls}: {results:?}"),
        };
        for (person, draft) in people.iter().zip(expected) {
            let events = person.reread(ledger).await.events;
            assert_eq!(events, std::slice::from_ref(&draft.event), "{polls}");
        }
    }
    assert!(there > 0 && not_there > 0, "{there}, {not_there}");
    nothing_differs(ledger).await;
}
