//! A standby takes over while the old primary lives on with instances attached to it.
//!
//! With `synchronous_standby_names` nothing that was acknowledged is lost, and nobody is allowed by what the old primary
//! still says. Without, what was acknowledged can be lost: then every instance must notice, allow nothing and say so
//! until an operator accepts the history as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tonic_health::pb::health_check_response::ServingStatus;

use super::checker::{self, Worth};
use super::fleet::Fleet;
use super::history::{Act, At, Check, History, Slot, Subject};
use super::load::Callers;
use super::proxy::{Proxy, Share, redirect};
use super::run::{Plan, Story, all_serve, end_all, events, fleet_on, judge, say};
use crate::postgres::Postgres;
use crate::process::Place;
use crate::process::gate::{self, LIMIT};
use crate::wait::{eventually, pass};

/// A primary, its standby and the wire between them.
struct Pair {
    old: Postgres,
    new: Postgres,
    wire: Proxy,
}

impl Pair {
    async fn start() -> Self {
        let old = Postgres::primary();
        let wire = Proxy::to(old.address()).await;
        let by_way_of = wire.address();
        // The wire is carried by tasks of ours: they must go on meanwhile.
        let (old, new) = tokio::task::spawn_blocking(move || {
            let new = old.standby(by_way_of);
            (old, new)
        })
        .await
        .unwrap();
        Self { old, new, wire }
    }

    async fn until_followed(&self, how: &str) {
        eventually(LIMIT, "the standby follows", async || {
            self.old.is_followed(how).await.then_some(())
        })
        .await;
    }

    /// Nothing gets from the old primary to its standby any more.
    fn part(&self) {
        self.wire.refuse(true);
        self.wire.cut(Share::All, true);
    }
}

/// What a failover is at least worth. It takes as long as it takes, so this is less than a run under faults gives.
const ENOUGH: Worth = Worth {
    checks: 500,
    decided: 300,
    allowed: 50,
    telling: 30,
    elsewhere: 5,
    grants: 20,
    withdrawals: 20,
    unknown: 1,
};

/// A plan for as many instances as the run of this test has, with less going on.
fn plan() -> Plan {
    let plan = Plan::from_environment(Duration::from_secs(8));
    Plan {
        size: super::load::Size {
            people: 60,
            ..plan.size
        },
        ..plan
    }
}

