//! Writes that are decided on what memory knows: it may know too little, or nothing, or of a call that was made before.

use std::sync::Arc;

use consentgate::domain::facts::Facts;
use consentgate::domain::id::PurposeKey;
use consentgate::keys::Keyring;
use consentgate::ledger::{Ledger, Offset, Partition, StoredSubject};

use super::decisions::{Turns, consents};
use super::slow_ledger::Store;
use crate::harness::Backend;

const MEMORY: u64 = 1 << 20;

/// The only subject there is.
async fn subject(ledger: &dyn Ledger) -> StoredSubject {
    let mut found = Vec::new();
    for partition in 1..=64 {
        let some = ledger.subjects_after(Partition(partition), None, 2);
        found.extend(some.await.unwrap());
    }
    assert_eq!(found.len(), 1);
    found.remove(0)
}

/// Neither of two processes is told of what the other one writes: each knows what it wrote itself, and that is old.
pub async fn what_is_old_or_guessed_wrong_or_repeated_loses_nothing_and_writes_nothing_twice(
    on: Backend,
) {
    let store = Store::open(on).await;
    let keyring = Arc::new(Keyring::generate());
    let open = || consents(&store, keyring.clone(), store.ledger.clone(), MEMORY);
    let (one, other) = (open().await, open().await);
    let person = Turns::new(1);
    let grant = person.grant();
    let first = one.record(grant.clone()).await.unwrap();
    // Guessed to be somebody new, who is not.
    other.record(person.grant()).await.unwrap();
    // Known from before that.
    one.withdraw(person.opt_out()).await.unwrap();
    // Repeated, where nothing is known of the first call, where much is, and under a key of other content.
    for consents in [&other, &one, &open().await] {
        let again = consents.record(grant.clone()).await.unwrap();
        assert_eq!(again.event_id, first.event_id);
        assert_eq!(again.records, first.records);
    }
    let mut changed = grant;
    changed.actor = "somebody else".into();
    other.record(changed.clone()).await.unwrap_err();
    // Refused for what is wrong with it, though its key was used.
    changed.idempotency_key = "another".into();
    changed.purposes.clear();
    changed
        .purposes
        .push(PurposeKey::parse("unheard-of").unwrap());
    other.record(changed).await.unwrap_err();

    let found = subject(store.ledger.as_ref()).await;
    let history = store.ledger.history(found.subject_id, Offset(0), 10);
    let history = history.await.unwrap();
    assert_eq!((found.version.0, history.len()), (3, 3));
    let facts = Facts::fold(history.iter().map(|recorded| &recorded.event));
    assert_eq!(found.facts, facts.encode());
}
