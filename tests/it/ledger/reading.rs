//! Reading: facts of many subjects at once, histories and changes by pages, heads, subjects and addresses.

use consentgate::domain::id::SubjectId;
use consentgate::ledger::{Offset, Partition, Position, Recorded, SYSTEM, SubjectRef};
use uuid::Uuid;

use super::people::{Person, at};
use super::store::Store;

pub async fn facts_come_in_the_order_asked_with_duplicates_and_absent_ones(store: &Store) {
    let ledger = &*store.ledger;
    let mut ann = Person::new(1, 7);
    let mut bob = Person::new(2, 7);
    let mut eve = Person::of("other", 3, 9);
    ann.record(ledger).await;
    bob.record(ledger).await;
    ann.record(ledger).await;
    eve.record(ledger).await;
    let absent_beside = Person::new(4, 7);
    let absent_alone = Person::new(5, 64);
    // The key of somebody, where that one does not lie.
    let misplaced = Person::new(1, 9);

    let asked = [
        (&eve, 1),
        (&absent_beside, 3),
        (&ann, 3),
        (&absent_alone, 0),
        (&ann, 3),
        (&misplaced, 1),
        (&bob, 3),
        (&absent_beside, 3),
        (&eve, 1),
    ];
    let subjects: Vec<SubjectRef> = asked.map(|(person, _)| person.subject.clone()).into();
    let expected = asked.map(|(person, as_of)| person.loaded(as_of));
    assert_eq!(ledger.facts(&subjects).await.unwrap(), expected);
    assert_eq!(ledger.facts(&[]).await.unwrap(), []);
}

pub async fn facts_of_10000_subjects_come_in_one_statement(store: &Store) {
    let ledger = &*store.ledger;
    let mut known = Vec::new();
    for number in 1..=20 {
        let mut person = Person::new(number, u16::from(number));
        person.record(ledger).await;
        known.push(person);
    }
    let subjects: Vec<SubjectRef> = (0..10_000_u32)
        .map(|n| {
            let person = &known[usize::try_from(n).unwrap() % known.len()];
            let mut subject = person.subject.clone();
            if n % 3 != 0 {
                subject.key[..4].copy_from_slice(&n.to_be_bytes());
            }
            subject
        })
        .collect();

    let loaded = ledger.facts(&subjects).await.unwrap();
    assert_eq!(loaded.len(), subjects.len());
    for (n, loaded) in loaded.iter().enumerate() {
        let person = &known[n % known.len()];
        let absent = Person::new(0, 1);
        let expected = if n % 3 == 0 { person } else { &absent };
        assert_eq!(*loaded, expected.loaded(1), "{n}");
    }
}

pub async fn a_history_is_paged_with_payloads_and_holds_one_subject(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = Person::new(1, 7);
    let mut neighbour = Person::new(2, 7);
    let payloads: [Option<&[u8]>; 5] = [None, Some(b"one"), Some(b""), None, Some(b"four")];
    for payload in payloads {
        let mut draft = person.next();
        draft.payload = payload.map(Into::into);
        person.record_as(draft, ledger).await;
        neighbour.record(ledger).await;
    }

    let expected: Vec<Recorded> = (0..5)
        .map(|n| Recorded {
            position: at(7, 1 + 2 * i64::try_from(n).unwrap()),
            event: person.events[n].clone(),
            payload: payloads[n].map(Into::into),
        })
        .collect();
    let page = async |after, limit| {
        let page = ledger.history(person.id, Offset(after), limit).await;
        page.unwrap()
    };
    assert_eq!(page(0, 100).await, expected);
    assert_eq!(page(0, 2).await, expected[..2]);
    assert_eq!(page(3, 2).await, expected[2..4]);
    assert_eq!(page(4, 2).await, expected[2..4], "between two of its own");
    assert_eq!(page(9, 2).await, []);
    assert_eq!(page(0, 0).await, []);
    let nobody = SubjectId(Uuid::from_u128(0));
    assert_eq!(ledger.history(nobody, Offset(0), 9).await.unwrap(), []);
}

