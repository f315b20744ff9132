//! Random commands through gRPC against a naive model, on both databases.
//!
//! Every kind of write, with spelled variants, repeats, late and early times and linked addresses, goes to a server as
//! the binary starts it; after each one several people are asked about, and decision, reason and the end of a deferral
//! are compared with [`model`]. So conversion, the reading of messages, idempotency, the append, the caches and the
//! decision are under test together.
//!
//! A failure prints its seed and a case from which every command was taken that it does not need. Run that seed alone
//! with `CONSENTGATE_RANDOM_SEED=… CONSENTGATE_RANDOM_RUNS=1`.
//!
//! Left out: places with several time zones or with daylight saving time, clocks that are set back, changes of the
//! catalogue and the policy; they have tests of their own.

mod acts;
mod dice;
mod model;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use consentgate::grpc::proto::*;
use tokio::time::Instant;
use tonic::{Code, Status};

use self::acts::{ADDRESSES, Act, Address, BUSINESSES, Command, Give, Heard, Question, Told};
use self::dice::{Case, Dice};
use self::model::answer::{Asked, Expected, confirmable};
use self::model::law;
use self::model::purpose;
use self::model::time::{caller_said, moment};
use self::model::world::{Taken, World};
use self::wire::{Reply, Sent, recipient, request};
use crate::consents::acts::time;
use crate::harness::{Backend, TestServer};

const SEED: u64 = 1;

/// How many cases are run on each database, in how much time at most: a busy machine runs fewer.
const RUNS: u64 = 40;
const TIME: Duration = Duration::from_secs(28);

/// How many cases one server takes, each with people of its own and the clock where it was at first. A server counts
/// all failed deliveries, and too many are an alarm.
const CASES: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_sqlite_answers_as_the_rules_say() {
    println!("{}", answers_as_the_rules_say(Backend::Sqlite).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_postgresql_answers_as_the_rules_say() {
    println!("{}", answers_as_the_rules_say(Backend::Postgres).await);
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever looks for a failure sets them"
)]
fn given(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        Err(_) => otherwise,
    }
}

/// What was done.
async fn answers_as_the_rules_say(on: Backend) -> String {
    let (first, runs) = (
        given("CONSENTGATE_RANDOM_SEED", SEED),
        given("CONSENTGATE_RANDOM_RUNS", RUNS),
    );
    let begun = Instant::now();
    let mut seen = Seen::default();
    let mut done = 0;
    let mut server = server(on).await;
    while done < runs && (runs != RUNS || begun.elapsed() < TIME) {
        let seed = first + done;
        let slot = done % CASES;
        if slot == 0 && done > 0 {
            server = self::server(on).await;
        }
        let case = Case::of(Dice::of(seed).next());
        if let Err(wrong) = run(&case, &server, slot, &mut seen).await {
            if alone(&case, on).await.is_ok() {
                panic!(
                    "seed {seed} on {on:?}, and only after the cases before it: {wrong}\n{}",
                    told(&case)
                );
            }
            let (small, wrong) = shrunk(case, wrong, on).await;
            panic!("seed {seed} on {on:?}: {wrong}\n{}", told(&small));
        }
        done += 1;
    }
    if done == RUNS {
        seen.is_enough();
    }
    format!("{on:?}: {done} cases in {:?}; {seen:?}", begun.elapsed())
}

/// What came up, so that nobody mistakes cases in which nothing happens for proof.
#[derive(Debug, Default)]
struct Seen {
    taken: usize,
    refused: usize,
    repeated: usize,
    answers: usize,
    reasons: BTreeMap<&'static str, usize>,
}

impl Seen {
    fn is_enough(&self) {
        assert!(self.taken > 3 * self.refused, "{self:?}");
        assert!(self.repeated > 5, "{self:?}");
        for reason in [
            Reason::ConsentGiven,
            Reason::ConsentNotRequired,
            Reason::ServiceWindowOpen,
            Reason::ConsentRequestPermitted,
            Reason::OptOutConfirmationPermitted,
            Reason::NoConsent,
            Reason::ConfirmationPending,
            Reason::ConfirmationRequired,
            Reason::Withdrawn,
            Reason::Refused,
            Reason::Expired,
            Reason::Revoked,
            Reason::Invalidated,
            Reason::Suppressed,
            Reason::PlatformStopped,
            Reason::IdentityUnverified,
            Reason::PossibleRevocation,
            Reason::ServiceWindowClosed,
            Reason::SenderHeld,
            Reason::AskLimit,
            Reason::RegistryStale,
            Reason::QuietHours,
            Reason::FrequencyCap,
        ] {
            let word = reason.as_str_name();
            assert!(
                self.reasons.contains_key(word),
                "{word} never came up: {self:?}"
            );
        }
    }
}

