//! Keys are rotated while three instances serve, by a command that is killed again and again: whoever opted out is
//! never allowed, whoever consented is found all the time, and in the end nothing lies under the old key.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use consentgate::domain::address::Address;
use consentgate::domain::event::Event;
use consentgate::domain::facts::Facts;
use consentgate::domain::id::{BusinessId, EventId, SubjectId};
use consentgate::grpc::proto::consistency::Requirement;
use consentgate::grpc::proto::ledger_service_client::LedgerServiceClient;
use consentgate::grpc::proto::*;
use consentgate::keys::{BusinessKeys, Keyring, Place, SubjectKey};
use consentgate::ledger::postgres::Postgres;
use consentgate::ledger::rotation::Column;
use consentgate::ledger::{Append, Appended, Ledger, Offset, Part, Partition, SubjectRef, Version};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::{Code, Status};
use uuid::Uuid;

use super::gate::{self, Gate, LIMIT, Task};
use super::people::{grant, opt_out, person, question};
use super::{Place as Site, Raw};
use crate::ledger::LIMITS;
use crate::wait::{eventually, pass};

/// How many people there are before it begins; of ten, one is erased and two have opted out.
const PEOPLE: u32 = 300;
/// How often the rotation is killed.
const KILLED: u32 = 8;
/// Who comes later is numbered from here on.
const LATER: u32 = 1_000_000;
const WRITERS: u32 = 3;

#[expect(
    clippy::disallowed_methods,
    reason = "a larger run is asked for by whoever starts the tests"
)]
fn setting(name: &str) -> Option<u32> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// For whoever runs it by hand, with `--nocapture`.
#[expect(clippy::print_stderr, reason = "figures of a large run")]
fn say(line: &str) {
    eprintln!("{line}");
}

/// What a person did before it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Consents,
    OptedOut,
    Erased,
    /// Who opted out and was erased then: nobody has the number any more.
    OptedOutAndErased,
}

impl Fate {
    const fn of(number: u32) -> Self {
        match number % 20 {
            0 => Self::Erased,
            10 => Self::OptedOutAndErased,
            1 | 6 | 11 | 16 => Self::OptedOut,
            _ => Self::Consents,
        }
    }

    fn reason(self) -> Option<Reason> {
        match self {
            Self::Consents => None,
            Self::OptedOut | Self::OptedOutAndErased => Some(Reason::Withdrawn),
            Self::Erased => Some(Reason::NoConsent),
        }
    }
}

/// As callers do: what is not acknowledged is repeated with the same key.
async fn acknowledged<T, F>(call: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, Status>>,
{
    let give_up = Instant::now() + LIMIT;
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(status) if matches!(status.code(), Code::Unavailable | Code::Aborted) => {
                assert!(Instant::now() < give_up, "{status:?}");
                pass(Duration::from_millis(10)).await;
            }
            Err(status) => panic!("{status:?}"),
        }
    }
}

async fn agree(gate: &Gate, number: u32) {
    let request = grant(&person(number), &format!("in {number}"));
    let client = gate.client();
    acknowledged(|| {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.record_consent(request).await }
    })
    .await;
}

async fn leave(gate: &Gate, number: u32) {
    let request = opt_out(&person(number), &format!("out {number}"));
    let client = gate.client();
    acknowledged(|| {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.withdraw(request).await }
    })
    .await;
}

async fn erase(gate: &Gate, number: u32) {
    let request = EraseSubjectRequest {
        business_id: "acme".into(),
        recipient: Some(person(number)),
        basis: ErasureBasis::SubjectRequest.into(),
        idempotency_key: format!("erase {number}"),
        ..EraseSubjectRequest::default()
    };
    let client = LedgerServiceClient::new(gate.channel());
    acknowledged(|| {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.erase_subject(request).await }
    })
    .await;
}

