//! What only a PostgreSQL server can do: be shared, vanish and come back, and crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use consentgate::domain::activity::Wanted;
use consentgate::domain::event::Event;
use consentgate::domain::id::SenderId;
use consentgate::ledger::activity::{ActivityStore, Kind};
use consentgate::ledger::postgres::{self, Limits, Postgres, hints};
use consentgate::ledger::{Appended, Error, Ledger, Offset, Position, Rpc, Touch, replay};
use tokio::sync::Notify;
use uuid::Uuid;

use super::people::{Call, Draft, Person, at, minute, offer_together};
use super::store::{LIMITS, Raw};
use super::together::{act_on, offer};
use crate::postgres::{Durability, Postgres as Server, TestDatabase, database};
use crate::process::gate::signal;
use crate::wait::eventually;

/// Gives up soon, for servers that are not there.
const IMPATIENT: Limits = Limits {
    max_connections: 12,
    acquire_timeout: Duration::from_secs(2),
    statement_timeout: Duration::from_secs(20),
};

async fn migrated() -> TestDatabase {
    let database = database().await;
    postgres::migrate(database.url(), LIMITS).await.unwrap();
    database
}

#[tokio::test]
async fn an_act_on_one_subject_is_one_statement_and_on_several_one_transaction() {
    let database = migrated().await;
    let one_connection = Limits {
        max_connections: 1,
        ..LIMITS
    };
    let ledger = Postgres::open(database.url(), one_connection)
        .await
        .unwrap();
    let mut raw = Raw::postgres(database.url()).await;
    let mut last = async || {
        let sql = "SELECT query FROM pg_stat_activity WHERE application_name = 'consentgate'
                   AND datname = current_database()";
        raw.texts(sql).await[0][0].clone().unwrap()
    };

    let mut person = Person::new(1, 7);
    for _ in 0..2 {
        person.record(&ledger).await;
        // A transaction of several would have ended with COMMIT.
        let last = last().await;
        assert!(last.starts_with("WITH used AS"), "{last}");
    }
    let drafts = [person.next(), Person::new(2, 7).next()];
    let both = [&drafts[0], &drafts[1]];
    offer_together(&both, &ledger).await.unwrap();
    assert_eq!(last().await, "COMMIT");
}

/// Two acts that meet at a head which somebody holds: the first begins to wait for it, then the second, then it is free.
async fn meet_at_a_head(partition: u16, first: Vec<Draft>, second: Vec<Draft>) -> [Appended; 2] {
    let database = migrated().await;
    let ledger = Arc::new(Postgres::open(database.url(), LIMITS).await.unwrap());
    let mut holder = Raw::postgres(database.url()).await;
    holder.run("BEGIN").await;
    let head = format!("SELECT 1 FROM partition_head WHERE partition = {partition} FOR UPDATE");
    holder.run(&head).await;
    let mut raw = Raw::postgres(database.url()).await;
    let mut acts = Vec::new();
    for (count, act) in (1..).zip([first, second]) {
        let ledger = Arc::clone(&ledger);
        acts.push(tokio::spawn(
            async move { offer(&act, &*ledger).await.unwrap() },
        ));
        waiting(&mut raw, count).await;
    }
    holder.run("COMMIT").await;
    let second = acts.pop().unwrap();
    [acts.pop().unwrap().await.unwrap(), second.await.unwrap()]
}

#[tokio::test]
async fn an_act_locks_all_its_subjects_before_a_head() {
    let (low, high) = (Person::new(1, 7), Person::new(2, 7));
    let both = act_on(&[&low, &high]);
    let results = meet_at_a_head(7, both, act_on(&[&high])).await;
    let both_first = Appended::At(vec![at(7, 1), at(7, 2)]);
    assert_eq!(results, [both_first, Appended::VersionChanged]);
}

#[tokio::test]
async fn an_act_uses_its_key_after_it_has_locked_all_heads() {
    let call = Call::new(Rpc::Withdraw, 1);
    let (low, high) = (Person::new(1, 7), Person::new(2, 9));
    let mut acts = [act_on(&[&Person::new(3, 9)]), act_on(&[&low, &high])];
    for act in &mut acts {
        act[0].call = Some(call.clone());
    }
    let [one, both] = acts;
    let results = meet_at_a_head(9, one, both).await;
    let one_first = Appended::At(vec![at(9, 1)]);
    assert_eq!(results, [one_first, Appended::KeyUsed]);
}

