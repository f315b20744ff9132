//! Appending: everything of an event is committed, or nothing; and only one decision on a version wins.

use std::sync::Arc;

use consentgate::domain::id::{BusinessId, SubjectId};
use consentgate::ledger::{Appended, Error, Offset, Partition, Rpc, Touch, Version, replay};
use uuid::Uuid;

use super::people::{Call, Draft, Person, abandon_after, at, race};
use super::store::Store;

pub async fn a_first_append_commits_event_facts_payload_address_and_answer(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = Person::new(1, 7);
    let call = Call::new(Rpc::RecordConsent, 1);
    let draft = person
        .next()
        .with_payload(b"sealed")
        .with_call(call.clone());

    assert_eq!(person.record_as(draft, ledger).await, at(7, 1));

    assert_eq!(person.load(ledger).await.unwrap(), person.loaded(1));
    let history = ledger.history(person.id, Offset(0), 10).await.unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].position, at(7, 1));
    assert_eq!(history[0].event, person.events[0]);
    assert_eq!(history[0].payload.as_deref(), Some(&b"sealed"[..]));
    let address = ledger.address(person.id).await.unwrap();
    assert_eq!(address.as_deref(), Some(&b"sealed address"[..]));
    let business = &person.subject.business;
    let answer = ledger
        .answer(business, call.rpc, &call.key_hash, Touch::No)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.position, at(7, 1));
}

pub async fn a_next_append_moves_the_subject_on(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = Person::new(1, 64);
    for offset in 1..=5 {
        assert_eq!(person.record(ledger).await, at(64, offset));
        assert_eq!(person.load(ledger).await.unwrap(), person.loaded(offset));
    }
    assert_eq!(person.reread(ledger).await.events, person.events);
}

pub async fn an_append_decided_on_another_version_writes_nothing(store: &Store) {
    let ledger = &*store.ledger;
    let mut known = Person::new(1, 7);
    known.record(ledger).await;
    known.record(ledger).await;
    let stranger = Person::new(2, 7);

    let wrong = |person: &Person, what: &str, change: &dyn Fn(&mut Draft)| {
        let call = Call::new(Rpc::Withdraw, 9);
        let mut draft = person.next().with_payload(b"sealed").with_call(call);
        change(&mut draft);
        (what.to_owned(), draft)
    };
    let drafts = [
        wrong(&known, "a first one", &|draft| {
            draft.expected = Version(0);
        }),
        wrong(&known, "a first one under another id", &|draft| {
            draft.expected = Version(0);
            draft.event.subject_id = SubjectId(Uuid::from_u128(3));
        }),
        wrong(&known, "one behind", &|draft| draft.expected = Version(1)),
        wrong(&known, "one ahead", &|draft| draft.expected = Version(3)),
        wrong(&known, "another subject under the key", &|draft| {
            draft.event.subject_id = SubjectId(Uuid::from_u128(3));
        }),
        wrong(&known, "another business", &|draft| {
            draft.subject.business = BusinessId::parse("other").unwrap();
        }),
        wrong(&known, "another partition", &|draft| {
            draft.subject.partition = Partition(8);
        }),
        wrong(&stranger, "a second one of a stranger", &|draft| {
            draft.expected = Version(1);
        }),
    ];

    let before = store.contents().await;
    for (what, draft) in drafts {
        let appended = draft.offer(ledger).await.unwrap();
        assert_eq!(appended, Appended::VersionChanged, "{what}");
        assert!(store.contents().await == before, "{what}: wrote something");
    }
    assert_eq!(known.load(ledger).await.unwrap(), known.loaded(2));
    assert_eq!(known.record(ledger).await, at(7, 3));
}

pub async fn one_of_16_racing_first_appends_wins(store: &Store) {
    // Each contender has made a subject id of its own, as calls do that find nobody.
    let drafts = (0..16_u8).map(|contender| {
        let mut draft = Person::new(1, 7).next();
        draft.event.subject_id = SubjectId(Uuid::from_bytes([100 + contender; 16]));
        draft
    });
    one_wins(store, drafts.collect(), 1).await;
}