/// Takes out every command without which the case still fails.
async fn shrunk(case: Case, wrong: String, on: Backend) -> (Case, String) {
    let (mut small, mut why) = (case, wrong);
    loop {
        let mut smaller = None;
        for index in (0..small.commands.len()).rev() {
            let less = small.without(index);
            if let Err(wrong) = alone(&less, on).await {
                smaller = Some((less, wrong));
                break;
            }
        }
        match smaller {
            Some(found) => (small, why) = found,
            None => return (small, why),
        }
    }
}

fn told(case: &Case) -> String {
    let mut text = format!("the case begins {:?} after the start:\n", case.begins);
    for command in &case.commands {
        let to = ADDRESSES[command.to].text;
        writeln!(
            text,
            "  {} of {to}: {command:?}",
            BUSINESSES[command.business]
        )
        .unwrap();
    }
    text
}

/// A server and what the model knows of it.
struct Play<'a> {
    server: &'a TestServer,
    slot: u64,
    case: &'a Case,
    seen: &'a mut Seen,
    taken: Vec<Taken>,
    /// What was sent, and what came of it.
    sent: BTreeMap<usize, (Command, i64, Sent, Reply)>,
    /// Idempotency keys of records that were taken, by business.
    keys: BTreeSet<(usize, usize)>,
    /// Who may confirm which opt-out.
    permits: BTreeMap<(usize, usize), &'static str>,
}

async fn server(on: Backend) -> TestServer {
    TestServer::with(on, |config| {
        let catalog = config.catalog.as_ref().expect("tests have a catalogue");
        std::fs::write(catalog, include_str!("catalog.toml")).unwrap();
        // The policy that is shipped.
        config.policy = None;
    })
    .await
}

/// Runs a case on a server of its own.
async fn alone(case: &Case, on: Backend) -> Result<(), String> {
    run(case, &server(on).await, 0, &mut Seen::default()).await
}

async fn run(case: &Case, server: &TestServer, slot: u64, seen: &mut Seen) -> Result<(), String> {
    let start = server.now();
    server.advance(case.begins);
    let done = play(case, server, slot, seen).await;
    server.manual().set(start);
    done
}

async fn play(case: &Case, server: &TestServer, slot: u64, seen: &mut Seen) -> Result<(), String> {
    let mut play = Play {
        server,
        slot,
        case,
        seen,
        taken: Vec::new(),
        sent: BTreeMap::new(),
        keys: BTreeSet::new(),
        permits: BTreeMap::new(),
    };
    for command in &case.commands {
        play.server.advance(command.wait);
        play.carry_out(command)
            .await
            .map_err(|wrong| format!("command {}: {wrong}", command.id))?;
        for question in case.questions(command.id) {
            let asked = play.ask(&question).await;
            asked.map_err(|wrong| format!("after command {}: {wrong}", command.id))?;
        }
    }
    Ok(())
}

