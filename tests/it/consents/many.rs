//! Batches and streams beside single checks, which never wait until many are read.

use std::sync::Arc;
use std::time::Duration;

use consentgate::cache::lane::{FEW, Lane, STATEMENT};
use consentgate::cache::lease::Lease;
use consentgate::cache::{FactsCache, Limits};
use consentgate::clock::SystemClock;
use consentgate::domain::id::BusinessId;
use consentgate::grpc::proto::*;
use consentgate::keys::SUBJECT_PARTITIONS;
use consentgate::ledger::{Partition, SubjectRef};
use consentgate::telemetry::Metrics;
use tonic::Status;

use super::acts::*;
use super::slow_ledger::{Gate, SlowLedger, Store};
use crate::harness::{ACME, Backend, TestServer};
use crate::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(60);

/// Connections of which a batch may use a quarter.
const CONNECTIONS: u32 = 12;
const PLACES: usize = 3;

fn stranger(number: u32) -> SubjectRef {
    let scattered = number.wrapping_mul(2_654_435_761);
    let mut key = [7; 16];
    key[..4].copy_from_slice(&scattered.to_be_bytes());
    let partition = u16::try_from(scattered % u32::from(SUBJECT_PARTITIONS)).unwrap();
    SubjectRef {
        business: BusinessId::parse("acme").unwrap(),
        partition: Partition(partition + 1),
        key,
    }
}

pub async fn a_single_miss_is_answered_while_a_batch_is_read(on: Backend) {
    let store = Store::open(on).await;
    let gate = Gate::above(FEW);
    let ledger = SlowLedger::behind(Arc::clone(&store.ledger), &gate);
    let cache = Arc::new(FactsCache::new(
        Arc::new(ledger),
        Arc::new(SystemClock),
        Arc::new(Lease::endless()),
        Limits::of_bytes(1 << 24),
        Lane::of(CONNECTIONS),
        Metrics::disabled(),
    ));
    let people: Arc<Vec<_>> = Arc::new((0..10_000).map(stranger).collect());
    let batch = || {
        let (cache, people) = (Arc::clone(&cache), Arc::clone(&people));
        tokio::spawn(async move { cache.facts_of_many(&people).await })
    };
    let left = batch();
    let read = batch();
    let under_way = async || (gate.seen().len() >= PLACES).then_some(());
    eventually(PATIENCE, "as many reads as may are under way", under_way).await;
    // Who leaves does not make room for more: the database still works for it.
    left.abort();
    assert!(left.await.unwrap_err().is_cancelled());
    for number in 20_000..20_050 {
        let one = cache.facts(&stranger(number)).await.unwrap();
        assert_eq!(one.subject_id, None);
        let few: Vec<_> = (0..8).map(|n| stranger(30_000 + 8 * number + n)).collect();
        assert_eq!(cache.facts_of_many(&few).await.unwrap().len(), 8);
    }
    assert_eq!(gate.seen().len(), PLACES);
    gate.open();
    let entries = read.await.unwrap().unwrap();
    let partitions = entries.iter().map(|entry| entry.partition);
    assert!(partitions.eq(people.iter().map(|person| person.partition)));
    assert!(gate.seen().iter().all(|people| *people <= STATEMENT));
}

/// PostgreSQL alone can keep readers of one table waiting.
#[tokio::test]
async fn a_single_check_is_answered_while_more_batches_than_connections_wait_for_the_database() {
    let server = Arc::new(TestServer::start(Backend::Postgres).await);
    let ann = person(1);
    server.hears(&ann, "hello").await;
    let support = CheckConsentRequest {
        sender_id: "1001".into(),
        ..question(&ann, "support")
    };
    // In memory from here on; whether the window is open is read each time it is not.
    let closed = CheckConsentRequest {
        sender_id: "1002".into(),
        ..support.clone()
    };
    let open = server.try_check(support.clone()).await.unwrap();
    assert_eq!(open.decision(), Decision::Allow);
    let mut held = server.sql().await;
    held.run("BEGIN").await;
    held.run("LOCK TABLE subject IN ACCESS EXCLUSIVE MODE")
        .await;

    let batches: Vec<_> = (0..40).map(|number| cold_batch(&server, number)).collect();
    let mut watching = server.sql().await;
    eventually(PATIENCE, "batches wait for the table", async || {
        const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        (watching.number(WAITING).await >= 4).then_some(())
    })
    .await;
    for _ in 0..20 {
        let answer = server.try_check(closed.clone()).await.unwrap();
        assert_eq!(answer.decision(), Decision::Deny);
    }
    assert!(batches.iter().all(|batch| !batch.is_finished()));
    held.run("ROLLBACK").await;
    for batch in batches {
        assert_eq!(batch.await.unwrap().unwrap().results.len(), 100);
    }
}

fn cold_batch(
    server: &Arc<TestServer>,
    number: u32,
) -> tokio::task::JoinHandle<Result<BatchCheckConsentResponse, Status>> {
    let people: Vec<_> = (0..100).map(|n| person(1_000 + 100 * number + n)).collect();
    let request = BatchCheckConsentRequest {
        business_id: ACME.into(),
        ..batch(&people, "offers")
    };
    let mut client = server.client();
    tokio::spawn(async move { Ok(client.batch_check_consent(request).await?.into_inner()) })
}