#[tokio::test]
async fn a_window_that_is_renewed_while_it_is_forgotten_stays() {
    let database = migrated().await;
    let ledger = Arc::new(Postgres::open(database.url(), LIMITS).await.unwrap());
    let (subject, shop) = (
        [Person::new(1, 7).subject],
        SenderId::parse("shop").unwrap(),
    );
    ledger
        .note_inbound(&subject, &shop, minute(1))
        .await
        .unwrap();
    let mut renewing = Raw::postgres(database.url()).await;
    renewing.run("BEGIN").await;
    let renew = format!(
        "UPDATE service_window SET last_inbound = {}",
        minute(9).as_micros()
    );
    renewing.run(&renew).await;
    let forgetting = Arc::clone(&ledger);
    let forgetting = tokio::spawn(async move {
        let forgotten = forgetting.forget_activity(Kind::Windows, minute(5), 10);
        forgotten.await.unwrap()
    });
    let mut raw = Raw::postgres(database.url()).await;
    waiting(&mut raw, 1).await;
    renewing.run("COMMIT").await;

    assert_eq!(forgetting.await.unwrap(), 0);
    let wanted = Wanted {
        window_of: Some(&shop),
        sends_since: None,
    };
    let found = ledger.activity(&subject, wanted).await.unwrap();
    assert_eq!(found[0].last_inbound, Some(minute(9)));
}

/// Waits until so many statements wait for a row of this database.
async fn waiting(raw: &mut Raw, count: i64) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
               AND datname = current_database()";
    eventually(Duration::from_secs(10), "they wait", async || {
        (raw.number(sql).await == count).then_some(())
    })
    .await;
}

/// One test of three promises, since a server that crashes durably takes seconds to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crashed_server_is_unavailable_has_lost_nothing_acknowledged_and_is_used_again() {
    let server = Arc::new(Server::own(Durability::Durable));
    let database = server.database().await;
    postgres::migrate(database.url(), LIMITS).await.unwrap();
    let ledger = Arc::new(Postgres::open(database.url(), IMPATIENT).await.unwrap());
    let acknowledged = append_until_crashed(&server, &ledger).await;

    is_unavailable(&*ledger).await;

    server.start();
    let ledger = &*ledger;
    eventually(Duration::from_secs(30), "the ledger answers", async || {
        ledger.ping().await.ok()
    })
    .await;
    for (position, event) in &acknowledged {
        let after = Offset(position.offset.0 - 1);
        let there = ledger.history(event.subject_id, after, 1).await.unwrap();
        assert_eq!((there[0].position, &there[0].event), (*position, event));
        assert!(there[0].payload.is_some());
    }
    let report = replay::check(ledger).await.unwrap();
    assert_eq!(report.differences, []);
    // Besides what was acknowledged there may be what each writer did not hear of any more.
    let told = u64::try_from(acknowledged.len()).unwrap();
    assert!(
        (told..=told + WRITERS).contains(&report.events),
        "{told} {report:?}"
    );
    let mut person = Person::new(200, 64);
    for offset in 1..=10 {
        assert_eq!(person.record(ledger).await, at(64, offset));
    }
}

const WRITERS: u64 = 8;

/// Crashes the server while many write to it; says what was acknowledged.
async fn append_until_crashed(
    server: &Arc<Server>,
    ledger: &Arc<Postgres>,
) -> Vec<(Position, Event)> {
    let count = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let (ledger, count) = (Arc::clone(ledger), Arc::clone(&count));
            let person = u8::try_from(number).unwrap();
            tokio::spawn(async move { append_until_lost(person, &*ledger, &count).await })
        })
        .collect();
    eventually(Duration::from_secs(30), "200 events", async || {
        (count.load(Ordering::SeqCst) >= 200).then_some(())
    })
    .await;
    let crashing = Arc::clone(server);
    let crashed = tokio::task::spawn_blocking(move || crashing.stop_immediate());
    crashed.await.unwrap();
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    acknowledged
}

async fn is_unavailable(ledger: &dyn Ledger) {
    let person = Person::new(100, 7);
    let business = &person.subject.business;
    let (next, key) = (person.next(), [0; 16]);
    let results = tokio::join!(
        ledger.ping(),
        async { person.load(ledger).await.map(drop) },
        async { next.offer(ledger).await.map(drop) },
        async { ledger.history(person.id, Offset(0), 1).await.map(drop) },
        async {
            ledger
                .append_system(Offset(0), minute(0), "{}")
                .await
                .map(drop)
        },
        async {
            ledger
                .answer(business, Rpc::Withdraw, &key, Touch::Yes)
                .await
                .map(drop)
        },
        async {
            ledger
                .answer(business, Rpc::Withdraw, &key, Touch::No)
                .await
                .map(drop)
        },
        async { ledger.heads().await.map(drop) },
    );
    for result in <[_; 8]>::from(results) {
        assert!(matches!(result, Err(Error::Unavailable(_))), "{result:?}");
    }
}

