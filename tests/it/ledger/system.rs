//! The system partition, what identifies a ledger, and whether it is there at all.

use std::sync::Arc;

use consentgate::ledger::{Error, Offset, Rpc, SystemRecord, Touch, replay};

use super::people::{Person, at, minute, offer_together, race};
use super::store::Store;

pub async fn a_change_of_the_system_is_appended_only_at_the_expected_offset(store: &Store) {
    let ledger = &*store.ledger;
    let append = async |expected, body| {
        let appended = ledger.append_system(Offset(expected), minute(expected), body);
        appended.await.unwrap()
    };
    let before = store.contents().await;
    assert_eq!(append(1, "{}").await, None);
    assert_eq!(append(-1, "{}").await, None);
    assert!(store.contents().await == before);

    for (offset, body) in [(1, "{}"), (2, r#"{"näme":"ü"}"#), (3, "[]")] {
        assert_eq!(append(offset - 1, body).await, Some(Offset(offset)));
    }
    let before = store.contents().await;
    for expected in [0, 1, 2, 4] {
        assert_eq!(append(expected, "{}").await, None);
    }
    assert!(store.contents().await == before);
    assert_eq!(ledger.heads().await.unwrap()[0], at(0, 3));

    let record = |offset, body: &str| SystemRecord {
        offset: Offset(offset),
        recorded_at: minute(offset - 1),
        body: body.to_owned(),
    };
    let all = [
        record(1, "{}"),
        record(2, r#"{"näme":"ü"}"#),
        record(3, "[]"),
    ];
    let after = async |offset, limit| {
        let page = ledger.system_after(Offset(offset), limit).await;
        page.unwrap()
    };
    assert_eq!(after(0, 100).await, all);
    assert_eq!(after(0, 2).await, all[..2]);
    assert_eq!(after(2, 2).await, all[2..]);
    assert_eq!(after(3, 2).await, []);
}

pub async fn one_of_16_racing_changes_of_the_system_wins(store: &Store) {
    for offset in 1..=5 {
        let contenders = (0..16).map(|number| {
            let ledger = Arc::clone(&store.ledger);
            async move {
                let body = number.to_string();
                let appended = ledger.append_system(Offset(offset - 1), minute(0), &body);
                appended.await.unwrap()
            }
        });
        let results = race(contenders).await;
        let winners: Vec<usize> = (0..16).filter(|n| results[*n].is_some()).collect();
        let [winner] = winners[..] else {
            panic!("{results:?}");
        };
        assert_eq!(results[winner], Some(Offset(offset)));
        let records = store.ledger.system_after(Offset(offset - 1), 100).await;
        let records = records.unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].body, winner.to_string());
    }
    let report = replay::check(&*store.ledger).await.unwrap();
    assert_eq!((report.events, report.differences), (5, vec![]));
}

pub async fn a_new_ledger_says_what_identifies_it(store: &Store) {
    let meta = store.ledger.meta().await.unwrap();
    assert!(meta.ledger_id.len() >= 32, "{meta:?}");
    assert_eq!((meta.partitions, meta.match_rules), (64, 1));
    assert!(meta.key_checks.is_empty());
    assert_eq!(store.ledger.meta().await.unwrap(), meta);
}

pub async fn a_key_check_value_is_never_overwritten(store: &Store) {
    let contenders = (0..16).map(|number| {
        let ledger = Arc::clone(&store.ledger);
        async move {
            let value = format!("check {number}");
            ledger.set_key_check(&value).await.unwrap();
        }
    });
    race(contenders).await;
    let first = store.ledger.meta().await.unwrap().key_checks;
    assert!(first[&1].starts_with("check "), "{first:?}");
    store.ledger.set_key_check("another").await.unwrap();
    let after = store.ledger.meta().await.unwrap();
    assert_eq!(after.key_checks, first);
}

pub async fn a_closed_ledger_is_unavailable(store: &Store) {
    let ledger = &*store.ledger;
    let (person, other) = (Person::new(1, 7), Person::new(2, 8));
    ledger.ping().await.unwrap();
    ledger.close().await;

    let business = &person.subject.business;
    let results = [
        ledger.ping().await,
        person.load(ledger).await.map(drop),
        person.next().offer(ledger).await.map(drop),
        offer_together(&[&person.next(), &other.next()], ledger)
            .await
            .map(drop),
        ledger.find(person.id).await.map(drop),
        ledger
            .answer(business, Rpc::Withdraw, &[0; 16], Touch::No)
            .await
            .map(drop),
        ledger
            .answer(business, Rpc::Withdraw, &[0; 16], Touch::Yes)
            .await
            .map(drop),
        ledger.forget_answers(minute(0), 1).await.map(drop),
        ledger.history(person.id, Offset(0), 1).await.map(drop),
        ledger.changes_after(at(7, 0), 1).await.map(drop),
        ledger.heads().await.map(drop),
        ledger
            .subjects_after(person.subject.partition, None, 1)
            .await
            .map(drop),
        ledger.address(person.id).await.map(drop),
        ledger.system_after(Offset(0), 1).await.map(drop),
        ledger
            .append_system(Offset(0), minute(0), "{}")
            .await
            .map(drop),
        ledger.meta().await.map(drop),
        ledger.set_key_check("x").await,
    ];
    for (number, result) in results.into_iter().enumerate() {
        assert!(
            matches!(result, Err(Error::Unavailable(_))),
            "call {number}: {result:?}"
        );
    }
    ledger.close().await;
}