pub async fn one_of_16_racing_next_appends_wins(store: &Store) {
    let mut person = Person::new(1, 7);
    person.record(&*store.ledger).await;
    for offset in 2..=6 {
        let drafts = (0..16).map(|_| person.next()).collect();
        one_wins(store, drafts, offset).await;
        person = person.reread(&*store.ledger).await;
        assert_eq!(person.version(), Version(offset));
    }
}

async fn one_wins(store: &Store, drafts: Vec<Draft>, offset: i64) {
    let answers = answers_kept(store).await;
    let mut key = u8::try_from(offset * 16).unwrap();
    let contenders = drafts.iter().cloned().map(|draft| {
        let ledger = Arc::clone(&store.ledger);
        let call = Call::new(Rpc::RecordConsent, key);
        key += 1;
        let draft = draft.with_payload(b"sealed").with_call(call);
        async move { draft.offer(&*ledger).await.unwrap() }
    });
    let results = race(contenders).await;

    let winners: Vec<usize> = (0..results.len())
        .filter(|contender| results[*contender] == Appended::At(vec![at(7, offset)]))
        .collect();
    let [winner] = winners[..] else {
        panic!("{results:?}");
    };
    for (contender, result) in results.iter().enumerate() {
        assert!(
            contender == winner || *result == Appended::VersionChanged,
            "{results:?}"
        );
    }

    let ledger = &*store.ledger;
    let changes = ledger.changes_after(at(7, offset - 1), 100).await.unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].event, drafts[winner].event);
    assert_eq!(answers_kept(store).await, answers + 1, "a loser left one");
    let report = replay::check(ledger).await.unwrap();
    assert_eq!(report.differences, []);
}

async fn answers_kept(store: &Store) -> usize {
    let contents = store.contents().await;
    let answers = contents.iter().filter(|row| row.table == "idempotency");
    answers.count()
}

pub async fn an_id_that_is_taken_is_refused_and_nothing_written(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = Person::new(1, 7);
    person.record(ledger).await;

    let mut same_event = person.next().with_payload(b"sealed");
    same_event.event.event_id = person.events[0].event_id;
    let mut same_subject = Person::new(2, 9).next().with_payload(b"sealed");
    same_subject.event.subject_id = person.id;

    let before = store.contents().await;
    for draft in [same_event, same_subject] {
        let refused = draft.offer(ledger).await;
        assert!(matches!(refused, Err(Error::Rejected(_))), "{refused:?}");
        assert!(store.contents().await == before);
    }
}

pub async fn an_append_to_a_partition_without_a_head_writes_nothing(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = Person::new(1, 7);
    person.record(ledger).await;
    store
        .damage("DELETE FROM partition_head WHERE partition = 7")
        .await;

    let before = store.contents().await;
    for draft in [
        person.next(),
        Person::new(2, 7).next(),
        Person::new(3, 65).next(),
    ] {
        let refused = draft.offer(ledger).await;
        assert!(refused.is_err(), "{refused:?}");
        assert!(store.contents().await == before);
    }
}

pub async fn an_abandoned_append_is_there_whole_or_not_at_all(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = Person::new(1, 7);
    let mut abandoned = Vec::new();
    for polls in 0..40 {
        let draft = person.next().with_payload(b"sealed");
        abandoned.push(draft.event.event_id);
        // The result is dropped with the future, so nobody knows whether it commits, or when.
        abandon_after(polls, draft.offer(ledger)).await;
        // What it leaves behind stands in nobody's way.
        loop {
            person = person.reread(ledger).await;
            let next = person.next();
            if next.offer(ledger).await.unwrap() != Appended::VersionChanged {
                person.events.push(next.event);
                break;
            }
        }
    }

    let history = ledger.history(person.id, Offset(0), 1_000).await.unwrap();
    let mut committed = 0;
    for recorded in &history {
        let is_abandoned = abandoned.contains(&recorded.event.event_id);
        committed += usize::from(is_abandoned);
        assert_eq!(recorded.payload.is_some(), is_abandoned);
    }
    assert!(committed > 0 && committed < abandoned.len(), "{committed}");
    assert_eq!(history.len(), abandoned.len() + committed);
    let report = replay::check(ledger).await.unwrap();
    assert_eq!(report.differences, []);
}
