//! Rotating keys: in every state each person is found under one key, written to, and moved once.

use std::collections::BTreeSet;

use consentgate::domain::activity::{Activity, Sent, Wanted};
use consentgate::domain::id::{PurposeKey, SenderId};
use consentgate::domain::time::Timestamp;
use consentgate::domain::vocabulary::MessageClass;
use consentgate::keys::wrapping::Numbers;
use consentgate::ledger::rotation::{Begun, Change, Column, Place, Resealed, Rotation, Table};
use consentgate::ledger::{
    Appended, Call as Asked, Ledger, Offset, Partition, Removal, Rpc, SYSTEM, replay,
};

use super::people::{Call, Draft, Person, abandon_after, minute, offer_many, offer_together};
use super::store::Store;

/// A partition that some cases keep all people in.
pub const HERE: u16 = 7;

const FAR: Timestamp = Timestamp::from_micros(i64::MAX);

/// Puts a number in use.
pub async fn begin(store: &Store, to: u16) -> Begun {
    let check = store.keyring.check_value(to).unwrap();
    let body = format!("begin {to}");
    let change = change(&*store.ledger, to, &body).await;
    store.rotation.begin(change, &check).await.unwrap()
}

pub async fn change<'a>(ledger: &dyn Ledger, to: u16, body: &'a str) -> Change<'a> {
    let heads = ledger.heads().await.unwrap();
    assert_eq!(heads[0].partition, SYSTEM);
    Change {
        to,
        expected: heads[0].offset,
        recorded_at: minute(1),
        body,
    }
}

pub async fn finish(store: &Store, to: u16) -> Option<Offset> {
    let change = change(&*store.ledger, to, "finish").await;
    store.rotation.finish(change).await.unwrap()
}

/// Moves everything of one table; says how many rows.
pub async fn move_all(rotation: &dyn Rotation, table: Table, limit: u32) -> u64 {
    let mut rows = 0;
    for partition in 1..=64 {
        let mut after = None;
        loop {
            let partition = Partition(partition);
            let moved = rotation.move_rows(table, partition, after, limit).await;
            let moved = moved.unwrap();
            assert!(table != Table::Subjects || moved.rows <= u64::from(limit));
            rows += moved.rows;
            after = moved.next;
            if after.is_none() {
                break;
            }
        }
    }
    rows
}

fn numbers(current: u16, leaving: Option<u16>) -> Numbers {
    Numbers { current, leaving }
}

/// Everybody is as their acts make them, by whichever way they are asked for.
async fn all_are_found(people: &[Person], store: &Store) {
    let ledger = &*store.ledger;
    let subjects: Vec<_> = people.iter().map(|one| one.subject.clone()).collect();
    let loaded = ledger.facts(&subjects).await.unwrap();
    for (person, loaded) in people.iter().zip(loaded) {
        let known = person.loaded(0).subject;
        assert_eq!(loaded.subject, known, "{:?}", person.subject);
        let call = Asked {
            rpc: Rpc::Withdraw,
            key_hash: [0xee; 16],
        };
        let looked = ledger.look(&person.subject, Some(call)).await.unwrap();
        assert_eq!(looked.loaded.subject, known);
        let found = ledger.find(person.id).await.unwrap();
        assert_eq!(
            found,
            known.map(|known| (person.subject.clone(), known)),
            "by its id"
        );
    }
}

