//! One run: a database, instances, callers and trouble for some time; then everything heals, and the history is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tonic_health::pb::health_check_response::ServingStatus;

use super::checker::{self, Violation, Worth};
use super::fleet::Fleet;
use super::history::{At, History, Subject};
use super::load::{Callers, Size};
use super::nemesis::{Line, Nemesis};
use crate::postgres::{Durability, Postgres};
use crate::process::Place;
use crate::process::gate::LIMIT;
use crate::process::people::{history as history_of, person};
use crate::wait::{eventually, pass};

/// What a run is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// How long callers call under faults.
    pub time: Duration,
    pub slots: usize,
    pub lease: Duration,
    pub size: Size,
    pub lines: Vec<Line>,
    /// What a weakened build is told to leave out.
    pub left_out: Option<&'static str>,
}

impl Plan {
    /// The usual one, of this length and a seed of its own unless the environment says otherwise.
    pub fn from_environment(time: Duration) -> Self {
        let seconds = setting("CONSENTGATE_FAULTS_SECONDS");
        let seed = setting("CONSENTGATE_FAULTS_SEED");
        let slots = setting("CONSENTGATE_FAULTS_INSTANCES");
        Self {
            seed: seed.unwrap_or_else(|| u64::from(std::process::id()) ^ moment()),
            time: seconds.map_or(time, Duration::from_secs),
            slots: slots.map_or(3, |slots| usize::try_from(slots).unwrap()),
            lease: Duration::from_millis(setting("CONSENTGATE_FAULTS_LEASE_MS").unwrap_or(1_000)),
            size: Size {
                writers: 10,
                askers: 16,
                hot: 3,
                people: 200,
                rest: Duration::from_millis(20),
            },
            lines: Line::ALL.to_vec(),
            left_out: None,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a long run, or the seed of a run that failed, is asked for by whoever starts the tests"
)]
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Something that is another one at the next run.
fn moment() -> u64 {
    use consentgate::clock::{Clock, SystemClock};
    SystemClock.now().as_micros().unsigned_abs()
}

/// A run that proves something has at least so much of everything.
const ENOUGH: Worth = Worth {
    checks: 2_000,
    decided: 1_000,
    allowed: 100,
    telling: 300,
    elsewhere: 0,
    grants: 50,
    withdrawals: 50,
    unknown: 0,
};

/// Runs, and fails if the promise was broken or the run proves nothing.
pub async fn run(plan: Plan) {
    let run = Run::start(plan).await;
    run.under_trouble(async {
        pass(run.plan.time).await;
        // A busy machine gets more time: too little proves nothing.
        for _ in 0..12 {
            if run.worth().is_at_least(&ENOUGH) {
                return;
            }
            pass(run.plan.time / 4).await;
        }
    })
    .await;
    run.finish().await;
}

/// Instances on a database of their own, and callers who call.
pub struct Run {
    pub plan: Plan,
    pub history: Arc<History>,
    server: Arc<Postgres>,
    fleet: Arc<Fleet>,
    callers: Callers,
}

impl Run {
    pub async fn start(plan: Plan) -> Self {
        say(&format!("seed {} for {:?}: {plan:?}", plan.seed, plan.time));
        let server = Postgres::own(Durability::Durable);
        let history = Arc::new(History::new());
        let fleet = fleet_on(&server, &plan, &history).await;
        let callers = Callers::start(&fleet, &history, plan.seed, plan.size);
        Self {
            plan,
            history,
            server: Arc::new(server),
            fleet,
            callers,
        }
    }

    /// Makes trouble while `time` goes by; everything is whole again afterwards.
    pub async fn under_trouble(&self, time: impl Future<Output = ()>) {
        let _story = Story(&self.history);
        let nemesis = Nemesis {
            fleet: Arc::clone(&self.fleet),
            server: Arc::clone(&self.server),
            history: Arc::clone(&self.history),
            lease: self.plan.lease,
            seed: self.plan.seed,
            lines: self.plan.lines.clone(),
            is_over: AtomicBool::new(false),
        };
        tokio::join!(nemesis.run(), async {
            time.await;
            nemesis.end();
        });
    }

    /// What has been seen so far is worth so much.
    pub fn worth(&self) -> Worth {
        checker::judge(&self.history.checks(), &self.history.writes()).worth
    }

    /// Ends it without a look at what is left.
    #[cfg(feature = "weakened")]
    pub async fn abandon(self) {
        self.callers.end().await;
    }