/// Why somebody is not allowed; `None`: allowed. From the ledger itself, or from memory where that has it.
async fn refusal(gate: &Gate, number: u32, cold: bool) -> Option<Reason> {
    let mut asked = question(&person(number));
    asked.consistency = cold.then_some(Consistency {
        requirement: Some(Requirement::FullyConsistent(true)),
    });
    let client = gate.client();
    let answer = acknowledged(|| {
        let (mut client, asked) = (client.clone(), asked.clone());
        async move { client.check_consent(asked).await }
    });
    let answer = answer.await.into_inner();
    match answer.decision() {
        Decision::Allow => None,
        _ => Some(answer.reasons().next().unwrap()),
    }
}

async fn three(place: &Site) -> Vec<Arc<Gate>> {
    let mut gates = Vec::new();
    for hints in ["--hints=true", "--hints=false", "--hints=true"] {
        let gate = Gate::start(place.serve(&["--lease=1s", hints])).await;
        gates.push(Arc::new(gate));
    }
    gates
}

/// Does something with each of many people, sixteen at a time.
async fn each<F: Future<Output = ()> + Send + 'static>(
    people: u32,
    act: impl Fn(u32) -> F + Send + Sync + 'static,
) {
    let act = Arc::new(act);
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..16 {
        let (act, next) = (Arc::clone(&act), Arc::clone(&next));
        workers.spawn(async move {
            loop {
                let number = u32::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                if number >= people {
                    return;
                }
                act(number).await;
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done.unwrap();
    }
}

async fn settle_in(gates: &[Arc<Gate>], people: u32) {
    let gates = gates.to_vec();
    each(people, move |number| {
        let gate = Arc::clone(&gates[number as usize % gates.len()]);
        async move {
            agree(&gate, number).await;
            let fate = Fate::of(number);
            if matches!(fate, Fate::OptedOut | Fate::OptedOutAndErased) {
                leave(&gate, number).await;
            }
            if matches!(fate, Fate::Erased | Fate::OptedOutAndErased) {
                erase(&gate, number).await;
            }
        }
    })
    .await;
}

fn subject_of(keys: &BusinessKeys, number: u32) -> SubjectRef {
    let Some(recipient::Address::PhoneNumber(phone)) = person(number).address else {
        panic!("people have numbers here");
    };
    let (partition, SubjectKey(key)) = keys.subject(&Address::from_phone_number(&phone).unwrap());
    SubjectRef {
        business: BusinessId::parse("acme").unwrap(),
        partition: Partition(partition),
        key,
    }
}

/// Somebody with the acts of somebody else.
struct Double {
    subject: SubjectRef,
    events: Vec<Event>,
    /// Of all up to each.
    facts: Vec<Facts>,
    sealed: Option<[Vec<u8>; 2]>,
}

impl Double {
    fn of(number: u32, model: &[Event], keys: &BusinessKeys) -> Self {
        let id = SubjectId(Uuid::new_v4());
        let (mut events, mut facts) = (Vec::new(), Vec::new());
        for event in model {
            events.push(Event {
                event_id: EventId(Uuid::new_v4()),
                subject_id: id,
                payload_commitment: None,
                ..event.clone()
            });
            facts.push(Facts::fold(&events));
        }
        let seal = |column, row: &Uuid| {
            let row = row.as_bytes();
            keys.seal(Place { column, row }, b"evidence")
        };
        let erased = matches!(Fate::of(number), Fate::Erased | Fate::OptedOutAndErased);
        let sealed = (!erased).then(|| {
            [
                seal(Column::Address.name(), &id.0),
                seal(Column::Payload.name(), &events[0].event_id.0),
            ]
        });
        Self {
            subject: subject_of(keys, number),
            events,
            facts,
            sealed,
        }
    }

    fn act(&self, index: usize) -> Option<[Part<'_>; 1]> {
        let sealed = self.sealed.as_ref().filter(|_| index == 0);
        Some([Part {
            subject: &self.subject,
            expected: Version(i64::try_from(index).unwrap()),
            event: self.events.get(index)?,
            facts: &self.facts[index],
            payload: sealed.map(|[_, payload]| payload.as_slice()),
            address: sealed.map(|[address, _]| address.as_slice()),
            removal: None,
        }])
    }
}

/// More people than could be asked for one by one: each with the acts of somebody of the same fate.
async fn multiply(place: &Site, people: std::ops::Range<u32>) {
    let keyring = fs::read_to_string(place.path("gate.key")).unwrap();
    let keyring = Keyring::parse(&keyring).unwrap();
    let keys = keyring.business_keys(&BusinessId::parse("acme").unwrap());
    let ledger = Postgres::open(place.url(), LIMITS).await.unwrap();
    let mut models = Vec::new();
    for number in 0..20 {
        let loaded = ledger.facts(&[subject_of(&keys, number)]).await.unwrap();
        let id = loaded[0].subject.as_ref().unwrap().subject_id;
        let history = ledger.history(id, Offset(0), 10).await.unwrap();
        let events = history.into_iter().map(|recorded| recorded.event);
        models.push(events.collect::<Vec<_>>());
    }
    let numbers: Vec<u32> = people.collect();
    for numbers in numbers.chunks(500) {
        let doubles = numbers.iter();
        let doubles =
            doubles.map(|number| Double::of(*number, &models[*number as usize % 20], &keys));
        let doubles: Vec<Double> = doubles.collect();
        for index in 0..3 {
            let parts: Vec<_> = doubles.iter().filter_map(|one| one.act(index)).collect();
            let appends: Vec<Append<'_>> = parts
                .iter()
                .map(|parts| Append {
                    parts,
                    key_id: 1,
                    idempotency: None,
                })
                .collect();
            for result in ledger.append_many(&appends).await {
                assert!(matches!(result, Ok(Appended::At(_))), "{result:?}");
            }
        }
    }
    ledger.close().await;
}

async fn all_are_as_they_were(gates: &[Arc<Gate>], people: u32) {
    let gates = gates.to_vec();
    // Of very many some, of every fate.
    let step = if people > 10_000 { 21 } else { 1 };
    each(people / step, move |number| {
        let number = number * step;
        let gate = Arc::clone(&gates[number as usize % gates.len()]);
        async move {
            let found = refusal(&gate, number, true).await;
            assert_eq!(found, Fate::of(number).reason(), "{number}");
        }
    })
    .await;
}

/// What goes on meanwhile.
struct Traffic {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<u64>,
}

impl Traffic {
    fn begin(gates: &[Arc<Gate>], people: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for task in 0..WRITERS {
            let (gates, stop) = (gates.to_vec(), Arc::clone(&stop));
            tasks.spawn(newcomers(gates, task, stop));
        }
        let (gates, stopped) = (gates.to_vec(), Arc::clone(&stop));
        tasks.spawn(residents(gates, people, stopped));
        Self { stop, tasks }
    }

    /// How many checks were made.
    async fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Release);
        let mut checks = 0;
        while let Some(done) = self.tasks.join_next().await {
            checks += done.unwrap();
        }
        checks
    }
}

/// People nobody knew come, consent through one instance and opt out through another at the same moment; once the
/// opt-out is acknowledged nobody may write to them.
async fn newcomers(gates: Vec<Arc<Gate>>, task: u32, stop: Arc<AtomicBool>) -> u64 {
    let mut checks = 0;
    for round in 0.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let number = LATER + round * WRITERS + task;
        let (first, second) = (round as usize % 3, (round as usize + 1) % 3);
        tokio::join!(agree(&gates[first], number), leave(&gates[second], number));
        for (index, gate) in gates.iter().enumerate() {
            let found = refusal(gate, number, index == first).await;
            assert_eq!(found, Some(Reason::Withdrawn), "{number}");
            checks += 1;
        }
    }
    checks
}