impl Play<'_> {
    fn now(&self) -> i64 {
        self.server.now().as_micros()
    }

    fn world(&self, business: usize) -> World {
        World::of(&self.taken, business)
    }

    async fn carry_out(&mut self, command: &Command) -> Result<(), String> {
        match &command.act {
            Act::Repeat { of } => self.repeat(*of).await,
            Act::ConfirmOptOut {
                sender,
                purpose,
                request,
            } => {
                self.confirm_opt_out(command, sender, purpose, request)
                    .await
            }
            Act::Lift { made_by, .. } => {
                // It is lifted where it was made.
                let Some((made, ..)) = self.sent.get(made_by) else {
                    return Ok(());
                };
                let (business, to) = (made.business, made.to);
                self.send(&Command {
                    business,
                    to,
                    ..command.clone()
                })
                .await
            }
            _ => self.send(command).await,
        }
    }

    async fn send(&mut self, command: &Command) -> Result<(), String> {
        let now = self.now();
        let made = |id: usize| {
            let (_, _, _, reply) = self.sent.get(&id)?;
            Some(reply.event_id.clone()).filter(|event| !event.is_empty())
        };
        let Some(request) = request(command, self.slot, now, made) else {
            return Ok(());
        };
        let expected = self.expected(command, now);
        let answer = request.to(self.server).await;
        let reply = match (expected, answer) {
            (Code::Ok, Ok(reply)) => reply,
            (expected, Err(status)) if status.code() == expected => {
                self.seen.refused += 1;
                return Ok(());
            }
            (expected, answer) => return Err(surprise(expected, answer)),
        };
        if let (
            Act::Hear {
                what: Heard::Text("YES" | "START"),
                ..
            },
            Some(action),
        ) = (&command.act, reply.action)
        {
            let before = self.world(command.business).story(command.to).clone();
            let mut after = self.taken.clone();
            after.push(Taken {
                command: command.clone(),
                now,
            });
            let after = World::of(&after, command.business);
            let confirmed = |story: &model::story::Story| {
                let own = story.consents.iter();
                own.filter(|one| one.is_confirmed && one.via.is_none())
                    .count()
            };
            let expected = confirmed(after.story(command.to)) > confirmed(&before);
            if expected != (action == InboundAction::Confirmed) {
                return Err(format!(
                    "it was answered with {action:?}, confirmed: {expected}"
                ));
            }
        }
        self.seen.taken += 1;
        if let Act::Give(Give { key, .. }) = command.act {
            self.keys.insert((command.business, key));
        } else if matches!(request, Sent::Record(_)) {
            self.keys.insert((command.business, command.id));
        }
        self.taken.push(Taken {
            command: command.clone(),
            now,
        });
        self.sent
            .insert(command.id, (command.clone(), now, request, reply));
        Ok(())
    }

    /// Whether the contract has it refused, and how.
    fn expected(&self, command: &Command, now: i64) -> Code {
        let world = self.world(command.business);
        let to = &ADDRESSES[command.to];
        match &command.act {
            Act::Give(give) if self.keys.contains(&(command.business, give.key)) => {
                Code::AlreadyExists
            }
            Act::Give(give) if !is_good(give, to) => Code::InvalidArgument,
            Act::Confirm { purposes, sender } => {
                let asked_by = |asked: &'static str| sender.is_empty() || asked == *sender;
                let at = moment(command.told, now);
                match world.waiting(to, purposes, &asked_by, at, now).is_empty() {
                    true => Code::FailedPrecondition,
                    false => Code::Ok,
                }
            }
            Act::Lift { made_by, person } => {
                let story = world.story(command.to);
                let Some(bar) = story.bars.iter().find(|bar| bar.id == *made_by) else {
                    return Code::NotFound;
                };
                let by_person = matches!(
                    bar.basis,
                    SuppressionBasis::Objection | SuppressionBasis::Complaint
                );
                let when = caller_said(command.told, now);
                let may = bar.basis != SuppressionBasis::PlatformStop
                    && (*person || !by_person)
                    && when.is_after(bar.when);
                if may { Code::Ok } else { Code::InvalidArgument }
            }
            _ => Code::Ok,
        }
    }

    /// The same request again gets the same answer, and nothing comes of it but where nothing was recorded for it.
    async fn repeat(&mut self, of: usize) -> Result<(), String> {
        let now = self.now();
        let Some((command, then, request, first)) = self.sent.get(&of).cloned() else {
            return Ok(());
        };
        let is_inbound = matches!(request, Sent::Inbound(_));
        if is_inbound && command.told == Told::Ahead {
            // What lay ahead then does not any more: it says something else now.
            return Ok(());
        }
        let answer = request
            .to(self.server)
            .await
            .map_err(|status| status.to_string())?;
        self.seen.repeated += 1;
        let is_kept = match &command.act {
            Act::Withdraw { key, .. } => key.is_some(),
            // A link is remembered as the answer only where nothing else could have come of the message.
            Act::Hear { what, .. } if first.action == Some(InboundAction::Linked) => {
                matches!(what, Heard::Text("hello there" | "HELP") | Heard::Call)
            }
            _ => !is_inbound || !first.event_id.is_empty(),
        };
        if !is_kept {
            let told = match command.told {
                Told::Unset if !is_inbound => Told::Unset,
                told => Told::At(moment(told, then)),
            };
            self.taken.push(Taken {
                command: Command { told, ..command },
                now,
            });
            return Ok(());
        }
        match answer == first {
            true => Ok(()),
            false => Err(format!(
                "repeating {of} answered {answer:?} after {first:?}"
            )),
        }
    }

    async fn confirm_opt_out(
        &mut self,
        command: &Command,
        sender: &'static str,
        purpose: &'static str,
        request_id: &'static str,
    ) -> Result<(), String> {
        let asked = Asked {
            to: &ADDRESSES[command.to],
            purpose,
            class: MessageClass::OptOutConfirmation,
            sender,
            at: self.now(),
        };
        let world = self.world(command.business);
        let mut expected = world.answer(&asked);
        if expected.decision == Decision::Allow {
            let stop = confirmable(&world, &asked).expect("what is confirmed is known");
            let permit = self.permits.entry((command.business, stop));
            if *permit.or_insert(request_id) != request_id {
                expected.decision = Decision::Deny;
                expected.reasons = vec![Reason::Withdrawn];
            }
        }
        let request = CheckConsentRequest {
            business_id: BUSINESSES[command.business].into(),
            recipient: Some(recipient(command.to, self.slot, false)),
            purpose: purpose.into(),
            message_class: MessageClass::OptOutConfirmation.into(),
            sender_id: sender.into(),
            request_id: request_id.into(),
            ..CheckConsentRequest::default()
        };
        let answer = self
            .server
            .try_check(request)
            .await
            .map_err(|status| status.to_string())?;
        let reasons: Vec<Reason> = answer.reasons().collect();
        self.compare(
            &asked,
            &expected,
            answer.decision(),
            &reasons,
            answer.not_before,
        )
    }

    /// Asks about everybody at once, and about one of them alone.
    async fn ask(&mut self, question: &Question) -> Result<(), String> {
        let at = self.now();
        let world = self.world(question.business);
        let class = question.class.map_or(0, i32::from);
        let as_wa_id = at % 2 == 0;
        let batch = BatchCheckConsentRequest {
            business_id: BUSINESSES[question.business].into(),
            purpose: question.purpose.into(),
            message_class: class,
            sender_id: question.sender.into(),
            recipients: self
                .case
                .cast
                .iter()
                .map(|one| recipient(*one, self.slot, as_wa_id))
                .collect(),
            ..BatchCheckConsentRequest::default()
        };
        let alone = CheckConsentRequest {
            business_id: batch.business_id.clone(),
            recipient: batch.recipients.first().cloned(),
            purpose: batch.purpose.clone(),
            message_class: class,
            sender_id: batch.sender_id.clone(),
            ..CheckConsentRequest::default()
        };
        let answer = self
            .server
            .try_batch(batch)
            .await
            .map_err(|status| status.to_string())?;
        for (one, result) in self.case.cast.iter().zip(&answer.results) {
            let asked = Asked {
                to: &ADDRESSES[*one],
                purpose: question.purpose,
                class: purpose::class_of(question.purpose, question.class),
                sender: purpose::sender(question.sender),
                at,
            };
            let expected = world.answer(&asked);
            let reasons: Vec<Reason> = result.reasons().collect();
            self.compare(
                &asked,
                &expected,
                result.decision(),
                &reasons,
                result.not_before,
            )?;
        }
        let alone = self
            .server
            .try_check(alone)
            .await
            .map_err(|status| status.to_string())?;
        let first = &answer.results[0];
        let same = (alone.decision(), &alone.reasons, alone.not_before)
            == (first.decision(), &first.reasons, first.not_before);
        match same {
            true => Ok(()),
            false => Err(format!("asked alone: {alone:?}, with others: {first:?}")),
        }
    }

    fn compare(
        &mut self,
        asked: &Asked<'_>,
        expected: &Expected,
        decision: Decision,
        reasons: &[Reason],
        not_before: Option<prost_types::Timestamp>,
    ) -> Result<(), String> {
        self.seen.answers += 1;
        *self
            .seen
            .reasons
            .entry(reasons[0].as_str_name())
            .or_default() += 1;
        let not_before = not_before.map(|at| time(Some(at)).as_micros());
        let right = expected.decision == decision
            && expected.reasons.contains(&reasons[0])
            && expected.not_before == not_before;
        match right {
            true => Ok(()),
            false => Err(format!(
                "{asked:?}\n  is answered {decision:?} {reasons:?} {not_before:?}\n  and not {expected:?}"
            )),
        }
    }
}

fn surprise(expected: Code, answer: Result<Reply, Status>) -> String {
    match answer {
        Ok(reply) => format!("it was taken ({reply:?}) and not refused with {expected:?}"),
        Err(status) => format!("it was refused with {status} where {expected:?} was right"),
    }
}

/// Whether purpose and place let such a consent count at all.
fn is_good(give: &Give, to: &Address) -> bool {
    let law = law::of(match give.lives_in {
        "" => to.country,
        stated => stated,
    });
    let firm_enough = give
        .purposes
        .iter()
        .all(|purpose| purpose::accepts(purpose, give.firm));
    let implied_there = give
        .implied
        .is_none_or(|(basis, _)| law.implied_days.iter().any(|(known, _)| *known == basis));
    firm_enough && implied_there && (give.whatsapp_named || !law.names_whatsapp)
}
