//! Replay: it finds nothing in a good ledger, and each kind of damage in a bad one.

use consentgate::domain::id::SubjectId;
use consentgate::ledger::{Offset, Partition, replay};

use super::people::{Person, minute};
use super::store::Store;

pub async fn a_good_ledger_has_no_difference(store: &Store) {
    let ledger = &*store.ledger;
    let empty = replay::check(ledger).await.unwrap();
    assert_eq!((empty.partitions, empty.events, empty.subjects), (65, 0, 0));

    let mut people: Vec<Person> = (1..=9).map(|n| Person::new(n, u16::from(n) / 2)).collect();
    people[0] = Person::of("other", 1, 64);
    for round in 0..5 {
        for person in &mut people[round..] {
            person.record(ledger).await;
        }
    }
    for offset in 0..3 {
        let appended = ledger.append_system(Offset(offset), minute(0), "{}").await;
        appended.unwrap().unwrap();
    }

    let report = replay::check(ledger).await.unwrap();
    let events: usize = people.iter().map(|person| person.events.len()).sum();
    assert_eq!(report.events, u64::try_from(events).unwrap() + 3);
    assert_eq!((report.partitions, report.subjects), (65, 9));
    assert_eq!(report.other_fold_version, 0);
    assert_eq!(report.differences, []);
}

pub async fn more_events_and_subjects_than_a_page_are_read(store: &Store) {
    let ledger = &*store.ledger;
    let mut raw = store.connect().await;
    // Written past the ledger, which would take long: 1,100 subjects of one event each.
    let template = Person::new(1, 7).next();
    let facts = store.bytes(&template.facts.encode());
    let body = String::from_utf8(template.event.canonical()).unwrap();
    let id_in_body = template.event.subject_id.to_string();
    let event_id_in_body = template.event.event_id.to_string();
    let (mut subjects, mut events) = (Vec::new(), Vec::new());
    for offset in 1..=1_100_u32 {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&offset.to_be_bytes());
        let uuid = uuid::Uuid::from_bytes(bytes);
        let (id, key) = (store.id(uuid), store.bytes(&bytes));
        let body = body.replace(&id_in_body, &uuid.to_string());
        let body = body.replace(&event_id_in_body, &uuid.to_string());
        let recorded = template.event.recorded_at.as_micros();
        subjects.push(format!("(7, {key}, 'acme', {id}, 1, 999, 1, {facts})"));
        events.push(format!(
            "(7, {offset}, {id}, {id}, 'acme', {recorded}, '{body}')"
        ));
    }
    raw.run(&format!(
        "INSERT INTO subject VALUES {}",
        subjects.join(", ")
    ))
    .await;
    raw.run(&format!("INSERT INTO event VALUES {}", events.join(", ")))
        .await;
    raw.run("UPDATE partition_head SET head = 1100 WHERE partition = 7")
        .await;

    let report = replay::check(ledger).await.unwrap();
    assert_eq!((report.events, report.subjects), (1_100, 1_100));
    assert_eq!(report.other_fold_version, 1_100);
    assert_eq!(report.differences, []);
}

/// Each kind of damage in a partition of its own, which holds one person's three events: what is done, what must
/// be reported in the order of reports, and whether it names the person.
const DAMAGES: &[(&str, &[(&str, bool)])] = &[
    (
        "UPDATE subject SET facts = (SELECT facts FROM subject WHERE partition = 60) WHERE partition = #",
        &[("its facts are not the fold of its events", true)],
    ),
    (
        "DELETE FROM event WHERE partition = # AND \"offset\" = 2",
        &[
            ("offset 1 is followed by 3", false),
            ("is at version 3 and has 2 events", true),
            ("its facts are not the fold of its events", true),
        ],
    ),
    (
        "DELETE FROM event WHERE partition = # AND \"offset\" = 3",
        &[
            ("ends at offset 2, its head says 3", false),
            ("is at version 3 and has 2 events", true),
            ("its facts are not the fold of its events", true),
        ],
    ),
    (
        "UPDATE subject SET version = 4 WHERE partition = #",
        &[("is at version 4 and has 3 events", true)],
    ),
    (
        "UPDATE subject SET version = 2 WHERE partition = #",
        &[("is at version 2 and has 3 events", true)],
    ),
    (
        "UPDATE event SET \"offset\" = 4 WHERE partition = # AND \"offset\" = 3",
        &[
            ("offset 2 is followed by 4", false),
            ("ends at offset 4, its head says 3", false),
        ],
    ),
    (
        "UPDATE partition_head SET head = 4 WHERE partition = #",
        &[("ends at offset 3, its head says 4", false)],
    ),
    (
        "UPDATE partition_head SET head = 2 WHERE partition = #",
        &[("ends at offset 3, its head says 2", false)],
    ),
    (
        "DELETE FROM subject WHERE partition = #",
        &[("has events and no row in `subject`", true)],
    ),
    (
        "DELETE FROM event WHERE partition = #",
        &[
            ("ends at offset 0, its head says 3", false),
            ("has a row in `subject` and no event", true),
        ],
    ),
];