/// Each acts once more, and somebody new: alone, many at once, and two at a time.
async fn all_act(people: &mut Vec<Person>, key_id: u16, store: &Store) {
    let ledger = &*store.ledger;
    let number = u8::try_from(people.len() + 1).unwrap();
    for (next, partition) in (number..).zip([HERE, HERE, 9, 12]) {
        people.push(Person::new(next, partition));
    }
    for (index, one) in people.iter_mut().enumerate() {
        if index % 3 == 0 {
            let draft = one.next().under(key_id);
            one.record_as(draft, ledger).await;
        }
    }
    let many: Vec<usize> = (0..people.len()).filter(|index| index % 3 == 1).collect();
    let drafts: Vec<Draft> = many
        .iter()
        .map(|index| people[*index].next().under(key_id))
        .collect();
    let results = offer_many(&drafts, ledger).await;
    for ((index, draft), result) in many.into_iter().zip(drafts).zip(results) {
        assert!(matches!(result, Ok(Appended::At(_))), "{result:?}");
        people[index].events.push(draft.event);
    }
    let pairs: Vec<usize> = (0..people.len()).filter(|index| index % 3 == 2).collect();
    for pair in pairs.chunks(2) {
        let drafts: Vec<Draft> = pair
            .iter()
            .map(|index| people[*index].next().under(key_id))
            .collect();
        let both: Vec<&Draft> = drafts.iter().collect();
        let result = offer_together(&both, ledger).await.unwrap();
        assert!(matches!(result, Appended::At(_)), "{result:?}");
        for (index, draft) in pair.iter().zip(drafts) {
            people[*index].events.push(draft.event);
        }
    }
}

pub async fn people_are_found_and_written_to_in_every_state(store: &Store) {
    let rotation = &*store.rotation;
    let mut people = Vec::new();
    all_act(&mut people, 1, store).await;
    all_are_found(&people, store).await;

    assert!(matches!(begin(store, 2).await, Begun::At(_)));
    assert_eq!(rotation.numbers().await.unwrap(), numbers(2, Some(1)));
    all_are_found(&people, store).await;
    all_act(&mut people, 2, store).await;
    all_are_found(&people, store).await;

    // Half of one partition is moved, and nothing of the others.
    let moved = rotation
        .move_rows(Table::Subjects, Partition(HERE), None, 2)
        .await;
    assert!(moved.unwrap().next.is_some());
    all_are_found(&people, store).await;
    all_act(&mut people, 2, store).await;
    all_are_found(&people, store).await;

    move_all(rotation, Table::Subjects, 100).await;
    all_are_found(&people, store).await;
    all_act(&mut people, 2, store).await;
    assert_eq!(move_all(rotation, Table::Subjects, 100).await, 0);

    assert!(finish(store, 2).await.is_some());
    assert_eq!(rotation.numbers().await.unwrap(), numbers(2, None));
    all_are_found(&people, store).await;
    all_act(&mut people, 2, store).await;
    all_are_found(&people, store).await;

    let mut raw = store.connect().await;
    let rows = "SELECT count(*) FROM subject WHERE key_id = 2";
    assert_eq!(raw.number(rows).await, i64::try_from(people.len()).unwrap());
    for person in &people {
        let literal = store.bytes(&person.subject.key);
        let inner = format!("SELECT count(*) FROM subject WHERE subject_key = {literal}");
        assert_eq!(raw.number(&inner).await, 0, "the key that was left");
    }
    let report = replay::check(&*store.ledger).await.unwrap();
    assert_eq!(report.differences, []);
}

pub async fn many_people_are_moved_a_batch_at_a_time(store: &Store) {
    let ledger = &*store.ledger;
    let mut people: Vec<Person> = (0..200).map(|number| Person::new(number, HERE)).collect();
    for person in &mut people {
        person.record(ledger).await;
    }
    begin(store, 3).await;
    assert_eq!(move_all(&*store.rotation, Table::Subjects, 7).await, 200);
    assert_eq!(move_all(&*store.rotation, Table::Subjects, 7).await, 0);
    all_are_found(&people, store).await;
}

