//! Callers: each person has one writer, who grants and withdraws in turn; many ask about everybody, on any instance.
//!
//! A writer repeats an act on another instance, with the same idempotency key, when it does not hear of it, and may give
//! up. Once a withdrawal is acknowledged it asks every other instance at once. Who asks prefers the few whose record
//! changes all the time, and those whose record changed last: there a mistake would show.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use consentgate::clock::{Clock, SystemClock};
use consentgate::domain::time::Timestamp;
use consentgate::grpc::proto::consistency::Requirement;
use consentgate::grpc::proto::*;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::{Request, Status};

use super::dice::Dice;
use super::fleet::Fleet;
use super::history::{Act, Asked, Check, History, Slot, Subject, Told, Write};
use crate::process::gate::Client;
use crate::process::people::{grant, instant, opt_out, person, question};
use crate::wait::pass;

/// Who writes, and how many ask.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub writers: u32,
    pub askers: u32,
    /// People of each writer whose record changes all the time.
    pub hot: u32,
    /// People of each writer altogether.
    pub people: u32,
    /// How long an asker rests at most between two calls.
    pub rest: Duration,
}

/// What the callers of a run share.
#[derive(Debug)]
pub struct Load {
    pub fleet: Arc<Fleet>,
    pub history: Arc<History>,
    pub seed: u64,
    pub size: Size,
    is_over: AtomicBool,
    /// The people whose record changed last.
    latest: Vec<AtomicU32>,
    changes: AtomicUsize,
    /// What the latest acknowledged write of a person gave.
    tokens: Mutex<BTreeMap<Subject, String>>,
}

/// Running callers.
#[derive(Debug)]
pub struct Callers {
    load: Arc<Load>,
    tasks: JoinSet<()>,
}

impl Callers {
    /// Begins to call.
    pub fn start(fleet: &Arc<Fleet>, history: &Arc<History>, seed: u64, size: Size) -> Self {
        let load = Arc::new(Load {
            fleet: Arc::clone(fleet),
            history: Arc::clone(history),
            seed,
            size,
            is_over: AtomicBool::new(false),
            latest: (0..16).map(|_| AtomicU32::new(0)).collect(),
            changes: AtomicUsize::new(0),
            tokens: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for number in 0..size.writers {
            tasks.spawn(Writer::new(&load, number).write());
        }
        for number in 0..size.askers {
            let dice = Dice::of_task(seed, 1_000 + u64::from(number));
            tasks.spawn(ask(Arc::clone(&load), dice));
        }
        Self { load, tasks }
    }

    /// Ends all calls, and waits for those under way.
    pub async fn end(mut self) {
        self.load.is_over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(failed) = ended {
                std::panic::resume_unwind(failed.into_panic());
            }
        }
    }
}

impl Load {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn changed(&self, subject: Subject) {
        let place = self.changes.fetch_add(1, Ordering::Relaxed) % self.latest.len();
        self.latest[place].store(subject, Ordering::Relaxed);
    }

    fn token(&self, of: Subject) -> Option<String> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(&of).cloned()
    }

    fn keep_token(&self, of: Subject, token: String) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(of, token);
    }

    /// People are numbered so that writer and place in its list can be read from the number.
    fn subject(&self, writer: u32, place: u32) -> Subject {
        place * self.size.writers + writer
    }

    fn anybody(&self, dice: &mut Dice) -> Subject {
        let below = |dice: &mut Dice, end: u32| {
            u32::try_from(dice.below(usize::try_from(end).unwrap())).unwrap()
        };
        let writer = below(dice, self.size.writers);
        match dice.below(100) {
            0..40 => self.subject(writer, below(dice, self.size.hot)),
            40..75 => self.latest[dice.below(self.latest.len())].load(Ordering::Relaxed),
            _ => self.subject(writer, below(dice, self.size.people)),
        }
    }
}

/// The one who writes the record of some people.
struct Writer {
    load: Arc<Load>,
    number: u32,
    dice: Dice,
    /// How many acts of each person there were, and whether the last was a grant.
    people: Vec<(u32, bool)>,
    /// When the latest act happened.
    latest: Timestamp,
    /// Checks under way that followed a withdrawal at once.
    following: JoinSet<()>,
}

/// One act, as each attempt at it says it.
struct Deed {
    subject: Subject,
    act: Act,
    number: u32,
    key: String,
    at: Option<prost_types::Timestamp>,
}