pub async fn each_kind_of_damage_is_found_and_named(store: &Store) {
    let ledger = &*store.ledger;
    let mut other = Person::new(200, 60);
    other.record(ledger).await;
    let mut expected: Vec<(Partition, Option<SubjectId>, &str)> = Vec::new();
    let mut raw = store.connect().await;
    for (number, (damage, reported)) in (1_u8..).zip(DAMAGES) {
        let mut person = Person::new(number, number.into());
        for _ in 0..3 {
            person.record(ledger).await;
        }
        raw.lift_guards().await;
        raw.run(&damage.replace('#', &number.to_string())).await;
        for (what, names_the_person) in *reported {
            let subject = names_the_person.then_some(person.id);
            expected.push((person.subject.partition, subject, what));
        }
    }

    let report = replay::check(ledger).await.unwrap();
    let found = report.differences.iter();
    let found: Vec<_> = found.map(|d| (d.partition, d.subject, &*d.what)).collect();
    assert_eq!(found, expected);
}

pub async fn what_does_not_read_is_named_and_the_rest_is_compared(store: &Store) {
    let ledger = &*store.ledger;
    let mut raw = store.connect().await;
    let mut people: Vec<Person> = [(1, 7), (2, 7), (3, 7), (4, 8)]
        .map(|(number, partition)| Person::new(number, partition))
        .into();
    for _ in 0..3 {
        for person in &mut people {
            person.record(ledger).await;
        }
    }
    raw.lift_guards().await;
    // Of partition 7: two in a row, one behind a gap, and the last one. They are of persons 2 and 3, 2, and 3.
    for offset in [5, 6, 8, 9] {
        raw.run(&format!(
            "UPDATE event SET body = '{{}}' WHERE partition = 7 AND \"offset\" = {offset}"
        ))
        .await;
    }
    raw.run("DELETE FROM event WHERE partition = 7 AND \"offset\" = 7")
        .await;
    // In another partition, after it: found all the same.
    raw.run("UPDATE subject SET version = 4 WHERE partition = 8")
        .await;

    let report = replay::check(ledger).await.unwrap();
    assert_eq!((report.events, report.corrupt), (4 + 3, 4));
    let found = report.differences.iter();
    let mut found: Vec<_> = found
        .map(|d| (d.partition.0, d.subject, d.what.split(':').next().unwrap()))
        .collect();
    // Subjects follow in the order of their keys, which is none.
    found[5..9].sort_by_key(|(_, subject, _)| people.iter().position(|p| Some(p.id) == *subject));
    let of = |number: usize| Some(people[number - 1].id);
    let not_compared = "was not compared";
    assert_eq!(
        found,
        [
            (7, None, "offset 5 does not read"),
            (7, None, "offset 6 does not read"),
            (7, None, "offset 6 is followed by 8"),
            (7, None, "offset 8 does not read"),
            (7, None, "offset 9 does not read"),
            (7, of(1), "is at version 3 and has 2 events"),
            (7, of(1), "its facts are not the fold of its events"),
            (7, of(2), not_compared),
            (7, of(3), not_compared),
            (8, of(4), "is at version 4 and has 3 events"),
        ]
    );
    assert!(report.differences[0].what.contains("partition 7, offset 5"));
}

pub async fn damage_to_the_system_partition_is_found(store: &Store) {
    let ledger = &*store.ledger;
    for offset in 0..3 {
        let appended = ledger.append_system(Offset(offset), minute(0), "{}").await;
        appended.unwrap().unwrap();
    }
    for (damage, what) in [
        (
            "UPDATE partition_head SET head = 4 WHERE partition = 0",
            "ends at offset 3, its head says 4",
        ),
        (
            "UPDATE partition_head SET head = 2 WHERE partition = 0",
            "ends at offset 3, its head says 2",
        ),
        (
            "DELETE FROM system_event WHERE \"offset\" = 2",
            "offset 1 is followed by 3",
        ),
    ] {
        store.damage(damage).await;
        let report = replay::check(ledger).await.unwrap();
        let found: Vec<_> = report
            .differences
            .iter()
            .map(|d| (d.partition.0, &*d.what))
            .collect();
        assert_eq!(found, [(0, what)]);
        store
            .damage("UPDATE partition_head SET head = 3 WHERE partition = 0")
            .await;
    }
}