/// Those who were there before stay what they were; some of them opt out.
async fn residents(gates: Vec<Arc<Gate>>, people: u32, stop: Arc<AtomicBool>) -> u64 {
    let mut checks = 0;
    for round in 0.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let number = round % people;
        let gate = &gates[round as usize % gates.len()];
        let found = refusal(gate, number, true).await;
        assert_eq!(found, Fate::of(number).reason(), "{number}");
        checks += 1;
    }
    checks
}

async fn moved(sql: &mut Raw) -> i64 {
    sql.number("SELECT count(*) FROM subject WHERE key_id = 2")
        .await
}

/// Rotates, and is killed when some more have been moved; goes on from there.
async fn rotate_and_kill(place: &Site, times: u32, people: u32) {
    let mut sql = place.sql().await;
    for _ in 0..times {
        let before = moved(&mut sql).await;
        let mut task = Task::start(place.maintain(&["keys", "rotate", "--lease=1s"]));
        eventually(LIMIT, "some people are moved", async || {
            let enough = moved(&mut sql).await >= before + i64::from(people / times / 2);
            (enough || task.has_ended()).then_some(())
        })
        .await;
        task.kill().await;
    }
}

async fn nothing_lies_under_the_old_key(place: &Site) {
    let mut sql = place.sql().await;
    for wrong in [
        "subject WHERE key_id <> 2",
        "service_window WHERE key_id <> 2",
        "message_send WHERE key_id <> 2",
        "partition_head WHERE key_id <> 2 OR leaving <> 0",
        "subject_address WHERE substr(sealed, 1, 2) <> '\\x0002'",
        "event_payload WHERE substr(sealed, 1, 2) <> '\\x0002'",
    ] {
        let rows = sql.number(&format!("SELECT count(*) FROM {wrong}")).await;
        assert_eq!(rows, 0, "{wrong}");
    }
    // Nobody became two.
    let subjects = sql.number("SELECT count(*) FROM subject").await;
    let ids = sql
        .number("SELECT count(DISTINCT subject_id) FROM event")
        .await;
    assert_eq!(subjects, ids);
}