/// How many acts of this kind were acknowledged since.
fn acknowledged_since(history: &History, act: Act, since: At) -> usize {
    let writes = history.writes();
    let is_one = |one: &&super::history::Write| {
        one.act == act && one.event.is_some() && one.started >= since
    };
    writes.iter().filter(is_one).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_synchronous_standby_that_takes_over_nobody_is_allowed_and_nothing_is_lost() {
    let plan = plan();
    say(&format!("failover, seed {}", plan.seed));
    let pair = Pair::start().await;
    pair.old.wait_for_standby().await;
    pair.until_followed("sync").await;
    let history = Arc::new(History::new());
    let _story = Story(&history);
    let fleet = fleet_on(&pair.old, &plan, &history).await;
    let callers = Callers::start(&fleet, &history, plan.seed, plan.size);
    pass(plan.time / 2).await;

    history.did("parted: commits on the old primary wait for a standby that is gone".into());
    pair.part();
    pass(plan.lease / 2).await;
    let given_up = pair.old.give_up_waiting().await;
    history.did(format!(
        "{given_up} waits given up: answered, and not replicated"
    ));
    pair.new.promote();
    let promoted = history.now();
    history.did("the standby is promoted".into());
    let mut go: Vec<Slot> = fleet.slots().collect();
    // Where there are several, the last one stays with the old primary.
    let stays = (go.len() > 1).then(|| go.pop()).flatten();
    tokio::join!(
        pair.go_over(&fleet, &go, &plan, &history),
        pair.keep_giving_up(&plan, &history),
    );
    if let Some(stays) = stays {
        let health = fleet.health(stays).await;
        assert_eq!(health, ServingStatus::NotServing, "{stays}");
        fleet.proxy(stays).lead_to(pair.new.address());
        fleet.proxy(stays).cut(Share::All, true);
    }
    all_serve(&fleet, &history).await;
    eventually(LIMIT, "withdrawals on the new primary", async || {
        (acknowledged_since(&history, Act::Withdrawal, promoted) >= 20).then_some(())
    })
    .await;
    callers.end().await;
    let events = events(&fleet, &history).await;
    end_all(&fleet).await;
    fleet.place.replay_at(&on(&pair.new, &fleet.place)).await;
    judge(&plan, &history, &events, &ENOUGH);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_acknowledged_commits_were_lost_nobody_is_allowed_until_an_operator_accepts_it() {
    let plan = plan();
    say(&format!("lost commits, seed {}", plan.seed));
    let pair = Pair::start().await;
    pair.until_followed("async").await;
    let history = Arc::new(History::new());
    let _story = Story(&history);
    let fleet = fleet_on(&pair.old, &plan, &history).await;
    let callers = Callers::start(&fleet, &history, plan.seed, plan.size);
    pass(plan.time / 4).await;

    pair.part();
    history.did("parted: what is acknowledged now is going to be lost".into());
    let parted = history.now();
    eventually(LIMIT, "some withdrawals are acknowledged", async || {
        (acknowledged_since(&history, Act::Withdrawal, parted) >= 5).then_some(())
    })
    .await;
    pair.old.stop_immediate();
    pair.new.promote();
    history.did("the standby is promoted".into());
    for slot in fleet.slots() {
        fleet.proxy(slot).lead_to(pair.new.address());
        fleet.proxy(slot).cut(Share::All, true);
    }
    for slot in fleet.slots() {
        let said = async || fleet.log(slot).await.contains(ADVICE).then_some(());
        eventually(LIMIT, "the instance says that commits are lost", said).await;
    }
    history.did("every instance has noticed".into());
    pass(plan.lease * 3).await;
    for slot in fleet.slots() {
        assert_eq!(
            fleet.health(slot).await,
            ServingStatus::NotServing,
            "{slot}"
        );
    }
    // One that knew nothing of it is told as well.
    fleet.take(0).await.unwrap().kill().await;
    // On a busy machine it may give up before it has read so much.
    let told = async || {
        let refused = fleet.try_start(0, &[]).await.unwrap_err();
        refused.log.contains(ADVICE).then_some(())
    };
    eventually(LIMIT, "a new instance is told", told).await;

    let accepted = history.now();
    let url = on(&pair.new, &fleet.place);
    let accept = fleet.place.maintain_at(&url, &["ledger", "accept-history"]);
    let (ended, _) = gate::run(accept).await;
    assert_eq!(ended.code(), 0, "{ended}");
    history.did("an operator has accepted it".into());
    fleet.start(0, &[]).await;
    all_serve(&fleet, &history).await;
    pass(plan.time / 2).await;
    callers.end().await;
    let events = events(&fleet, &history).await;
    end_all(&fleet).await;
    fleet.place.replay_at(&url).await;
    judge_on_both_sides(&history, accepted, &events);
}

/// Until `accepted` the promise holds for all that was acknowledged, and from then on for what is acknowledged since.
fn judge_on_both_sides(
    history: &History,
    accepted: At,
    events: &BTreeMap<Subject, BTreeSet<String>>,
) {
    let (checks, writes) = (history.checks(), history.writes());
    let (before, after): (Vec<Check>, Vec<Check>) =
        checks.iter().partition(|check| check.ended < accepted);
    let since: Vec<_> = writes
        .iter()
        .filter(|one| one.started > accepted)
        .cloned()
        .collect();
    let mut violations = checker::judge(&before, &writes).violations;
    let afterwards = checker::judge(&after, &since);
    violations.extend(afterwards.violations);
    violations.extend(checker::lost(&since, events));
    assert!(
        violations.is_empty(),
        "{}: {}",
        violations.len(),
        violations[0]
    );
    let lost = checker::lost(&writes, events).len();
    say(&format!(
        "{lost} acknowledged events were lost; afterwards: {}",
        afterwards.worth
    ));
    assert!(
        lost >= 5,
        "nothing was lost, so there was nothing to notice"
    );
    let worth = afterwards.worth;
    assert!(worth.allowed > 0 && worth.withdrawals > 0, "{worth}");
}

/// What an operator is told to do about lost commits.
const ADVICE: &str = "consentgate ledger accept-history";

impl Pair {
    /// Leads some instances to the new primary. For a while each has connections to both.
    async fn go_over(&self, fleet: &Fleet, go: &[Slot], plan: &Plan, history: &History) {
        for slot in go {
            fleet.proxy(*slot).lead_to(self.new.address());
            fleet.proxy(*slot).cut(Share::Half(plan.seed), true);
        }
        history.did(format!("{go:?} have some connections to the new primary"));
        pass(plan.lease / 2).await;
        for slot in go {
            fleet.proxy(*slot).cut(Share::All, false);
        }
        for slot in go {
            fleet.until(*slot, ServingStatus::Serving, LIMIT).await;
        }
        history.did(format!("{go:?} serve on the new primary"));
        pass(plan.time).await;
    }

    /// On the old primary commits are answered again and again, with nothing but a warning.
    async fn keep_giving_up(&self, plan: &Plan, history: &History) {
        let span = u64::try_from((plan.time + plan.lease).as_nanos()).unwrap();
        let until = At(history.now().0 + span);
        while history.now() < until {
            self.old.give_up_waiting().await;
            pass(Duration::from_millis(70)).await;
        }
    }
}

/// The database of a place on another server.
fn on(server: &Postgres, place: &Place) -> String {
    redirect(place.url(), server.address())
}
