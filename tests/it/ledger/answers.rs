//! Idempotency: a key is used once, its answer is read back, and old answers are forgotten.

use std::sync::Arc;

use consentgate::domain::id::BusinessId;
use consentgate::ledger::{Appended, Ledger, Rpc, StoredAnswer, Touch, replay};

use super::people::{Call, Person, at, minute, race};
use super::store::Store;

fn acme() -> BusinessId {
    BusinessId::parse("acme").unwrap()
}

async fn answer_of(ledger: &dyn Ledger, call: &Call, touch: Touch) -> Option<StoredAnswer> {
    let business = acme();
    let answer = ledger.answer(&business, call.rpc, &call.key_hash, touch);
    answer.await.unwrap()
}

pub async fn an_answer_is_read_back_with_its_position(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = Person::new(1, 7);
    person.record(ledger).await;
    let call = Call::new(Rpc::Withdraw, 1);
    let draft = person.next().with_call(call.clone());
    person.record_as(draft, ledger).await;

    for touch in [Touch::No, Touch::Yes] {
        let stored = StoredAnswer {
            content_hash: call.content_hash,
            answer: call.answer.clone(),
            position: at(7, 2),
        };
        assert_eq!(answer_of(ledger, &call, touch).await, Some(stored));

        let other_rpc = Call::new(Rpc::RecordConsent, 1);
        assert_eq!(answer_of(ledger, &other_rpc, touch).await, None);
        let other_key = Call::new(Rpc::Withdraw, 2);
        assert_eq!(answer_of(ledger, &other_key, touch).await, None);
        let other_business = BusinessId::parse("other").unwrap();
        let answer = ledger.answer(&other_business, call.rpc, &call.key_hash, touch);
        assert_eq!(answer.await.unwrap(), None);
    }
}

pub async fn a_used_key_writes_nothing(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = Person::new(1, 7);
    let call = Call::new(Rpc::RecordConsent, 1);
    let draft = person.next().with_call(call.clone());
    person.record_as(draft, ledger).await;

    let before = store.contents().await;
    let stranger = Person::new(2, 9);
    for draft in [person.next(), stranger.next()] {
        let draft = draft.with_payload(b"sealed").with_call(call.clone());
        assert_eq!(draft.offer(ledger).await.unwrap(), Appended::KeyUsed);
        assert!(store.contents().await == before);
    }

    // Where the version has changed, too, either is told: whoever decides again finds the answer then.
    let mut behind = Person::new(1, 7).next().with_call(call);
    behind.address = Some(b"another".to_vec());
    let lost = behind.offer(ledger).await.unwrap();
    let told = [Appended::VersionChanged, Appended::KeyUsed];
    assert!(told.contains(&lost), "{lost:?}");
    assert!(store.contents().await == before);

    person.record(ledger).await;
    let report = replay::check(ledger).await.unwrap();
    assert_eq!(report.differences, []);
}

pub async fn a_used_key_is_free_under_another_rpc_or_business(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = Person::new(1, 7);
    for rpc in [Rpc::RecordConsent, Rpc::Withdraw, Rpc::ConfirmConsent] {
        let draft = person.next().with_call(Call::new(rpc, 1));
        person.record_as(draft, ledger).await;
    }
    let mut elsewhere = Person::of("other", 2, 7);
    let draft = elsewhere.next().with_call(Call::new(Rpc::RecordConsent, 1));
    assert_eq!(elsewhere.record_as(draft, ledger).await, at(7, 4));
}

pub async fn one_of_16_racing_calls_with_one_key_wins(store: &Store) {
    let call = Call::new(Rpc::RecordConsent, 1);
    // In many partitions, so that no head's lock puts them into a row.
    let people: Vec<Person> = (1..=16).map(|n| Person::new(n, u16::from(n))).collect();
    let contenders = people.iter().map(|person| {
        let draft = person
            .next()
            .with_payload(b"sealed")
            .with_call(call.clone());
        let ledger = Arc::clone(&store.ledger);
        async move { draft.offer(&*ledger).await.unwrap() }
    });
    let results = race(contenders).await;

    let ledger = &*store.ledger;
    let mut winners = 0;
    for (person, result) in people.iter().zip(&results) {
        let stored = person.load(ledger).await.unwrap();
        match result {
            Appended::At(positions) => {
                winners += 1;
                assert!(stored.subject.is_some());
                let answer = answer_of(ledger, &call, Touch::No).await.unwrap();
                assert_eq!(*positions, [answer.position]);
            }
            Appended::KeyUsed => assert_eq!(stored, person.loaded(0)),
            Appended::VersionChanged => panic!("{results:?}"),
        }
    }
    assert_eq!(winners, 1, "{results:?}");
    let report = replay::check(ledger).await.unwrap();
    assert_eq!(report.differences, []);
}

pub async fn a_touched_answer_commits_a_write_and_an_untouched_one_none(store: &Store) {
    let call = Call::new(Rpc::Withdraw, 1);
    let draft = Person::new(1, 7).next().with_call(call.clone());
    draft.offer(&*store.ledger).await.unwrap();

    let before = store.contents().await;
    answer_of(&*store.ledger, &call, Touch::No).await.unwrap();
    let unknown = Call::new(Rpc::Withdraw, 2);
    let none = answer_of(&*store.ledger, &unknown, Touch::Yes).await;
    assert_eq!(none, None);
    assert!(store.contents().await == before);

    let contenders = (0..16).map(|_| {
        let (ledger, call) = (Arc::clone(&store.ledger), call.clone());
        async move { answer_of(&*ledger, &call, Touch::Yes).await.is_some() }
    });
    assert!(race(contenders).await.into_iter().all(|found| found));
    let mut raw = store.connect().await;
    let repeats = raw.number("SELECT repeats FROM idempotency").await;
    assert_eq!(repeats, 16);
}

pub async fn answers_are_forgotten_by_age_and_limit(store: &Store) {
    let ledger = &*store.ledger;
    let mut person = Person::new(1, 7);
    for key in 1..=5 {
        // Recorded a minute after one another: the first after the first minute.
        let draft = person.next().with_call(Call::new(Rpc::Withdraw, key));
        person.record_as(draft, ledger).await;
    }
    let kept = async || {
        let mut kept = Vec::new();
        for key in 1..=5 {
            let call = Call::new(Rpc::Withdraw, key);
            if answer_of(ledger, &call, Touch::No).await.is_some() {
                kept.push(key);
            }
        }
        kept
    };

    assert_eq!(ledger.forget_answers(minute(1), 100).await.unwrap(), 0);
    assert_eq!(ledger.forget_answers(minute(4), 0).await.unwrap(), 0);
    assert_eq!(kept().await, [1, 2, 3, 4, 5]);
    assert_eq!(ledger.forget_answers(minute(4), 2).await.unwrap(), 2);
    let left = kept().await;
    assert_eq!(left.len(), 3);
    assert!(left.ends_with(&[4, 5]), "{left:?}");
    assert_eq!(ledger.forget_answers(minute(4), 2).await.unwrap(), 1);
    assert_eq!(ledger.forget_answers(minute(4), 2).await.unwrap(), 0);
    assert_eq!(kept().await, [4, 5]);

    // Its event stays, and the key is free again.
    assert_eq!(person.load(ledger).await.unwrap(), person.loaded(5));
    let draft = person.next().with_call(Call::new(Rpc::Withdraw, 1));
    person.record_as(draft, ledger).await;
    assert_eq!(kept().await, [1, 4, 5]);
}