/// Appends until the ledger is gone; what was acknowledged.
async fn append_until_lost(
    number: u8,
    ledger: &dyn Ledger,
    count: &AtomicUsize,
) -> Vec<(Position, Event)> {
    // Two of them in each partition.
    let mut person = Person::new(number, 1 + u16::from(number) / 2);
    let mut acknowledged = Vec::new();
    loop {
        let draft = person.next().with_payload(b"sealed");
        match draft.offer(ledger).await {
            Ok(Appended::At(positions)) => {
                count.fetch_add(1, Ordering::SeqCst);
                acknowledged.push((positions[0], draft.event.clone()));
                person.events.push(draft.event);
            }
            Ok(lost) => panic!("{lost:?}"),
            Err(Error::Unavailable(_)) => return acknowledged,
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_are_heard_by_all_but_who_gives_them() {
    let database = migrated().await;
    let url = || database.url().to_owned().into();
    let [one, two] = [Uuid::new_v4(), Uuid::new_v4()];
    let given = [(); 2].map(|()| Arc::new(Notify::new()));
    let heard = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let said = [(); 2].map(|()| AtomicUsize::new(0));
    for ((own, given), count) in [one, two].into_iter().zip(&given).zip(&heard) {
        let notice = Arc::new(Notify::new());
        tokio::spawn(hints::speak(url(), Arc::clone(given), own));
        tokio::spawn(hints::listen(url(), Arc::clone(&notice), own));
        let count = Arc::clone(count);
        tokio::spawn(async move {
            loop {
                notice.notified().await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let times_heard = |of: usize| heard[of].load(Ordering::Relaxed);
    let hears = async |from: usize, to: usize| {
        let before = times_heard(to);
        let says = "a hint is heard";
        eventually(Duration::from_secs(30), says, async || {
            // One is lost while somebody is not listening yet.
            said[from].fetch_add(1, Ordering::Relaxed);
            given[from].notify_one();
            (times_heard(to) > before).then_some(())
        })
        .await;
    };
    // The first one listens, and so it would hear itself.
    hears(1, 0).await;
    for _ in 0..8 {
        hears(0, 1).await;
    }
    hears(1, 0).await;
    let (heard, said) = (times_heard(0), said[1].load(Ordering::Relaxed));
    assert!(heard <= said, "{heard} of {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_that_falls_silent_with_the_acts_of_many_does_not_keep_the_next_ones_waiting()
{
    let database = migrated().await;
    let limits = Limits {
        statement_timeout: Duration::from_secs(5),
        ..LIMITS
    };
    let ledger = Arc::new(Postgres::open(database.url(), limits).await.unwrap());
    let offered = |person: Person| {
        let ledger = Arc::clone(&ledger);
        Box::pin(async move { person.next().offer(&*ledger).await })
    };
    let head = "SELECT 1 FROM partition_head WHERE partition = 7 FOR UPDATE";
    let mut raw = Raw::postgres(database.url()).await;
    let mut holder = Raw::postgres(database.url()).await;
    holder.run("BEGIN").await;
    holder.run(head).await;
    let alone = tokio::spawn(offered(Person::new(1, 7)));
    waiting(&mut raw, 1).await;
    // Takes the head between the first act and the others.
    let mut next_holder = Raw::postgres(database.url()).await;
    let next_holder = tokio::spawn(async move {
        next_holder.run("BEGIN").await;
        next_holder.run(head).await;
        next_holder
    });
    waiting(&mut raw, 2).await;
    let mut others = Vec::new();
    for number in 2..8 {
        let mut other = offered(Person::new(number, 7));
        // It waits for the first one's partition from here on.
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(other.as_mut().poll(context).is_ready())
        })
        .await;
        others.push(tokio::spawn(other));
    }
    holder.run("COMMIT").await;
    assert!(matches!(alone.await.unwrap(), Ok(Appended::At(_))));
    let mut holder = next_holder.await.unwrap();
    waiting(&mut raw, 1).await;
    let process = "SELECT pid::bigint FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                   AND datname = current_database()";
    let process = u32::try_from(raw.number(process).await).unwrap();
    signal(process, "STOP");
    holder.run("ROLLBACK").await;

    let later = tokio::time::timeout(Duration::from_secs(30), offered(Person::new(9, 9))).await;
    signal(process, "CONT");
    assert!(matches!(later, Ok(Ok(Appended::At(_)))), "{later:?}");
    for other in others {
        let other = other.await.unwrap();
        assert!(matches!(other, Err(Error::Unavailable(_))), "{other:?}");
    }
}