async fn add_a_key(place: &Site) {
    let line = [
        "keys",
        "add",
        "--key-file",
        "gate.key",
        "--out",
        "longer.key",
    ];
    let (ended, _) = gate::run(place.command(&line)).await;
    assert_eq!(ended.code(), 0, "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_killed_again_and_again_ends_with_everybody_as_they_were() {
    let people = setting("CONSENTGATE_ROTATION_PEOPLE").unwrap_or(PEOPLE);
    let place = Site::migrated().await;
    let mut gates = three(&place).await;
    settle_in(&gates, people.min(PEOPLE)).await;
    multiply(&place, people.min(PEOPLE)..people).await;
    add_a_key(&place).await;
    fs::copy(place.path("gate.key"), place.path("old.key")).unwrap();
    fs::rename(place.path("longer.key"), place.path("gate.key")).unwrap();

    // One after the other gets the longer keyring; until all have it nothing begins.
    let (refused, _) = gate::run(place.maintain(&["keys", "rotate", "--lease=1s"])).await;
    refused.refused_with(&["a keyring that ends with key 1", "Start each with it"]);
    for hints in ["--hints=true", "--hints=false", "--hints=true"] {
        let old = Arc::into_inner(gates.remove(0)).unwrap();
        old.stop().await;
        let gate = Gate::start(place.serve(&["--lease=1s", hints])).await;
        gates.push(Arc::new(gate));
    }

    let traffic = Traffic::begin(&gates, people);
    rotate_and_kill(&place, KILLED, people).await;
    let line = ["keys", "rotate", "--lease=1s", "--output", "json"];
    let begun = Instant::now();
    let (ended, out) = gate::run(place.maintain(&line)).await;
    assert_eq!(ended.code(), 0, "{ended}");
    say(&format!(
        "the last run took {:?}: {out}{}",
        begun.elapsed(),
        ended.log
    ));
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["key"], 2, "{told}");
    // It goes on for a while under the new key alone.
    let sql = &mut place.sql().await;
    let before = sql.number("SELECT count(*) FROM event").await;
    eventually(LIMIT, "more is recorded", async || {
        let now = sql.number("SELECT count(*) FROM event").await;
        (now > before + 20).then_some(())
    })
    .await;
    let checks = traffic.end().await;
    say(&format!("{checks} checks were made meanwhile"));
    assert!(checks > 100, "{checks}");

    nothing_lies_under_the_old_key(&place).await;
    all_are_as_they_were(&gates, people).await;
    for gate in gates {
        let log = Arc::into_inner(gate).unwrap().stop().await;
        assert!(log.contains("keys are being rotated"), "{log}");
    }
    place.replay().await;
    let (ended, out) = gate::run(place.maintain(&["keys", "rotate"])).await;
    assert_eq!(ended.code(), 0, "{ended}");
    assert!(out.contains("nothing was to be done"), "{out}");

    // From a cold start, and with the right keyring alone.
    let gate = Arc::new(place.gate().await);
    let events = gate.events(&person(2)).await;
    let evidence = events[0].evidence.as_ref().unwrap();
    assert_eq!(evidence.statement, "said in in 2");
    all_are_as_they_were(&[gate], people).await;
    let longer = fs::read_to_string(place.path("gate.key")).unwrap();
    fs::copy(place.path("old.key"), place.path("gate.key")).unwrap();
    let words = ["is kept under key 2", "ends with key 1"];
    Gate::refused(place.serve(&[])).await.refused_with(&words);
    let old = fs::read_to_string(place.path("old.key")).unwrap();
    let other = Keyring::parse(&old).unwrap().grown().unwrap();
    place.write("gate.key", &other.to_text());
    let words = ["key 2 of this keyring is not the key 2"];
    Gate::refused(place.serve(&[])).await.refused_with(&words);
    place.write("gate.key", &longer);
    place.gate().await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_a_sqlite_file_are_rotated_while_nobody_serves_and_killed_in_between() {
    let place = Site::sqlite();
    let gate = Arc::new(place.gate().await);
    settle_in(&[Arc::clone(&gate)], 100).await;
    let line = [
        "keys",
        "add",
        "--database",
        "sqlite:gate.db",
        "--out",
        "longer.key",
    ];
    let (ended, _) = gate::run(place.command(&line)).await;
    assert_eq!(ended.code(), 0, "{ended}");
    let (refused, _) = gate::run(place.maintain(&["keys", "rotate"])).await;
    refused.refused_with(&["another consentgate uses this database"]);
    Arc::into_inner(gate).unwrap().stop().await;
    fs::rename(place.path("longer.key"), place.path("gate.db.key")).unwrap();

    let mut sql = place.sql().await;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let before = moved(&mut sql).await;
        let mut task = Task::start(place.maintain(&["keys", "rotate"]));
        eventually(LIMIT, "some people are moved", async || {
            let enough = moved(&mut sql).await > before;
            (enough || task.has_ended()).then_some(())
        })
        .await;
        task.kill().await;
        seen.insert(moved(&mut sql).await);
        // Half under one key and half under the other, it serves.
        let gate = Arc::new(place.gate().await);
        all_are_as_they_were(&[Arc::clone(&gate)], 100).await;
        let number = LATER + u32::try_from(seen.len()).unwrap();
        agree(&gate, number).await;
        leave(&gate, number).await;
        Arc::into_inner(gate).unwrap().stop().await;
    }
    let (ended, _) = gate::run(place.maintain(&["keys", "rotate"])).await;
    assert_eq!(ended.code(), 0, "{ended}");
    let left = sql.number("SELECT count(*) FROM subject WHERE key_id <> 2");
    assert_eq!(left.await, 0);
    let left = "SELECT count(*) FROM event_payload WHERE substr(sealed, 1, 2) <> x'0002'";
    assert_eq!(sql.number(left).await, 0);
    place.replay().await;
    let gate = Arc::new(place.gate().await);
    all_are_as_they_were(&[gate], 100).await;
}