    /// Ends it all and judges.
    async fn finish(self) {
        let history = &self.history;
        let _story = Story(history);
        all_serve(&self.fleet, history).await;
        // Some calls more with everything whole.
        pass(self.plan.lease).await;
        self.callers.end().await;
        let events = events(&self.fleet, history).await;
        end_all(&self.fleet).await;
        self.fleet.place.replay().await;
        judge(&self.plan, history, &events, &ENOUGH);
    }
}

/// Instances in every slot, on a database of this server.
pub async fn fleet_on(server: &Postgres, plan: &Plan, history: &Arc<History>) -> Arc<Fleet> {
    let place = Place::migrated_on(server).await;
    let _story = Story(history);
    let fleet = Fleet::new(place, plan.slots, &arguments(plan), plan.left_out, history).await;
    for slot in fleet.slots() {
        fleet.start(slot, &[]).await;
    }
    Arc::new(fleet)
}

/// Ends every instance as an operator does.
pub async fn end_all(fleet: &Fleet) {
    for slot in fleet.slots() {
        if let Some(gate) = fleet.take(slot).await {
            gate.stop().await;
        }
    }
}

fn arguments(plan: &Plan) -> Vec<String> {
    let lease = format!("--lease={}ms", plan.lease.as_millis());
    [
        &lease,
        "--database-acquire-timeout=1s",
        "--statement-timeout=2s",
        "--shutdown-grace=2s",
        "--cache-size=1MiB",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Tells what was done, if the test fails in any other way than by what the checker finds.
pub struct Story<'a>(pub &'a History);

impl Drop for Story<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let deeds = self.0.deeds();
        for (when, deed) in &deeds[deeds.len().saturating_sub(60)..] {
            say(&format!("{when} {deed}"));
        }
        say(&format!("{} the end", self.0.now()));
    }
}

/// Waits until every instance serves again.
pub async fn all_serve(fleet: &Fleet, history: &History) {
    history.did("everything is whole".into());
    for slot in fleet.slots() {
        fleet.until(slot, ServingStatus::Serving, LIMIT).await;
    }
    history.did("every instance serves".into());
}

/// What the ledger has of everybody who was written about.
pub async fn events(fleet: &Fleet, history: &History) -> BTreeMap<Subject, BTreeSet<String>> {
    let mut events: BTreeMap<Subject, BTreeSet<String>> = BTreeMap::new();
    let slots: Vec<_> = fleet.slots().collect();
    for write in history.writes() {
        if events.contains_key(&write.subject) {
            continue;
        }
        let slot = slots[events.len() % slots.len()];
        let asked = async || {
            let mut client = fleet.client(slot)?;
            let answer = client
                .list_consent_events(history_of(&person(write.subject)))
                .await;
            answer.ok()
        };
        let answer = eventually(LIMIT, "the ledger is read", asked)
            .await
            .into_inner();
        assert_eq!(answer.next_page_token, "", "more events than a page has");
        let of = answer.events.into_iter().map(|event| event.event_id);
        events.insert(write.subject, of.collect());
    }
    events
}

/// Fails if the promise was broken, or if the run proves nothing.
pub fn judge(
    plan: &Plan,
    history: &History,
    events: &BTreeMap<Subject, BTreeSet<String>>,
    enough: &Worth,
) {
    let (checks, writes) = (history.checks(), history.writes());
    let judgement = checker::judge(&checks, &writes);
    let mut violations = judgement.violations;
    violations.extend(checker::lost(&writes, events));
    say(&format!("seed {}: {}", plan.seed, judgement.worth));
    if let Some(first) = violations.first() {
        let mut story = checker::summary(&violations);
        write!(story, "\nThe first: {first}\n").unwrap();
        story.push_str(&tell(history, first));
        panic!("seed {}: {story}", plan.seed);
    }
    assert!(
        judgement.worth.is_at_least(enough),
        "too little happened: {}",
        judgement.worth
    );
}

/// How much is told of a violation.
const LINES: usize = 60;

/// What happened around a violation.
fn tell(history: &History, violation: &Violation) -> String {
    let (subject, at) = match violation {
        Violation::Allowed { check, .. } => (check.subject, check.started),
        Violation::Lost { write } => (write.subject, write.started),
        Violation::Doubled { second, .. } => (second.subject, second.started),
    };
    let mut lines: Vec<(At, String)> = history.deeds();
    let checks = history
        .checks()
        .into_iter()
        .filter(|one| one.subject == subject);
    lines.extend(checks.map(|one| (one.started, format!("{one:?}"))));
    let writes = history
        .writes()
        .into_iter()
        .filter(|one| one.subject == subject);
    lines.extend(writes.map(|one| (one.started, one.to_string())));
    // What is nearest says most, and a log may keep the beginning alone.
    lines.sort_by_key(|(when, _)| when.0.abs_diff(at.0));
    lines.truncate(LINES);
    lines.sort_by_key(|(when, _)| *when);
    let lines = lines.iter().map(|(when, what)| format!("{when} {what}\n"));
    lines.collect()
}

#[expect(
    clippy::print_stderr,
    reason = "the seed and the figures of a run are what it is repeated and judged by"
)]
pub fn say(what: &str) {
    eprintln!("faults: {what}");
}
