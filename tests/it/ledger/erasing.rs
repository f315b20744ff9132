//! Erasures: what is personal goes with the event or when its time has come, and nothing else goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use consentgate::domain::activity::Wanted;
use consentgate::domain::event::{Act, Erasure};
use consentgate::domain::id::SenderId;
use consentgate::domain::time::Timestamp;
use consentgate::domain::vocabulary::ErasureBasis;
use consentgate::ledger::{Appended, Ledger, Offset, Removal, SubjectRef, replay};

use super::people::{Draft, Person, minute, offer_many, offer_together, race};
use super::store::Store;

/// What the rows that must go hold, so that no look at the tables can miss it.
pub const SEALED: &[u8] = b"sealed evidence of somebody";
pub const ADDRESS: &[u8] = b"sealed address";

const DAY: Duration = Duration::from_hours(24);

fn act() -> Act {
    Act::Erased(Erasure {
        basis: ErasureBasis::SubjectRequest,
        note: String::new(),
        retained_until: None,
    })
}

/// The erasure that follows what is recorded of a person.
pub fn erasure(person: &Person, removal: Removal) -> Draft {
    let mut draft = person.next();
    draft.event.act = act();
    draft.facts = person.facts();
    draft.facts.apply(&draft.event);
    draft.payload = Some(SEALED.to_vec());
    draft.address = None;
    draft.removal = Some(removal);
    draft
}

/// Somebody with two acts that have evidence, and an open window.
pub async fn somebody(store: &Store, number: u8, partition: u16) -> Person {
    let mut person = Person::new(number, partition);
    for _ in 0..2 {
        let draft = person.next().with_payload(SEALED);
        person.record_as(draft, &*store.ledger).await;
    }
    let subjects = std::slice::from_ref(&person.subject);
    let sender = sender();
    let noted = store.activity.note_inbound(subjects, &sender, minute(1));
    noted.await.unwrap();
    person
}

fn sender() -> SenderId {
    SenderId::parse("1001").unwrap()
}

async fn window(store: &Store, subject: &SubjectRef) -> Option<Timestamp> {
    let sender = sender();
    let wanted = Wanted {
        window_of: Some(&sender),
        sends_since: None,
    };
    let found = store
        .activity
        .activity(std::slice::from_ref(subject), wanted);
    found.await.unwrap()[0].last_inbound
}

async fn payloads(ledger: &dyn Ledger, person: &Person) -> Vec<Option<Vec<u8>>> {
    let history = ledger.history(person.id, Offset(0), 100).await.unwrap();
    let events: Vec<_> = history.iter().map(|one| one.event.clone()).collect();
    assert_eq!(events, person.events, "events stay as they were");
    history.into_iter().map(|one| one.payload).collect()
}

/// In how many rows of which table anything of `what` lies.
async fn holding(store: &Store, what: &[&[u8]]) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for row in store.contents().await {
        let values = row.cells.iter().filter_map(|(_, value)| value.as_ref());
        let mut values = values.filter(|value| {
            let lies = |text: &&[u8]| value.windows(text.len()).any(|window| window == *text);
            what.iter().any(lies)
        });
        if values.next().is_some() {
            *found.entry(row.table).or_default() += 1;
        }
    }
    found
}

async fn replays(ledger: &dyn Ledger) {
    let report = replay::check(ledger).await.unwrap();
    assert_eq!(report.differences, []);
}

pub async fn an_erasure_takes_what_is_personal_with_its_commit(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = somebody(store, 1, 7).await;
    let before = holding(store, &[SEALED, ADDRESS]).await;
    let sealed = ["event_payload", "subject_address"];
    assert_eq!(before.keys().collect::<Vec<_>>(), sealed);
    assert_eq!(before.values().sum::<usize>(), 3);

    let draft = erasure(&person, Removal::Now);
    person.record_as(draft, ledger).await;

    assert_eq!(holding(store, &[SEALED, ADDRESS]).await, BTreeMap::new());
    assert_eq!(payloads(ledger, &person).await, vec![None; 3]);
    assert_eq!(ledger.address(person.id).await.unwrap(), None);
    assert_eq!(window(store, &person.subject).await, None);
    assert_eq!(person.load(ledger).await.unwrap(), person.loaded(3));
    replays(ledger).await;
}

pub async fn an_erasure_is_of_one_person_alone(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = somebody(store, 1, 7).await;
    let other = somebody(store, 2, 7).await;
    let draft = erasure(&person, Removal::Now);
    person.record_as(draft, ledger).await;
    assert_eq!(
        payloads(ledger, &other).await,
        vec![Some(SEALED.to_vec()); 2]
    );
    assert_eq!(
        ledger.address(other.id).await.unwrap().as_deref(),
        Some(ADDRESS)
    );
    assert_eq!(window(store, &other.subject).await, Some(minute(1)));
}

