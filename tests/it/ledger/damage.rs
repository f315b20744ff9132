//! Damaged rows: an error that names table and key, never facts, events or answers made of what is left.

use consentgate::domain::id::BusinessId;
use consentgate::ledger::{Error, Offset, Partition, Rpc, Touch, replay};
use uuid::Uuid;

use super::people::{Call, Person, at};
use super::store::Store;

/// Fails unless the result is the error of a corrupt row in `table`, whose key holds `key`.
#[track_caller]
fn is_corrupt<T: std::fmt::Debug>(result: Result<T, Error>, table: &str, key: &str, what: &str) {
    match result {
        Err(Error::Corrupt {
            table: named,
            key: at,
            fault,
        }) => {
            assert_eq!(named, table, "{what}: {at}: {fault}");
            assert!(at.contains(key), "{what}: named {at}, not {key}");
            assert!(!fault.is_empty(), "{what}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

pub async fn a_damaged_subject_is_corrupt_and_never_facts(store: &Store) {
    let ledger = &*store.ledger;
    let mut whole = Person::new(200, 7);
    whole.record(ledger).await;
    let mut as_of = 1;
    let facts = {
        let mut twin = Person::new(1, 7);
        twin.events.push(twin.next().event);
        twin.facts().encode()
    };
    let literal = |bytes: &[u8]| store.bytes(bytes);
    let mut long = facts.clone();
    long.push(0);
    let mut flipped = facts.clone();
    flipped[0] ^= 0xff;
    let mut damages = vec![
        ("facts empty", format!("facts = {}", literal(&[]))),
        (
            "facts cut",
            format!("facts = {}", literal(&facts[..facts.len() - 1])),
        ),
        ("facts long", format!("facts = {}", literal(&long))),
        ("facts flipped", format!("facts = {}", literal(&flipped))),
        (
            "facts text",
            format!("facts = {}", literal(b"{\"grants\":[]}")),
        ),
        ("business", "business_id = 'other'".into()),
        ("business case", "business_id = 'Acme'".into()),
        ("business empty", "business_id = ''".into()),
        ("version 0", "version = 0".into()),
        ("version -1", "version = -1".into()),
    ];
    if store.has_loose_types() {
        damages.push(("business bytes", "business_id = CAST(x'ff' AS TEXT)".into()));
    }

    for (number, (what, damage)) in (1..).zip(damages) {
        let mut person = Person::new(number, 7);
        person.record(ledger).await;
        as_of += 1;
        assert_eq!(person.load(ledger).await.unwrap(), person.loaded(as_of));
        let id = store.id(person.id.0);
        store
            .damage(&format!(
                "UPDATE subject SET {damage} WHERE subject_id = {id}"
            ))
            .await;

        let key = person.id.to_string();
        is_corrupt(person.load(ledger).await, "subject", &key, what);
        let among = [&whole, &person, &whole].map(|person| person.subject.clone());
        is_corrupt(ledger.facts(&among).await, "subject", &key, what);
        // Nobody else is affected.
        assert_eq!(whole.load(ledger).await.unwrap(), whole.loaded(as_of));
    }
}

pub async fn a_subjects_id_or_key_that_is_none_is_corrupt(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = Person::new(1, 7);
    person.record(ledger).await;
    if store.has_loose_types() {
        store.damage("UPDATE subject SET subject_id = x'00'").await;
        let key = "01010101010101010101010101010101";
        is_corrupt(person.load(ledger).await, "subject", key, "id");
        let page = ledger.subjects_after(Partition(7), None, 10).await;
        is_corrupt(page, "subject", key, "id");
        let id = store.id(person.id.0);
        store
            .damage(&format!("UPDATE subject SET subject_id = {id}"))
            .await;
    }
    let short = store.bytes(&[1]);
    store
        .damage(&format!("UPDATE subject SET subject_key = {short}"))
        .await;
    let page = ledger.subjects_after(Partition(7), None, 10).await;
    is_corrupt(page, "subject", &person.id.to_string(), "short key");
}

pub async fn facts_of_another_fold_version_are_folded_from_the_events(store: &Store) {
    let ledger = &*store.ledger;
    let mut stale = Person::new(1, 7);
    let mut current = Person::new(2, 7);
    for _ in 0..3 {
        stale.record(ledger).await;
        current.record(ledger).await;
    }
    for other in [-1, 0, 2, 999] {
        let facts = store.bytes(b"another form");
        let id = store.id(stale.id.0);
        store
            .damage(&format!(
                "UPDATE subject SET fold_version = {other}, facts = {facts} WHERE subject_id = {id}"
            ))
            .await;
        let (place, subject) = ledger.find(stale.id).await.unwrap().unwrap();
        assert_eq!(place, stale.subject);
        assert_eq!(Some(subject), stale.loaded(6).subject);
        let subjects = [&stale, &current, &stale].map(|person| person.subject.clone());
        let expected = [&stale, &current, &stale].map(|person| person.loaded(6));
        assert_eq!(ledger.facts(&subjects).await.unwrap(), expected);
    }
    let report = replay::check(ledger).await.unwrap();
    assert_eq!((report.other_fold_version, report.differences), (1, vec![]));

    // The next append stores what this fold makes.
    stale.record(ledger).await;
    assert_eq!(stale.load(ledger).await.unwrap(), stale.loaded(7));
    let report = replay::check(ledger).await.unwrap();
    assert_eq!((report.other_fold_version, report.differences), (0, vec![]));
}

pub async fn a_damaged_subject_is_not_found_by_its_id(store: &Store) {
    let ledger = &*store.ledger;
    let short = store.bytes(&[1]);
    for (number, (what, damage)) in (1..).zip([
        ("business", "business_id = ''".to_owned()),
        ("version", "version = 0".into()),
        ("partition", "partition = -1".into()),
        ("key", format!("subject_key = {short}")),
        ("facts", format!("facts = {short}")),
    ]) {
        let mut person = Person::new(number, 7);
        person.record(ledger).await;
        let id = store.id(person.id.0);
        store
            .damage(&format!(
                "UPDATE subject SET {damage} WHERE subject_id = {id}"
            ))
            .await;
        is_corrupt(
            ledger.find(person.id).await,
            "subject",
            &person.id.to_string(),
            what,
        );
    }
}

pub async fn facts_that_cannot_be_folded_again_are_corrupt(store: &Store) {
    let ledger = &*store.ledger;
    let mut missing = Person::new(1, 7);
    let mut damaged = Person::new(2, 8);
    let mut of_another = Person::of("other", 3, 9);
    for person in [&mut missing, &mut damaged, &mut of_another] {
        person.record(ledger).await;
        person.record(ledger).await;
    }
    store.run("UPDATE subject SET fold_version = 999").await;
    store
        .damage("DELETE FROM event WHERE partition = 7 AND \"offset\" = 1")
        .await;
    store
        .damage("UPDATE event SET body = '{}' WHERE partition = 8 AND \"offset\" = 2")
        .await;
    store
        .damage("UPDATE subject SET business_id = 'acme' WHERE partition = 9")
        .await;

    let key = missing.id.to_string();
    is_corrupt(missing.load(ledger).await, "subject", &key, "missing");
    let key = "partition 8, offset 2";
    is_corrupt(damaged.load(ledger).await, "event", key, "damaged");
    let key = of_another.id.to_string();
    is_corrupt(of_another.load(ledger).await, "subject", &key, "business");
}

pub async fn a_damaged_event_is_corrupt_wherever_it_is_read(store: &Store) {
    let ledger = &*store.ledger;
    let ids = store.id(Uuid::from_u128(5));
    let mut damages = vec![
        ("no JSON", "body = 'x'".to_owned()),
        ("empty", "body = ''".into()),
        ("cut", "body = substr(body, 1, length(body) - 1)".into()),
        (
            "other schema",
            "body = replace(body, '\"schema\":1', '\"schema\":2')".into(),
        ),
        (
            "unknown field",
            "body = replace(body, '\"act\"', '\"bct\"')".into(),
        ),
        (
            "unknown word",
            "body = replace(body, 'VERBATIM', 'VERBOSE')".into(),
        ),
        ("other event", format!("event_id = {ids}")),
        ("other business", "business_id = 'other'".into()),
        ("other time", "recorded_at = recorded_at + 1".into()),
    ];
    if store.has_loose_types() {
        damages.push(("no id", "event_id = x'00'".into()));
        damages.push(("no text", "body = CAST(x'ff' AS TEXT)".into()));
    }
    for (partition, (what, damage)) in (1..).zip(damages) {
        let mut person = Person::new(u8::try_from(partition).unwrap(), partition);
        person.record(ledger).await;
        person.record(ledger).await;
        let row = format!("partition = {partition} AND \"offset\" = 2");
        store
            .damage(&format!("UPDATE event SET {damage} WHERE {row}"))
            .await;

        let key = format!("partition {partition}, offset 2");
        let history = ledger.history(person.id, Offset(0), 10).await;
        is_corrupt(history, "event", &key, what);
        let changes = ledger.changes_after(at(partition, 0), 10).await;
        is_corrupt(changes, "event", &key, what);
        // Up to there all is well, and the facts are not made of events.
        assert_eq!(
            ledger
                .changes_after(at(partition, 0), 1)
                .await
                .unwrap()
                .len(),
            1
        );
        assert_eq!(person.load(ledger).await.unwrap(), person.loaded(2));
        let report = replay::check(ledger).await.unwrap();
        // This one and those of the partitions before.
        assert_eq!(report.corrupt, u64::from(partition), "{what}");
    }
}

pub async fn an_event_under_another_subject_is_corrupt(store: &Store) {
    let ledger = &*store.ledger;
    let mut one = Person::new(1, 7);
    let mut other = Person::new(2, 7);
    one.record(ledger).await;
    other.record(ledger).await;
    let id = store.id(other.id.0);
    store
        .damage(&format!(
            "UPDATE event SET subject_id = {id} WHERE \"offset\" = 1"
        ))
        .await;

    let key = "partition 7, offset 1";
    let history = ledger.history(other.id, Offset(0), 10).await;
    is_corrupt(history, "event", key, "history");
    let changes = ledger.changes_after(at(7, 0), 10).await;
    is_corrupt(changes, "event", key, "changes");
}

pub async fn a_damaged_answer_is_corrupt(store: &Store) {
    let ledger = &*store.ledger;
    let business = BusinessId::parse("acme").unwrap();
    let mut person = Person::new(1, 7);
    let short = store.bytes(&[1, 2, 3]);
    let mut damages = vec![
        ("short hash", format!("content_hash = {short}")),
        ("partition", "partition = -1".into()),
    ];
    if store.has_loose_types() {
        damages.push(("partition", "partition = 65536".into()));
        damages.push(("answer", "answer = CAST(x'ff' AS TEXT)".into()));
    }
    for (key, (what, damage)) in (1..).zip(damages) {
        let call = Call::new(Rpc::Withdraw, key);
        let draft = person.next().with_call(call.clone());
        person.record_as(draft, ledger).await;
        let hash = store.bytes(&call.key_hash);
        store
            .damage(&format!(
                "UPDATE idempotency SET {damage} WHERE key_hash = {hash}"
            ))
            .await;
        for touch in [Touch::No, Touch::Yes] {
            let answer = ledger
                .answer(&business, call.rpc, &call.key_hash, touch)
                .await;
            is_corrupt(
                answer,
                "idempotency",
                &format!("acme, rpc 2, key 0{key}0{key}"),
                what,
            );
        }
    }
}

pub async fn a_partition_without_a_head_is_corrupt(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = Person::new(1, 7);
    person.record(ledger).await;
    let elsewhere = Person::new(2, 8);
    store
        .damage("DELETE FROM partition_head WHERE partition = 7")
        .await;

    is_corrupt(person.load(ledger).await, "partition_head", "7", "its own");
    let both = [elsewhere.subject.clone(), person.subject.clone()];
    is_corrupt(
        ledger.facts(&both).await,
        "partition_head",
        "7",
        "among others",
    );
    assert_eq!(elsewhere.load(ledger).await.unwrap(), elsewhere.loaded(0));

    store
        .damage("UPDATE partition_head SET partition = -3 WHERE partition = 9")
        .await;
    is_corrupt(ledger.heads().await, "partition_head", "-3", "no number");
}

pub async fn a_damaged_meta_is_corrupt(store: &Store) {
    let ledger = &*store.ledger;
    let mut damages = vec![
        ("partitions", "UPDATE ledger_meta SET value = 'many'"),
        ("partitions", "UPDATE ledger_meta SET value = '70000'"),
        ("partitions", "DELETE FROM ledger_meta"),
        ("match_rules", "UPDATE ledger_meta SET value = '-1'"),
        ("match_rules", "DELETE FROM ledger_meta"),
        ("ledger_id", "DELETE FROM ledger_meta"),
    ];
    if store.has_loose_types() {
        let bytes = "UPDATE ledger_meta SET value = CAST(x'ff' AS TEXT)";
        damages.insert(0, ("ledger_id", bytes));
    }
    let restore = async |name: &str| {
        store
            .run(&format!("DELETE FROM ledger_meta WHERE name = '{name}'"))
            .await;
        store
            .run(&format!("INSERT INTO ledger_meta VALUES ('{name}', '1')"))
            .await;
    };
    for (name, damage) in damages {
        store
            .damage(&format!("{damage} WHERE name = '{name}'"))
            .await;
        is_corrupt(ledger.meta().await, "ledger_meta", name, damage);
        restore(name).await;
    }
    ledger.meta().await.unwrap();
}

pub async fn a_damaged_change_of_the_system_is_corrupt(store: &Store) {
    let ledger = &*store.ledger;
    let none = ledger.system_after(Offset(0), 10).await.unwrap();
    assert_eq!(none, []);
    if store.has_loose_types() {
        store
            .damage("INSERT INTO system_event VALUES (1, 0, CAST(x'ff' AS TEXT))")
            .await;
        let records = ledger.system_after(Offset(0), 10).await;
        is_corrupt(records, "system_event", "offset 1", "no text");
    }
}
