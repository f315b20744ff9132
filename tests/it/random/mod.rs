//! Random commands through gRPC against a naive model, on both databases.
//!
//! Every kind of write, with spelled variants, repeats, late and early times and linked addresses, goes to a server as
//! the binary starts it; after each one several people are asked about, and decision, reason and the end of a deferral
//! are compared with [`model`]. So conversion, the reading of messages, idempotency, the append, the caches and the
//! decision are under test together.
//!
//! Of an erasure it is compared what is on record before and after it, too; of a restart, and of each step of a rotation
//! of the keys, that nothing of it changes. Both databases are rotated in the midst of other commands: PostgreSQL beside
//! the server, SQLite, which one process has at a time, while it rests.
//!
//! A failure prints its seed and a case from which every command was taken that it does not need. Run that seed alone
//! with `CONSENTGATE_RANDOM_SEED=… CONSENTGATE_RANDOM_RUNS=1`.
//!
//! Left out: places with several time zones or with daylight saving time, clocks that are set back, changes of the
//! catalogue and the policy; they have tests of their own.

mod acts;
mod dice;
mod model;
mod play;
mod rotating;
mod views;
mod wire;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use consentgate::grpc::proto::Reason;
use tokio::time::Instant;

use self::acts::{ADDRESSES, BUSINESSES};
use self::dice::{Case, Dice};
use self::rotating::Keeper;
use crate::harness::Backend;

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
    let mut keeper = Keeper::start(on).await;
    while done < runs && (runs != RUNS || begun.elapsed() < TIME) {
        let seed = first + done;
        let slot = done % CASES;
        if slot == 0 && done > 0 {
            let before = std::mem::replace(&mut keeper, Keeper::start(on).await);
            before.finish().await.unwrap();
        }
        let case = Case::of(Dice::of(seed).next());
        if let Err(wrong) = play::run(&case, &mut keeper, slot, &mut seen).await {
            if alone(&case, on).await.is_ok() {
                panic!(
                    "seed {seed} on {on:?}, and not alone (other cases came before, and every server has keys of its \
                     own): {wrong}\n{}",
                    told(&case)
                );
            }
            let (small, wrong) = shrunk(case, wrong, on).await;
            panic!("seed {seed} on {on:?}: {wrong}\n{}", told(&small));
        }
        done += 1;
    }
    keeper.finish().await.unwrap();
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
    erased: usize,
    restarted: usize,
    rotated: usize,
    reasons: BTreeMap<&'static str, usize>,
}

impl Seen {
    fn is_enough(&self) {
        assert!(self.taken > 3 * self.refused, "{self:?}");
        assert!(self.repeated > 5, "{self:?}");
        assert!(self.erased > 5, "{self:?}");
        assert!(self.restarted > 1 && self.rotated > 3, "{self:?}");
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

/// Runs a case on a server of its own.
async fn alone(case: &Case, on: Backend) -> Result<(), String> {
    let mut keeper = Keeper::start(on).await;
    play::run(case, &mut keeper, 0, &mut Seen::default()).await?;
    keeper.finish().await
}
