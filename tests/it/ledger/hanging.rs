//! A database that says nothing for longer than anybody should wait.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use consentgate::ledger::measured::Measured;
use consentgate::ledger::{Error, Ledger, Offset, Partition, Rpc, Touch};
use consentgate::telemetry::Metrics;
use tokio::time::Instant;

use super::people::{Call, Person, at, minute};
use super::store::{LIMITS, Store};

/// Far below the database's own limits.
const LIMIT: Duration = Duration::from_millis(100);

/// Keeps everything in PostgreSQL waiting, until it is rolled back.
const LOCK_EVERY_TABLE: &str = "DO $$ DECLARE t text; BEGIN
    FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', t);
    END LOOP; END $$";

#[track_caller]
fn is_no_answer<T: Debug>(answer: Result<T, Error>) {
    match answer {
        Err(Error::Unavailable(source)) => {
            assert_eq!(source.to_string(), format!("no answer within {LIMIT:?}"));
        }
        other => panic!("{other:?}"),
    }
}

pub async fn no_call_waits_for_it_longer_than_its_limit(store: &Store) {
    let measured: Measured<dyn Ledger> =
        Measured::new(Arc::clone(&store.ledger), Metrics::disabled(), LIMIT);
    let ledger: &dyn Ledger = &measured;
    let mut person = Person::new(1, 7);
    person.record(&*store.ledger).await;

    let mut held = store.connect().await;
    let readers_wait_for_nobody = store.has_loose_types();
    if readers_wait_for_nobody {
        held.run("BEGIN IMMEDIATE").await;
    } else {
        held.run("BEGIN").await;
        held.run(LOCK_EVERY_TABLE).await;
    }
    let begun = Instant::now();
    is_no_answer(person.next().offer(ledger).await);
    is_no_answer(ledger.append_system(Offset(0), minute(0), "{}").await);
    is_no_answer(ledger.forget_answers(minute(0), 1).await);
    is_no_answer(ledger.set_key_check("other").await);
    if !readers_wait_for_nobody {
        let call = Call::new(Rpc::Withdraw, 1);
        let business = &person.subject.business;
        let answer = ledger.answer(business, call.rpc, &call.key_hash, Touch::Yes);
        is_no_answer(answer.await);
        is_no_answer(person.load(ledger).await);
        is_no_answer(ledger.find(person.id).await);
        is_no_answer(ledger.history(person.id, Offset(0), 1).await);
        is_no_answer(ledger.changes_after(at(7, 0), 1).await);
        is_no_answer(ledger.heads().await);
        is_no_answer(ledger.subjects_after(Partition(7), None, 1).await);
        is_no_answer(ledger.address(person.id).await);
        is_no_answer(ledger.system_after(Offset(0), 1).await);
        is_no_answer(ledger.meta().await);
    }
    assert!(
        begun.elapsed() < LIMITS.statement_timeout,
        "{:?}",
        begun.elapsed()
    );

    held.run("ROLLBACK").await;
    // Nobody heard how the append ended; whoever asks afterwards learns what is there.
    let now = person.reread(&*store.ledger).await;
    assert_eq!(
        now.load(&*store.ledger).await.unwrap().subject,
        now.loaded(0).subject
    );
}