pub async fn what_is_put_off_goes_when_its_time_has_come_and_what_came_later_stays(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = somebody(store, 1, 7).await;
    let other = somebody(store, 2, 7).await;
    let due = minute(9).plus(DAY);
    let draft = erasure(&person, Removal::At(due));
    person.record_as(draft, ledger).await;
    // The address and the window prove nothing.
    assert_eq!(ledger.address(person.id).await.unwrap(), None);
    assert_eq!(window(store, &person.subject).await, None);
    let later = person.next().with_payload(b"later");
    person.record_as(later, ledger).await;

    let just_before = Timestamp::from_micros(due.as_micros() - 1);
    assert_eq!(ledger.carry_out_erasures(just_before, 10).await.unwrap(), 0);
    let kept = vec![Some(SEALED.to_vec()); 3];
    assert_eq!(payloads(ledger, &person).await[..3], kept);

    assert_eq!(ledger.carry_out_erasures(due, 10).await.unwrap(), 1);
    let left = [None, None, None, Some(b"later".to_vec())];
    assert_eq!(payloads(ledger, &person).await, left);
    assert_eq!(payloads(ledger, &other).await, kept[..2]);
    assert_eq!(
        ledger.carry_out_erasures(due.plus(DAY), 10).await.unwrap(),
        0
    );
    replays(ledger).await;
}

pub async fn an_erasure_that_need_not_wait_takes_one_with_it_that_was_put_off(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = somebody(store, 1, 7).await;
    for removal in [Removal::At(minute(9).plus(DAY)), Removal::Now] {
        let draft = erasure(&person, removal);
        person.record_as(draft, ledger).await;
    }
    assert_eq!(holding(store, &[SEALED]).await, BTreeMap::new());
    let ever = Timestamp::MAX;
    assert_eq!(ledger.carry_out_erasures(ever, 10).await.unwrap(), 0);
}

pub async fn an_erasure_decided_on_another_version_removes_nothing(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = somebody(store, 1, 7).await;
    let outdated = erasure(&person, Removal::Now);
    person.record(ledger).await;
    assert_eq!(
        outdated.offer(ledger).await.unwrap(),
        Appended::VersionChanged
    );
    assert_eq!(holding(store, &[SEALED]).await["event_payload"], 2);
    assert_eq!(window(store, &person.subject).await, Some(minute(1)));
}

pub async fn an_erasure_of_linked_addresses_takes_all_of_them_or_none(store: &Store) {
    let ledger = &*store.ledger;
    let (mut one, mut other) = (somebody(store, 1, 7).await, somebody(store, 2, 9).await);
    let outdated = [erasure(&one, Removal::Now), erasure(&other, Removal::Now)];
    other.record(ledger).await;
    let outdated: Vec<&Draft> = outdated.iter().collect();
    let lost = offer_together(&outdated, ledger).await.unwrap();
    assert_eq!(lost, Appended::VersionChanged);
    assert_eq!(holding(store, &[SEALED]).await["event_payload"], 4);

    let due = minute(9).plus(DAY);
    let mut both = [
        erasure(&one, Removal::Now),
        erasure(&other, Removal::At(due)),
    ];
    both[1].event.event_id = both[0].event.event_id;
    both[1].facts = other.facts();
    both[1].facts.apply(&both[1].event);
    let drafts: Vec<&Draft> = both.iter().collect();
    let done = offer_together(&drafts, ledger).await.unwrap();
    assert!(matches!(done, Appended::At(_)), "{done:?}");
    one.events.push(both[0].event.clone());
    other.events.push(both[1].event.clone());
    assert_eq!(payloads(ledger, &one).await, vec![None; 3]);
    assert!(payloads(ledger, &other).await[0].is_some());
    for person in [&one, &other] {
        assert_eq!(ledger.address(person.id).await.unwrap(), None);
        assert_eq!(window(store, &person.subject).await, None);
    }
    replays(ledger).await;
}

pub async fn no_erasure_goes_together_with_acts_of_others(store: &Store) {
    let ledger = &*store.ledger;
    let person = somebody(store, 1, 7).await;
    let mut other = Person::new(2, 7);
    let drafts = [erasure(&person, Removal::Now), other.next()];
    let results = offer_many(&drafts, ledger).await;
    assert!(results[0].is_err(), "{:?}", results[0]);
    assert!(
        matches!(results[1], Ok(Appended::At(_))),
        "{:?}",
        results[1]
    );
    other = other.reread(ledger).await;
    assert_eq!(other.events.len(), 1);
    assert_eq!(payloads(ledger, &person).await.len(), 2);
}

pub async fn erasures_that_are_due_are_carried_out_once_by_however_many(store: &Store) {
    const PEOPLE: u8 = 30;
    for number in 1..=PEOPLE {
        let mut person = Person::new(number, 1 + u16::from(number % 3));
        let draft = person.next().with_payload(SEALED);
        person.record_as(draft, &*store.ledger).await;
        let draft = erasure(&person, Removal::At(minute(9)));
        person.record_as(draft, &*store.ledger).await;
    }
    let sweep = |ledger: Arc<dyn Ledger>| async move {
        let mut done = 0;
        // Others may hold what is due at first; whoever finds nothing more comes back later.
        loop {
            match ledger.carry_out_erasures(minute(9), 4).await.unwrap() {
                0 => return done,
                some => done += some,
            }
        }
    };
    let sweeps = (0..4).map(|_| sweep(Arc::clone(&store.ledger)));
    let done: u64 = race(sweeps).await.into_iter().sum();
    let rest = sweep(Arc::clone(&store.ledger)).await;
    assert_eq!(done + rest, u64::from(PEOPLE));
    assert_eq!(holding(store, &[SEALED]).await, BTreeMap::new());
}