pub async fn an_act_that_was_sealed_under_the_number_before_is_not_taken(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = Person::new(1, HERE);
    let other = Person::new(2, HERE);
    person.record(ledger).await;
    begin(store, 2).await;
    let before = store.contents().await;
    for draft in [person.next(), other.next()] {
        assert_eq!(draft.offer(ledger).await.unwrap(), Appended::VersionChanged);
        let many = [draft.clone()];
        let results = offer_many(&many, ledger).await;
        assert!(matches!(results[..], [Ok(Appended::VersionChanged)]));
        let mut erasing = draft;
        erasing.removal = Some(Removal::Now);
        let refused = erasing.offer(ledger).await.unwrap();
        assert_eq!(refused, Appended::VersionChanged);
    }
    let both = [&person.next(), &other.next()];
    let refused = offer_together(&both, ledger).await.unwrap();
    assert_eq!(refused, Appended::VersionChanged);
    assert_eq!(store.contents().await, before);
    let draft = person.next().under(2);
    person.record_as(draft, ledger).await;
}

pub async fn a_batch_that_is_abandoned_leaves_everybody_under_one_key(store: &Store) {
    let ledger = &*store.ledger;
    let mut people: Vec<Person> = (0..60).map(|number| Person::new(number, HERE)).collect();
    for person in &mut people {
        person.record(ledger).await;
    }
    begin(store, 2).await;
    let mut raw = store.connect().await;
    let mut seen = BTreeSet::new();
    for polls in 0..400 {
        let batch = store
            .rotation
            .move_rows(Table::Subjects, Partition(HERE), None, 60);
        abandon_after(polls, batch).await;
        let left = raw
            .number("SELECT count(*) FROM subject WHERE key_id = 1")
            .await;
        assert!(left == 0 || left == 60, "half a batch: {left}");
        seen.insert(left);
        if left == 0 {
            break;
        }
        all_are_found(&people[..5], store).await;
    }
    move_all(&*store.rotation, Table::Subjects, 10).await;
    all_are_found(&people, store).await;
    assert!(seen.contains(&60), "none was abandoned");
}

fn offer(at: Timestamp) -> Sent {
    Sent {
        purpose: PurposeKey::parse("offers").unwrap(),
        class: MessageClass::Marketing,
        at,
    }
}

async fn activity(store: &Store, people: &[Person], of: &SenderId) -> Vec<Activity> {
    let subjects: Vec<_> = people.iter().map(|one| one.subject.clone()).collect();
    let wanted = Wanted {
        window_of: Some(of),
        sends_since: Some(minute(0)),
    };
    store.activity.activity(&subjects, wanted).await.unwrap()
}

pub async fn what_was_noted_under_both_keys_becomes_one(store: &Store) {
    let notes = &*store.activity;
    let sender = SenderId::parse("1001").unwrap();
    let people = [
        Person::new(1, HERE),
        Person::new(2, HERE),
        Person::new(3, 9),
    ];
    let all: Vec<_> = people.iter().map(|one| one.subject.clone()).collect();
    notes
        .note_inbound(&all[..2], &sender, minute(5))
        .await
        .unwrap();
    assert!(
        notes
            .note_send(&all[..2], &offer(minute(1)), &[1; 16])
            .await
            .unwrap()
    );
    begin(store, 2).await;
    // An older message and a newer one, a send that is known and one that is not.
    notes
        .note_inbound(&all[..1], &sender, minute(3))
        .await
        .unwrap();
    notes
        .note_inbound(&all[1..], &sender, minute(8))
        .await
        .unwrap();
    assert!(
        !notes
            .note_send(&all, &offer(minute(1)), &[1; 16])
            .await
            .unwrap()
    );
    assert!(
        notes
            .note_send(&all[..1], &offer(minute(2)), &[2; 16])
            .await
            .unwrap()
    );
    let expected = [(5, &[2, 1][..]), (8, &[1]), (8, &[1])].map(|(inbound, sends)| Activity {
        last_inbound: Some(minute(inbound)),
        sends: sends.iter().map(|at| offer(minute(*at))).collect(),
    });
    assert_eq!(activity(store, &people, &sender).await, expected);
    store.rotation.settle().await.unwrap();
    for table in [Table::Windows, Table::Sends] {
        assert!(move_all(&*store.rotation, table, 1).await > 0);
        assert_eq!(activity(store, &people, &sender).await, expected);
        assert_eq!(move_all(&*store.rotation, table, 1).await, 0);
    }
    finish(store, 2).await.unwrap();
    assert_eq!(activity(store, &people, &sender).await, expected);
    for one in &all {
        assert!(notes.knows(one).await.unwrap());
    }
    let mut raw = store.connect().await;
    for (table, rows) in [("service_window", 3), ("message_send", 4)] {
        let sql = format!("SELECT count(*) FROM {table}");
        assert_eq!(raw.number(&sql).await, rows);
        let sql = format!("SELECT count(*) FROM {table} WHERE key_id <> 2");
        assert_eq!(raw.number(&sql).await, 0);
    }
}