impl Writer {
    fn new(load: &Arc<Load>, number: u32) -> Self {
        let people = usize::try_from(load.size.people).unwrap();
        Self {
            load: Arc::clone(load),
            number,
            dice: Dice::of_task(load.seed, u64::from(number)),
            people: vec![(0, false); people],
            latest: Timestamp::from_micros(0),
            following: JoinSet::new(),
        }
    }

    async fn write(mut self) {
        while !self.load.is_over() {
            let some = if self.dice.says(60) {
                self.load.size.hot
            } else {
                self.load.size.people
            };
            let place = self.dice.below(usize::try_from(some).unwrap());
            self.act_on(place).await;
            while self.following.len() > 8 {
                self.following.join_next().await;
            }
            pass(self.dice.span(Duration::ZERO, self.load.size.rest * 2)).await;
        }
        while self.following.join_next().await.is_some() {}
    }

    async fn act_on(&mut self, place: usize) {
        let (number, is_granted) = self.people[place];
        let withdraws = self.dice.says(if is_granted { 85 } else { 10 });
        self.people[place] = (number + 1, !withdraws);
        let subject = self
            .load
            .subject(self.number, u32::try_from(place).unwrap());
        let deed = Deed {
            subject,
            act: if withdraws {
                Act::Withdrawal
            } else {
                Act::Grant
            },
            number,
            key: format!("{subject} {number}"),
            at: self.later(),
        };
        self.load.changed(subject);
        let slots: Vec<Slot> = self.load.fleet.slots().collect();
        for _ in 0..4 {
            let slot = self.dice.pick(&slots);
            let patience = match self.dice.below(10) {
                // Shorter than a commit and its wait may take: the outcome stays unknown, and is asked for elsewhere.
                0 => Duration::from_millis(20),
                1..4 => Duration::from_millis(300),
                _ => Duration::from_secs(3),
            };
            let Some(client) = self.load.fleet.client(slot) else {
                pass(Duration::from_millis(1)).await;
                continue;
            };
            if self.attempt(&deed, slot, client, patience).await {
                self.follow(&deed, slot);
                return;
            }
            if self.load.is_over() {
                return;
            }
            pass(self.dice.span(Duration::ZERO, Duration::from_millis(100))).await;
        }
    }

    /// The time of the next act. The wall clock may be set back, and then the order of acts would be
    /// another one than the one in which they were sent.
    fn later(&mut self) -> Option<prost_types::Timestamp> {
        let now = SystemClock.now();
        if now <= self.latest {
            let latest = self.latest;
            let history = &self.load.history;
            history.did(format!(
                "the wall clock went back from {latest:?} to {now:?}"
            ));
        }
        self.latest = now.max(Timestamp::from_micros(self.latest.as_micros() + 1));
        Some(instant(self.latest))
    }

    /// Says whether it was acknowledged.
    async fn attempt(&self, deed: &Deed, slot: Slot, client: Client, patience: Duration) -> bool {
        let started = self.load.history.now();
        let answer = timeout(patience * 2, deed.carry_out(client, patience)).await;
        let ended = self.load.history.now();
        let (event, remark) = match answer {
            Ok(Ok(acknowledged)) => {
                self.load.keep_token(deed.subject, acknowledged.token);
                (Some(acknowledged.event), acknowledged.remark)
            }
            Ok(Err(error)) => (None, error.to_string()),
            Err(_) => (None, "no answer".into()),
        };
        let is_acknowledged = event.is_some();
        self.load.history.wrote(Write {
            subject: deed.subject,
            slot,
            act: deed.act,
            number: deed.number,
            started,
            ended,
            event,
            remark,
        });
        is_acknowledged
    }

    /// Asks elsewhere, at once.
    fn follow(&mut self, deed: &Deed, acknowledged_by: Slot) {
        for slot in self.load.fleet.slots() {
            if slot == acknowledged_by && self.dice.says(70) {
                continue;
            }
            let asking = self.load.inquiry(&mut self.dice, vec![deed.subject]);
            self.following
                .spawn(asking.ask(Arc::clone(&self.load), slot));
        }
    }
}