pub async fn changes_are_paged_by_partition_without_payloads(store: &Store) {
    let ledger = &*store.ledger;
    let mut people = [Person::new(1, 7), Person::new(2, 7), Person::new(3, 8)];
    let mut expected = Vec::new();
    for _ in 0..4 {
        for person in &mut people {
            let draft = person.next().with_payload(b"sealed");
            let recorded = Recorded {
                event: draft.event.clone(),
                position: person.record_as(draft, ledger).await,
                payload: None,
            };
            if recorded.position.partition == Partition(7) {
                expected.push(recorded);
            }
        }
    }

    let changes = async |after, limit| ledger.changes_after(after, limit).await.unwrap();
    assert_eq!(changes(at(7, 0), 100).await, expected);
    assert_eq!(changes(at(7, 8), 100).await, []);
    assert_eq!(changes(at(7, 99), 100).await, []);
    assert_eq!(changes(at(7, 0), 0).await, []);
    assert_eq!(changes(at(9, 0), 100).await, []);
    for size in 1..=8 {
        let mut paged: Vec<Recorded> = Vec::new();
        loop {
            let after = paged.last().map_or(at(7, 0), |last| last.position);
            let page = changes(after, size).await;
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= usize::try_from(size).unwrap());
            paged.extend(page);
        }
        assert_eq!(paged, expected, "in pages of {size}");
    }
}

pub async fn heads_are_those_of_every_partition_the_systems_first(store: &Store) {
    let ledger = &*store.ledger;
    let mut expected: Vec<Position> = (0..=64).map(|partition| at(partition, 0)).collect();
    assert_eq!(ledger.heads().await.unwrap(), expected);
    assert_eq!(expected[0].partition, SYSTEM);

    for (number, partition) in [(1, 1), (2, 64), (3, 64), (4, 7)] {
        expected[usize::from(partition)] = Person::new(number, partition).record(ledger).await;
    }
    assert_eq!(expected[64], at(64, 2));
    assert_eq!(ledger.heads().await.unwrap(), expected);
}

pub async fn subjects_are_paged_in_the_order_of_their_keys(store: &Store) {
    let ledger = &*store.ledger;
    // In the order of unsigned bytes; a signed or textual order would differ.
    let keys = [0x00, 0x01, 0x20, 0x7f, 0x80, 0xfe, 0xff];
    let mut people = Vec::new();
    for key in keys.iter().rev() {
        let mut person = Person::new(*key, 7);
        person.record(ledger).await;
        person.record(ledger).await;
        people.insert(0, person);
    }
    Person::new(0x30, 8).record(ledger).await;

    for size in 1..=8 {
        let mut paged = Vec::new();
        loop {
            let after = paged.last().map(|key| [*key; 16]);
            let page = ledger.subjects_after(Partition(7), after, size).await;
            let page = page.unwrap();
            if page.is_empty() {
                break;
            }
            for stored in page {
                let person = &people[paged.len()];
                assert_eq!(stored.key, person.subject.key);
                assert_eq!(stored.subject_id, person.id);
                assert_eq!(stored.version, person.version());
                assert_eq!(stored.facts, person.facts().encode());
                paged.push(stored.key[0]);
            }
        }
        assert_eq!(paged, keys, "in pages of {size}");
    }
}

pub async fn the_address_that_came_first_is_kept(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = Person::new(1, 7);
    assert_eq!(ledger.address(person.id).await.unwrap(), None);
    let mut draft = person.next();
    draft.address = None;
    person.record_as(draft, ledger).await;
    assert_eq!(ledger.address(person.id).await.unwrap(), None);
    for address in [Some("first"), Some("second"), Some(""), None] {
        let mut draft = person.next();
        draft.address = address.map(Into::into);
        person.record_as(draft, ledger).await;
        let kept = ledger.address(person.id).await.unwrap();
        assert_eq!(kept.as_deref(), Some(&b"first"[..]));
    }
}

pub async fn what_was_erased_is_none_and_the_event_stays(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = Person::new(1, 7);
    let draft = person.next().with_payload(b"sealed");
    person.record_as(draft, ledger).await;
    store.damage("DELETE FROM subject_address").await;
    store.damage("DELETE FROM event_payload").await;

    assert_eq!(ledger.address(person.id).await.unwrap(), None);
    let history = ledger.history(person.id, Offset(0), 10).await.unwrap();
    assert_eq!(history[0].payload, None);
    assert_eq!(history[0].event, person.events[0]);
    assert_eq!(person.load(ledger).await.unwrap(), person.loaded(1));
}

pub async fn a_subject_is_found_by_its_id_with_its_place(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = Person::new(1, 7);
    let mut elsewhere = Person::of("other", 2, 7);
    assert_eq!(ledger.find(person.id).await.unwrap(), None);
    for _ in 0..2 {
        person.record(ledger).await;
        elsewhere.record(ledger).await;
        for known in [&person, &elsewhere] {
            let subject = known.loaded(0).subject.unwrap();
            let expected = (known.subject.clone(), subject);
            assert_eq!(ledger.find(known.id).await.unwrap(), Some(expected));
        }
    }
}
