//! The negative twins: the same runs on a build that leaves a step of the protocol out must be found out, each by the
//! checker, and the same build with every step must not be. Only with the feature `weakened`: `make twins`.

use std::time::Duration;

use super::checker::{self, Violation};
use super::nemesis::Line;
use super::run::{Plan, Run, say};
use crate::wait::eventually;

/// How long a gap may stay hidden. Usually it takes seconds.
const LIMIT: Duration = Duration::from_secs(180);

fn plan(left_out: &'static str, lines: &[Line]) -> Plan {
    Plan {
        lines: lines.to_vec(),
        left_out: Some(left_out),
        ..Plan::from_environment(Duration::from_secs(30))
    }
}

/// Runs until somebody is allowed who may not be.
async fn is_found_out(left_out: &'static str, lines: &[Line]) {
    let run = Run::start(plan(left_out, lines)).await;
    let found = async || {
        let judgement = checker::judge(&run.history.checks(), &run.history.writes());
        let allowed = |one: &Violation| matches!(one, Violation::Allowed { .. });
        judgement.violations.into_iter().find(allowed)
    };
    run.under_trouble(async {
        let violation = eventually(LIMIT, "somebody is allowed who may not be", found).await;
        let now = run.history.now();
        say(&format!("without `{left_out}`, after {now} s: {violation}"));
    })
    .await;
    run.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawal_that_does_not_wait_for_other_instances_is_found_out() {
    is_found_out("wait", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_ignores_its_lease_is_found_out() {
    is_found_out("lease", &[Line::Instances, Line::Wires]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_uses_whatever_it_loaded_is_found_out() {
    is_found_out("applied-on-load", &[Line::Wires]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_keeps_what_is_outdated_is_found_out() {
    is_found_out("dropping", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_takes_no_lock_while_rows_are_moved_makes_one_person_two() {
    // In this process, in which nothing else of these tests serves or writes.
    consentgate::weakened::leave_out(consentgate::weakened::Step::MovingLock);
    let (appended, rows) = crate::ledger::created_while_it_is_moved().await;
    let was_created = matches!(appended, consentgate::ledger::Appended::At(_));
    assert!(was_created && rows == 2, "{appended:?}, {rows}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_build_with_every_step_keeps_the_promise() {
    super::run::run(plan("nothing", &Line::ALL)).await;
}
