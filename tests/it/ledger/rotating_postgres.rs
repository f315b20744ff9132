//! Rotating keys beside others who write, on PostgreSQL: whoever does not know of it finds out, and nobody becomes two.

use std::sync::Arc;
use std::time::Duration;

use consentgate::domain::activity::Wanted;
use consentgate::domain::id::SenderId;
use consentgate::keys::Keyring;
use consentgate::ledger::activity::ActivityStore;
use consentgate::ledger::following::{InstanceId, Registration};
use consentgate::ledger::postgres::following::Line;
use consentgate::ledger::rotation::{Begun, Other, Table};
use consentgate::ledger::{Appended, Ledger, Partition};

use super::people::{Person, minute};
use super::rotating::{HERE, begin, finish, move_all};
use super::store::Store;
use crate::wait::eventually;

/// Waits until a statement waits for somebody's lock.
async fn waiting(store: &Store) {
    let mut raw = store.connect().await;
    let limit = Duration::from_secs(20);
    eventually(limit, "a statement waits", async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'";
        (raw.number(waiting).await > 0).then_some(())
    })
    .await;
}

/// A row of somebody, moved by hand as a batch does it, and held there; then whoever writes; then its commit. What
/// came of the writing, and how many rows there are of the one person.
pub async fn created_while_it_is_moved() -> (Appended, i64) {
    let store = &Store::postgres().await;
    let ledger = Arc::clone(&store.ledger);
    let mut person = Person::new(1, HERE);
    person.record(&*ledger).await;
    begin(store, 2).await;
    let stored = store.keyring.wrapping().wrapped(person.subject.key, 2);
    let mut mover = store.connect().await;
    mover.run("BEGIN").await;
    mover
        .run("SELECT pg_advisory_xact_lock(723683019, 7)")
        .await;
    let stored = store.bytes(&stored.unwrap());
    let moved = format!("UPDATE subject SET subject_key = {stored}, key_id = 2");
    assert_eq!(mover.run(&moved).await, 1);
    // Decided when the person was not known here.
    let mut stranger = Person::new(1, HERE);
    stranger.id = Person::new(99, HERE).id;
    let draft = stranger.next().under(2);
    let writer = tokio::spawn(async move { draft.offer(&*ledger).await.unwrap() });
    waiting(store).await;
    mover.run("COMMIT").await;
    let appended = writer.await.unwrap();
    let mut raw = store.connect().await;
    let rows = raw.number("SELECT count(*) FROM subject").await;
    (appended, rows)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_is_created_while_being_moved_stays_one_person() {
    let (appended, rows) = created_while_it_is_moved().await;
    assert_eq!((appended, rows), (Appended::VersionChanged, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_writes_waits_for_the_rows_of_its_partition_and_finds_them_where_they_are() {
    let store = Store::postgres().await;
    let ledger = Arc::clone(&store.ledger);
    let mut person = Person::new(1, HERE);
    person.record(&*ledger).await;
    begin(&store, 2).await;
    let stored = store.keyring.wrapping().wrapped(person.subject.key, 2);
    let mut mover = store.connect().await;
    mover.run("BEGIN").await;
    mover
        .run("SELECT pg_advisory_xact_lock(723683019, 7)")
        .await;
    let draft = person.next().under(2);
    let offered = draft.clone();
    let writer = tokio::spawn(async move { offered.offer(&*ledger).await.unwrap() });
    waiting(&store).await;
    let stored = store.bytes(&stored.unwrap());
    let moved = format!("UPDATE subject SET subject_key = {stored}, key_id = 2");
    mover.run(&moved).await;
    mover.run("COMMIT").await;
    let appended = writer.await.unwrap();
    assert!(matches!(appended, Appended::At(_)), "{appended:?}");
    person.events.push(draft.event);
    let loaded = person.load(&*store.ledger).await.unwrap();
    assert_eq!(loaded.subject, person.loaded(0).subject);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_does_not_know_of_a_rotation_finds_out_before_it_reads_or_writes_anything()
{
    let store = Store::postgres().await;
    let mut people = [Person::new(1, HERE), Person::new(2, 9)];
    for person in &mut people {
        person.record(&*store.ledger).await;
    }
    // Each is unaware of what comes, and meets it in its own way.
    let (reads, looks, writes, creates, notes) = (
        store.another().await,
        store.another().await,
        store.another().await,
        store.another().await,
        store.another().await,
    );
    begin(&store, 2).await;
    move_all(&*store.rotation, Table::Subjects, 100).await;
    finish(&store, 2).await.unwrap();
    for person in &people {
        let loaded = person.load(&*reads).await.unwrap();
        assert_eq!(loaded.subject, person.loaded(0).subject);
    }
    let looked = looks.look(&people[0].subject, None).await.unwrap();
    assert_eq!(looked.loaded.subject, people[0].loaded(0).subject);
    // Sealed under the number that it takes to be in use.
    let draft = people[0].next();
    assert_eq!(
        draft.offer(&*writes).await.unwrap(),
        Appended::VersionChanged
    );
    // As whoever is told so does: it looks again.
    people[0].load(&*writes).await.unwrap();
    assert!(matches!(
        draft.under(2).offer(&*writes).await.unwrap(),
        Appended::At(_)
    ));
    let mut unseen = Person::new(2, 9).next();
    unseen.event.subject_id = Person::new(99, 9).id;
    assert_eq!(
        unseen.offer(&*creates).await.unwrap(),
        Appended::VersionChanged
    );
    let again = unseen.under(2).offer(&*creates).await.unwrap();
    assert_eq!(again, Appended::VersionChanged, "the person is there");
    let sender = SenderId::parse("1001").unwrap();
    let noted = [people[1].subject.clone()];
    notes
        .note_inbound(&noted, &sender, minute(4))
        .await
        .unwrap();
    let wanted = Wanted {
        window_of: Some(&sender),
        sends_since: None,
    };
    let found = store.activity.activity(&noted, wanted).await.unwrap();
    assert_eq!(found[0].last_inbound, Some(minute(4)));
    let mut raw = store.connect().await;
    for table in ["subject", "service_window"] {
        let old = format!("SELECT count(*) FROM {table} WHERE key_id = 1");
        assert_eq!(raw.number(&old).await, 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_that_waits_for_its_head_while_a_rotation_begins_is_decided_again() {
    let store = Store::postgres().await;
    let unaware = store.another().await;
    let mut beginner = store.connect().await;
    beginner.run("BEGIN").await;
    beginner
        .run("UPDATE partition_head SET key_id = 2, leaving = 1")
        .await;
    let draft = Person::new(1, HERE).next();
    let both = [draft.clone(), Person::new(2, HERE).next()];
    let (one, many) = (Arc::clone(&unaware), Arc::clone(&unaware));
    let alone = tokio::spawn(async move { draft.offer(&*one).await.unwrap() });
    waiting(&store).await;
    let together = tokio::spawn(async move { super::people::offer_many(&both[1..], &*many).await });
    beginner.run("COMMIT").await;
    assert_eq!(alone.await.unwrap(), Appended::VersionChanged);
    let together = together.await.unwrap();
    assert!(
        matches!(together[..], [Ok(Appended::VersionChanged)]),
        "{together:?}"
    );
    let mut raw = store.connect().await;
    for table in ["subject", "event", "subject_address"] {
        let rows = format!("SELECT count(*) FROM {table}");
        assert_eq!(raw.number(&rows).await, 0, "{table}");
    }
}

fn registration(keyring: &Keyring) -> Registration {
    Registration {
        instance: InstanceId::new(),
        lease: Duration::from_secs(3),
        key_checks: keyring.check_values(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_rotation_begins_beside_another_keyring_and_none_registers_after_it() {
    let store = Store::postgres().await;
    let first = store.keyring.check_value(1).unwrap();
    store.ledger.set_key_check(&first).await.unwrap();
    let text = store.keyring.to_text();
    let short = text.lines().filter(|line| !line.starts_with("key 3 "));
    let short: Vec<&str> = short.collect();
    let short = Keyring::parse(&short.join("\n")).unwrap();
    let other = short.grown().unwrap();
    assert_eq!(other.newest(), store.keyring.newest());

    let url = store.service_url().await;
    let connect = async || {
        let limit = Duration::from_secs(20);
        Line::connect(&url, limit, Arc::default()).await.unwrap()
    };
    let mut line = connect().await;
    for (keyring, newest) in [(&short, 2), (&other, 3)] {
        let row = registration(keyring);
        assert!(line.register(&row).await.unwrap());
        let begun = begin(&store, 3).await;
        let instance = row.instance.0;
        assert_eq!(begun, Begun::Others(vec![Other { instance, newest }]));
        connect().await.leave(row.instance).await.unwrap();
    }
    let row = registration(&store.keyring);
    assert!(line.register(&row).await.unwrap());
    assert!(matches!(begin(&store, 3).await, Begun::At(_)));
    for keyring in [&short, &other, &Keyring::generate()] {
        assert!(!line.register(&registration(keyring)).await.unwrap());
    }
    let longer = store.keyring.grown().unwrap();
    for keyring in [&store.keyring, &longer] {
        assert!(line.register(&registration(keyring)).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settling_waits_for_who_notes_activity_and_gives_up_in_time() {
    let store = Store::postgres().await;
    let mut writer = store.connect().await;
    writer.run("BEGIN").await;
    writer
        .run("DELETE FROM service_window WHERE partition = 1")
        .await;
    store.rotation.settle().await.unwrap_err();
    writer.run("COMMIT").await;
    store.rotation.settle().await.unwrap();
    let moved = store
        .rotation
        .move_rows(Table::Windows, Partition(1), None, 10)
        .await;
    assert_eq!(moved.unwrap().rows, 0);
}