impl Deed {
    async fn carry_out(
        &self,
        mut client: Client,
        patience: Duration,
    ) -> Result<Acknowledged, Status> {
        let person = person(self.subject);
        Ok(match self.act {
            Act::Grant => {
                let mut grant = Request::new(grant(&person, &self.key));
                grant.get_mut().event_time = self.at;
                grant.set_timeout(patience);
                let answer = client.record_consent(grant).await?.into_inner();
                Acknowledged {
                    event: answer.records[0].event_id.clone(),
                    token: answer.consistency_token,
                    remark: String::new(),
                }
            }
            Act::Withdrawal => {
                let mut withdrawal = Request::new(opt_out(&person, &self.key));
                withdrawal.get_mut().event_time = self.at;
                withdrawal.set_timeout(patience);
                let answer = client.withdraw(withdrawal).await?.into_inner();
                let waited = answer.waited.unwrap_or_default();
                Acknowledged {
                    event: answer.event_id,
                    token: answer.consistency_token,
                    remark: format!(
                        "{} instances confirmed within {}.{:09} s",
                        answer.instances_confirmed, waited.seconds, waited.nanos
                    ),
                }
            }
        })
    }
}

/// What an answer said.
struct Acknowledged {
    event: String,
    token: String,
    remark: String,
}

async fn ask(load: Arc<Load>, mut dice: Dice) {
    let slots: Vec<Slot> = load.fleet.slots().collect();
    while !load.is_over() {
        let many = if dice.says(20) { 2 + dice.below(30) } else { 1 };
        let subjects = (0..many).map(|_| load.anybody(&mut dice)).collect();
        let inquiry = load.inquiry(&mut dice, subjects);
        inquiry.ask(Arc::clone(&load), dice.pick(&slots)).await;
        pass(dice.span(Duration::ZERO, load.size.rest)).await;
    }
}

/// A check of one person, or of many.
struct Inquiry {
    subjects: Vec<Subject>,
    asked: Asked,
    consistency: Option<Consistency>,
    patience: Duration,
}

impl Load {
    fn inquiry(&self, dice: &mut Dice, subjects: Vec<Subject>) -> Inquiry {
        let (asked, requirement) = match dice.below(10) {
            0 => (
                Asked::FullyConsistent,
                Some(Requirement::FullyConsistent(true)),
            ),
            1 | 2 => match self.token(subjects[0]) {
                Some(token) => (
                    Asked::AtLeastAsFresh,
                    Some(Requirement::AtLeastAsFresh(token)),
                ),
                None => (Asked::Strict, Some(Requirement::Strict(true))),
            },
            _ => (Asked::Strict, None),
        };
        Inquiry {
            subjects,
            asked,
            consistency: requirement.map(|requirement| Consistency {
                requirement: Some(requirement),
            }),
            // Some outwait every fault: an instance that was stopped answers them when it goes on.
            patience: Duration::from_secs(if dice.says(60) { 20 } else { 1 }),
        }
    }
}

impl Inquiry {
    async fn ask(self, load: Arc<Load>, slot: Slot) {
        let Some((client, _room)) = load.fleet.admit(slot) else {
            pass(Duration::from_millis(1)).await;
            return;
        };
        let started = load.history.now();
        let answers = timeout(self.patience * 2, self.answers(client)).await;
        let ended = load.history.now();
        let answers = match answers {
            Ok(Ok(answers)) => answers,
            Ok(Err(_)) => vec![Told::Error; self.subjects.len()],
            Err(_) => vec![Told::Nothing; self.subjects.len()],
        };
        assert_eq!(answers.len(), self.subjects.len());
        let asked = self.subjects.iter().zip(answers);
        load.history.checked(asked.map(|(subject, told)| Check {
            subject: *subject,
            slot,
            asked: self.asked,
            in_a_batch: self.subjects.len() > 1,
            started,
            ended,
            told,
        }));
    }

    async fn answers(&self, mut client: Client) -> Result<Vec<Told>, Status> {
        if let [subject] = self.subjects[..] {
            let mut asked = Request::new(CheckConsentRequest {
                consistency: self.consistency.clone(),
                ..question(&person(subject))
            });
            asked.set_timeout(self.patience);
            let answer = client.check_consent(asked).await?.into_inner();
            return Ok(vec![told(answer.decision())]);
        }
        let mut asked = Request::new(BatchCheckConsentRequest {
            business_id: "acme".into(),
            purpose: "offers".into(),
            consistency: self.consistency.clone(),
            recipients: self.subjects.iter().map(|one| person(*one)).collect(),
            ..BatchCheckConsentRequest::default()
        });
        asked.set_timeout(self.patience);
        let answer = client.batch_check_consent(asked).await?.into_inner();
        Ok(answer
            .results
            .iter()
            .map(|one| told(one.decision()))
            .collect())
    }
}

fn told(decision: Decision) -> Told {
    match decision {
        Decision::Allow => Told::Allow,
        Decision::Deny => Told::Deny,
        Decision::Defer => Told::Defer,
        Decision::Unspecified => Told::Error,
    }
}
