//! A gate that is killed in the middle of its work: what was acknowledged is there, nothing is there by half, and
//! whoever opted out is not written to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use consentgate::grpc::proto::{ConsentEvent, Decision, EventKind};
use tonic::{Code, Status};

use super::gate::{Client, Gate, LIMIT};
use super::people::{grant, now, opt_out, person, question};
use super::{Place, gate};
use crate::postgres::{Durability, Postgres};
use crate::wait::eventually;

const WRITERS: u32 = 6;
/// Acknowledged writes after which a gate is killed.
const ENOUGH: usize = 60;
/// Somebody whom all writers write to.
const BUSY: u32 = 0;
/// What every ledger holds before its first event: the policy and the catalogue.
const SYSTEM_EVENTS: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_a_killed_gate_on_sqlite() {
    let place = Place::sqlite();
    let mut story = Story::default();
    let mut gate = place.gate().await;
    for _ in 0..4 {
        story.write_and_kill(gate).await;
        gate = story.goes_on_in(&place).await;
    }
    story.is_whole(gate, &place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_a_killed_gate_and_a_crashed_database_on_postgresql() {
    let server = Postgres::own(Durability::Durable);
    let place = Place::migrated_on(&server).await;
    let mut story = Story::default();
    story.write_and_kill(place.gate().await).await;
    let gate = story.goes_on_in(&place).await;
    // A power cut for both.
    story.write_and_kill(gate).await;
    server.stop_immediate();
    server.start();
    let gate = story.goes_on_in(&place).await;
    // The gate outlives its database, and is killed before it can know what became of its writes.
    story.write(&gate, || server.stop_immediate()).await;
    gate.kill().await;
    server.start();
    let gate = story.goes_on_in(&place).await;
    story.is_whole(gate, &place).await;
}

/// The gate that follows one that was killed, once the database has noticed.
async fn next(place: &Place) -> Gate {
    let serves = async || Gate::try_start(place.serve(&[])).await.ok();
    eventually(LIMIT, "the next gate serves", serves).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Grant,
    OptOut,
}

/// One write that was begun.
#[derive(Debug, Clone)]
struct Call {
    round: u32,
    person: u32,
    act: Act,
    /// Its idempotency key, which its evidence names too.
    key: String,
    /// When the person acted: a repeat says so too.
    at: Option<prost_types::Timestamp>,
    /// The event, if it was acknowledged.
    event: Option<String>,
}

impl Call {
    async fn carry_out(&self, client: &mut Client) -> Result<String, Status> {
        let person = person(self.person);
        Ok(match self.act {
            Act::Grant => {
                let mut grant = grant(&person, &self.key);
                grant.event_time = self.at;
                let answer = client.record_consent(grant).await?;
                answer.into_inner().records[0].event_id.clone()
            }
            Act::OptOut => {
                let answer = client.withdraw(opt_out(&person, &self.key)).await?;
                answer.into_inner().event_id
            }
        })
    }

    /// As callers do: what was not acknowledged is repeated with the same key.
    async fn until_done(&self, client: &mut Client) -> String {
        eventually(LIMIT, "the call is acknowledged", async || {
            match self.carry_out(&mut client.clone()).await {
                Ok(event) => Some(event),
                Err(status) if status.code() == Code::Unavailable => None,
                Err(status) => panic!("{status}"),
            }
        })
        .await
    }

    fn made(&self, event: &ConsentEvent) -> bool {
        let evidence = event.evidence.as_ref();
        evidence.is_some_and(|evidence| evidence.statement == format!("said in {}", self.key))
    }

    fn kind(&self) -> EventKind {
        match self.act {
            Act::Grant => EventKind::Consent,
            Act::OptOut => EventKind::Withdrawal,
        }
    }
}

/// Everything that callers did, over all gates.
#[derive(Debug, Default)]
struct Story {
    calls: Vec<Call>,
    round: u32,
}

/// What writers and checkers of one round share.
#[derive(Debug, Default)]
struct Round {
    number: u32,
    acknowledged: AtomicUsize,
    is_over: AtomicBool,
    opted_out: Mutex<Vec<u32>>,
}

impl Story {
    async fn write_and_kill(&mut self, gate: Gate) {
        let pid = gate.pid();
        self.write(&gate, || gate::signal(pid, "KILL")).await;
        assert_eq!(gate.ended().await.signal(), Some(9));
    }

    /// Writes and checks from many sides, until `end` makes writes fail.
    async fn write(&mut self, gate: &Gate, end: impl FnOnce()) {
        self.round += 1;
        let number = self.round;
        let round = Arc::new(Round {
            number,
            ..Round::default()
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let first = (number * WRITERS + writer) * 10_000;
                tokio::spawn(write_until_the_end(
                    gate.client(),
                    first,
                    Arc::clone(&round),
                ))
            })
            .collect();
        let checker = tokio::spawn(check_until_the_end(gate.client(), Arc::clone(&round)));
        eventually(LIMIT, "enough is acknowledged", async || {
            (round.acknowledged.load(Ordering::SeqCst) >= ENOUGH).then_some(())
        })
        .await;
        round.is_over.store(true, Ordering::SeqCst);
        end();
        for writer in writers {
            self.calls.extend(writer.await.unwrap());
        }
        assert!(checker.await.unwrap() > 0, "nobody asked");
    }

    /// Finds in the next gate what was acknowledged by this one, and repeats what was not.
    async fn goes_on_in(&mut self, place: &Place) -> Gate {
        let replayed = place.replay().await;
        let gate = next(place).await;
        let (acknowledged, lost): (Vec<_>, Vec<_>) =
            self.calls.iter().partition(|call| call.event.is_some());
        let (known, sent) = (acknowledged.len(), self.calls.len());
        let events = usize::try_from(replayed - SYSTEM_EVENTS).unwrap();
        assert!(
            (known..=sent).contains(&events),
            "{known} <= {events} <= {sent}"
        );
        assert!(!lost.is_empty(), "it was killed at rest");

        // Before anything is repeated.
        for call in acknowledged.iter().filter(|call| call.act == Act::OptOut) {
            assert_eq!(
                gate.decision(&person(call.person)).await,
                Decision::Deny,
                "{call:?}"
            );
        }
        let round = self.round;
        let before = histories(&gate, self.calls.iter().filter(|call| call.round == round)).await;
        let mut client = gate.client();
        for call in self.calls.iter_mut().filter(|call| call.round == round) {
            let (person, event) = (call.person, call.event.clone());
            let made: Vec<_> = before[&person]
                .iter()
                .filter(|one| call.made(one))
                .collect();
            assert!(made.len() <= 1, "{made:?}");
            for one in &made {
                assert_eq!(one.kind(), call.kind());
            }
            let made = made.first().map(|one| one.event_id.clone());
            if event.is_some() {
                assert_eq!(made, event, "{call:?} is lost");
                continue;
            }
            let again = call.until_done(&mut client).await;
            assert!(
                made.is_none_or(|made| made == again),
                "{call:?} was done twice"
            );
            call.event = Some(again);
        }
        // Who repeats what was acknowledged gets the first answer.
        for call in self.calls.iter().rev().step_by(9) {
            assert_eq!(
                call.until_done(&mut client).await,
                *call.event.as_ref().unwrap()
            );
        }
        gate
    }

    /// Every call made one event, and these alone are there; and what they say is what is answered.
    async fn stands(&self, gate: &Gate) {
        let there = histories(gate, self.calls.iter()).await;
        let there: BTreeSet<String> = there
            .into_values()
            .flatten()
            .map(|event| event.event_id)
            .collect();
        let told: BTreeSet<String> = self
            .calls
            .iter()
            .filter_map(|call| call.event.clone())
            .collect();
        assert_eq!(there, told);
        assert_eq!(told.len(), self.calls.len());

        let mut standing = BTreeMap::new();
        for call in &self.calls {
            let withdrawn = standing.entry(call.person).or_insert(false);
            *withdrawn |= call.act == Act::OptOut;
        }
        for (number, withdrawn) in standing {
            let expected = if withdrawn {
                Decision::Deny
            } else {
                Decision::Allow
            };
            assert_eq!(gate.decision(&person(number)).await, expected, "{number}");
        }
    }

    async fn is_whole(&self, gate: Gate, place: &Place) {
        self.stands(&gate).await;
        gate.stop().await;
        let sent = u64::try_from(self.calls.len()).unwrap();
        assert_eq!(place.replay().await, sent + SYSTEM_EVENTS);
    }
}

async fn histories(
    gate: &Gate,
    calls: impl Iterator<Item = &Call>,
) -> BTreeMap<u32, Vec<ConsentEvent>> {
    let people: BTreeSet<u32> = calls.map(|call| call.person).collect();
    let mut histories = BTreeMap::new();
    for number in people {
        histories.insert(number, gate.events(&person(number)).await);
    }
    histories
}

/// People agree, and every second one opts out again; now and then the one whom everybody writes to agrees once more.
async fn write_until_the_end(mut client: Client, first: u32, round: Arc<Round>) -> Vec<Call> {
    let mut calls = Vec::new();
    for number in first + 1.. {
        let acts: &[(u32, Act)] = match number % 4 {
            0 => &[(number, Act::Grant), (BUSY, Act::Grant)],
            1 | 3 => &[(number, Act::Grant), (number, Act::OptOut)],
            _ => &[(number, Act::Grant)],
        };
        for (person, act) in acts {
            let key = format!("{number}-{person}-{act:?}");
            let (person, act, at) = (*person, *act, now());
            let mut call = Call {
                round: round.number,
                person,
                act,
                key,
                at,
                event: None,
            };
            match call.carry_out(&mut client).await {
                Ok(event) => call.event = Some(event),
                Err(status) => {
                    assert!(round.is_over.load(Ordering::SeqCst), "{status}");
                    calls.push(call);
                    return calls;
                }
            }
            if call.act == Act::OptOut {
                round.opted_out.lock().unwrap().push(call.person);
            }
            calls.push(call);
            round.acknowledged.fetch_add(1, Ordering::SeqCst);
        }
    }
    calls
}

/// Asks for those whose opt-out was acknowledged, the latest first; says how often.
async fn check_until_the_end(mut client: Client, round: Arc<Round>) -> u32 {
    let mut checks = 0;
    loop {
        let latest = round.opted_out.lock().unwrap().last().copied();
        let asked = question(&person(latest.unwrap_or(1)));
        match client.check_consent(asked).await {
            Ok(answer) => {
                let decision = answer.into_inner().decision();
                assert_eq!(decision, Decision::Deny, "{latest:?} opted out");
            }
            Err(status) => {
                assert!(round.is_over.load(Ordering::SeqCst), "{status}");
                return checks;
            }
        }
        checks += u32::from(latest.is_some());
    }
}