pub async fn an_erasure_takes_what_lies_under_either_key(store: &Store) {
    let ledger = &*store.ledger;
    let sender = SenderId::parse("1001").unwrap();
    let mut people = [Person::new(1, HERE), Person::new(2, HERE)];
    for person in &mut people {
        person.record(ledger).await;
        let subject = std::slice::from_ref(&person.subject);
        store
            .activity
            .note_inbound(subject, &sender, minute(1))
            .await
            .unwrap();
    }
    begin(store, 2).await;
    for person in &mut people {
        let subject = std::slice::from_ref(&person.subject);
        store
            .activity
            .note_inbound(subject, &sender, minute(2))
            .await
            .unwrap();
        let mut draft = person.next().under(2);
        draft.removal = Some(Removal::Now);
        draft.address = None;
        person.record_as(draft, ledger).await;
        store
            .rotation
            .move_rows(Table::Subjects, Partition(HERE), None, 100)
            .await
            .unwrap();
    }
    let mut raw = store.connect().await;
    assert_eq!(raw.number("SELECT count(*) FROM service_window").await, 0);
    assert_eq!(raw.number("SELECT count(*) FROM subject_address").await, 0);
    all_are_found(&people, store).await;
}

pub async fn sealed_values_are_replaced_only_as_they_were_read(store: &Store) {
    let ledger = &*store.ledger;
    let sealed = |number: u8, what: u8| vec![0, number, what, what];
    let mut people: Vec<Person> = (1..=5).map(|number| Person::new(number, HERE)).collect();
    for person in &mut people {
        let name = person.subject.key[0];
        let mut draft = person.next().with_payload(&sealed(1, name));
        draft.address = Some(sealed(1, name));
        person.record_as(draft, ledger).await;
    }
    begin(store, 2).await;
    let mut late = people[4].next().under(2).with_payload(&sealed(2, 9));
    late.address = None;
    people[4].record_as(late, ledger).await;
    for (column, count) in [(Column::Address, 5), (Column::Payload, 5)] {
        let mut old = Vec::new();
        let mut after = Place::FIRST;
        loop {
            let page = store
                .rotation
                .sealed_before(column, 2, after, 2)
                .await
                .unwrap();
            assert!(page.old.len() <= 2);
            old.extend(page.old);
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(old.len(), count, "{column:?}");
        assert!(old.iter().all(|one| one.business.as_str() == "acme"));
        // One is erased and one replaced between reading and writing.
        let gone = old[0].place;
        let (table, name) = match column {
            Column::Address => ("subject_address", "subject_id"),
            Column::Payload => ("event_payload", "event_id"),
        };
        let id = store.id(*gone.row(column));
        let deleted = store
            .run(&format!("DELETE FROM {table} WHERE {name} = {id}"))
            .await;
        let id = store.id(*old[1].place.row(column));
        let other = store.bytes(&sealed(2, 77));
        let replaced = format!("UPDATE {table} SET sealed = {other} WHERE {name} = {id}");
        assert_eq!((deleted, store.run(&replaced).await), (1, 1));
        let resealed: Vec<Resealed> = old
            .iter()
            .map(|one| Resealed {
                place: one.place,
                old: one.value.clone(),
                new: sealed(2, one.value[2]),
            })
            .collect();
        let done = store.rotation.reseal(column, &resealed).await.unwrap();
        assert_eq!(done, 3);
        let left = store
            .rotation
            .sealed_before(column, 2, Place::FIRST, 100)
            .await;
        assert_eq!(left.unwrap().old, []);
    }
    let first = ledger.address(people[2].id).await.unwrap();
    assert_eq!(first, Some(sealed(2, 3)));
    let history = ledger.history(people[4].id, Offset(0), 10).await.unwrap();
    let payloads: Vec<_> = history.into_iter().map(|one| one.payload).collect();
    assert_eq!(payloads.len(), 2);
    assert!(payloads.iter().flatten().all(|payload| payload[1] == 2));
}

pub async fn a_rotation_begins_once_and_ends_once(store: &Store) {
    assert_eq!(store.rotation.numbers().await.unwrap(), Numbers::NEW);
    assert_eq!(finish(store, 1).await, None);
    assert!(matches!(begin(store, 2).await, Begun::At(_)));
    assert_eq!(begin(store, 3).await, Begun::Overtaken);
    assert_eq!(finish(store, 3).await, None);
    assert_eq!(store.rotation.numbers().await.unwrap(), numbers(2, Some(1)));
    assert!(finish(store, 2).await.is_some());
    assert_eq!(finish(store, 2).await, None);
    assert_eq!(begin(store, 2).await, Begun::Overtaken);
    // Decided on a system partition that has moved on.
    let check = store.keyring.check_value(3).unwrap();
    let late = Change {
        to: 3,
        expected: Offset(1),
        recorded_at: minute(1),
        body: "late",
    };
    let begun = store.rotation.begin(late, &check).await.unwrap();
    assert_eq!(begun, Begun::Overtaken);
    let changes = store.ledger.system_after(Offset(0), 10).await.unwrap();
    let bodies: Vec<_> = changes.iter().map(|change| change.body.as_str()).collect();
    assert_eq!(bodies, ["begin 2", "finish"]);
    let meta = store.ledger.meta().await.unwrap();
    let check = store.keyring.check_value(2).unwrap();
    assert_eq!(meta.key_checks.get(&2), Some(&check));
    assert_eq!(meta.key_checks.get(&3), None);
}

pub async fn a_number_that_was_in_use_with_another_secret_is_refused(store: &Store) {
    store
        .run("INSERT INTO ledger_meta (name, value) VALUES ('key_check_2', 'of another')")
        .await;
    assert_eq!(begin(store, 2).await, Begun::OtherKey);
    assert_eq!(store.rotation.numbers().await.unwrap(), Numbers::NEW);
    assert!(matches!(begin(store, 3).await, Begun::At(_)));
}

pub async fn rotations_follow_one_another(store: &Store) {
    let mut people = Vec::new();
    for to in 2..=3 {
        all_act(&mut people, to - 1, store).await;
        begin(store, to).await;
        all_act(&mut people, to, store).await;
        move_all(&*store.rotation, Table::Subjects, 3).await;
        all_are_found(&people, store).await;
        finish(store, to).await.unwrap();
    }
    all_are_found(&people, store).await;
    let call = Call::new(Rpc::Withdraw, 1);
    let draft = people[0].next().under(3).with_call(call);
    people[0].record_as(draft, &*store.ledger).await;
    let due = store.ledger.carry_out_erasures(FAR, 10).await.unwrap();
    assert_eq!(due, 0);
}

pub async fn replay_while_people_are_moved_finds_nothing(store: &Store) {
    let ledger = &*store.ledger;
    for number in 0..250 {
        Person::new(number, HERE).record(ledger).await;
    }
    begin(store, 2).await;
    let moving = std::sync::Arc::clone(&store.rotation);
    let mover = tokio::spawn(async move { move_all(&*moving, Table::Subjects, 1).await });
    let mut replayed = 0;
    while !mover.is_finished() || replayed == 0 {
        let report = replay::check(ledger).await.unwrap();
        assert_eq!(report.differences, []);
        replayed += 1;
    }
    assert_eq!(mover.await.unwrap(), 250);
}
