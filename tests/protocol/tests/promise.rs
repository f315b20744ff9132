//! The protocol as it is: no setup breaks the promise, and each reaches what would show that it is not safe by standing
//! still. `cargo run -p coherence --release --example large` explores larger ones.

#![allow(
    clippy::print_stdout,
    reason = "how large an exploration was, and the way to what it found"
)]

use coherence::explore::{Until, explore};
use coherence::setup::Setup;
use coherence::step::Mark;

const ALLOWED: [Mark; 2] = [Mark::AllowedFromMemory, Mark::AllowedFromLoad];
const RESTRICTED: [Mark; 2] = [Mark::RestrictedFromMemory, Mark::RestrictedFromLoad];

/// Explores it completely.
fn keeps_the_promise(setup: &Setup, reached: &[&[Mark]]) {
    let explored = explore(setup, Until::Violation);
    println!(
        "{}: {} states, {} steps deep",
        setup.name, explored.states, explored.depth
    );
    assert!(
        explored.violation.is_none(),
        "{}:\n{}",
        setup.name,
        explored.trace()
    );
    for mark in reached.iter().copied().flatten() {
        assert!(
            explored.reached(*mark),
            "{}: {mark:?} is out of reach",
            setup.name
        );
    }
}

#[test]
fn of_two_instances_with_two_checks_at_a_time() {
    let reached = [
        Mark::InsertRefused,
        Mark::AcknowledgedAtOnce,
        Mark::AcknowledgedByConfirmation,
        Mark::AcknowledgedByWaiting,
    ];
    keeps_the_promise(&Setup::BASE, &[&ALLOWED, &RESTRICTED, &reached]);
}

#[test]
fn of_two_restrictions_of_one_person() {
    let setup = Setup {
        name: "two restrictions",
        withdrawals: &[1, 1],
        checks: 1,
        evictions: false,
        looks: false,
        ..Setup::BASE
    };
    keeps_the_promise(&setup, &[&ALLOWED, &RESTRICTED, &[Mark::LoadDiscarded]]);
}

#[test]
fn of_two_persons_in_one_partition() {
    let setup = Setup {
        name: "two persons, one partition",
        persons: &[0, 0],
        withdrawals: &[1, 2],
        checks: 1,
        looks: false,
        evictions: false,
        checkers: 1,
        writers: 2,
        ..Setup::BASE
    };
    keeps_the_promise(&setup, &[&ALLOWED, &RESTRICTED]);
}

#[test]
fn of_two_persons_in_two_partitions() {
    let setup = Setup {
        name: "two persons, two partitions",
        persons: &[0, 1],
        withdrawals: &[1, 2],
        checks: 1,
        looks: false,
        evictions: false,
        checkers: 1,
        writers: 2,
        ..Setup::BASE
    };
    keeps_the_promise(&setup, &[&ALLOWED, &RESTRICTED]);
}

#[test]
fn of_an_act_that_restricts_persons_in_two_partitions() {
    let setup = Setup {
        name: "one act, two partitions",
        persons: &[0, 1],
        withdrawals: &[3],
        checks: 1,
        ..Setup::BASE
    };
    keeps_the_promise(&setup, &[&ALLOWED, &RESTRICTED]);
}

#[test]
fn of_imports_that_raise_the_floor() {
    let setup = Setup {
        name: "floor",
        bulk: true,
        ..Setup::BASE
    };
    keeps_the_promise(&setup, &[&ALLOWED, &RESTRICTED]);
}

#[test]
fn with_a_longer_lease() {
    let setup = Setup {
        name: "lease of two",
        lease: 2,
        wait: 2,
        ..Setup::BASE
    };
    keeps_the_promise(&setup, &[&ALLOWED, &RESTRICTED]);
}

#[test]
fn with_clocks_whose_rates_differ() {
    // The holder's clock may lose a tick and the waiting one gain one: the margins are one tick each.
    let setup = Setup {
        name: "slips",
        wait: 3,
        slips: 2,
        checks: 1,
        looks: false,
        ..Setup::BASE
    };
    keeps_the_promise(&setup, &[&ALLOWED, &RESTRICTED]);
}

#[test]
fn with_crashes_restarts_and_repeats() {
    let setup = Setup {
        name: "crash",
        ids: 3,
        crashes: 1,
        repeats: true,
        checks: 1,
        ..Setup::BASE
    };
    keeps_the_promise(&setup, &[&ALLOWED, &RESTRICTED]);
}

#[test]
fn with_an_instance_that_joins() {
    let setup = Setup {
        name: "join",
        instances: 1,
        repeats: true,
        ..Setup::BASE
    };
    keeps_the_promise(&setup, &[&ALLOWED, &RESTRICTED]);
}

#[test]
fn when_rows_of_the_dead_and_the_slow_are_deleted() {
    let setup = Setup {
        name: "deletion",
        ids: 3,
        deletes: true,
        checks: 1,
        ..Setup::BASE
    };
    let reached = [
        Mark::RowDeleted,
        Mark::SlowOneFoundNoRow,
        Mark::RegisteredAnew,
        Mark::AcknowledgedByRowGone,
    ];
    keeps_the_promise(&setup, &[&ALLOWED, &RESTRICTED, &reached]);
}

#[test]
fn of_three_instances() {
    let setup = Setup {
        name: "three instances",
        instances: 3,
        processes: 3,
        ids: 3,
        checks: 1,
        looks: false,
        evictions: false,
        ..Setup::BASE
    };
    keeps_the_promise(&setup, &[&ALLOWED, &RESTRICTED]);
}

#[test]
fn over_a_failover_with_outcomes_that_nobody_learns() {
    let setup = Setup {
        name: "failover",
        checks: 1,
        unknowns: 1,
        failover: true,
        looks: false,
        evictions: false,
        ..Setup::BASE
    };
    let reached = [Mark::LeasedInNewEpoch, Mark::AcknowledgedInNewEpoch];
    keeps_the_promise(&setup, &[&ALLOWED, &RESTRICTED, &reached]);
}

#[test]
fn while_a_deposed_primary_shows_what_was_never_replicated() {
    let setup = Setup {
        name: "unreplicated",
        withdrawals: &[1, 1],
        checks: 1,
        ghost: true,
        failover: true,
        checkers: 1,
        writers: 2,
        ..Setup::BASE
    };
    let reached = [
        Mark::ShownUnreplicated,
        Mark::ReplacedOffset,
        Mark::AcknowledgedInNewEpoch,
    ];
    keeps_the_promise(&setup, &[&ALLOWED, &RESTRICTED, &reached]);
}

#[test]
fn when_rows_are_deleted_on_either_side_of_a_failover() {
    let setup = Setup {
        name: "deletion after a failover",
        checks: 1,
        split: true,
        failover: true,
        deletes: true,
        looks: false,
        evictions: false,
        checkers: 1,
        writers: 2,
        watchers: 2,
        ..Setup::BASE
    };
    keeps_the_promise(&setup, &[&ALLOWED, &RESTRICTED, &[Mark::RowDeleted]]);
}

/// Not promised, and shown to be so: what is lost is noticed by whoever had seen it, if nothing has taken its place.
#[test]
fn a_ledger_that_goes_back_is_noticed_unless_it_has_grown_again() {
    let setup = Setup {
        name: "asynchronous standby",
        withdrawals: &[1, 1],
        checks: 0,
        looks: false,
        failover: true,
        asynchronous: true,
        ..Setup::BASE
    };
    for mark in [Mark::Alarm, Mark::LossNotSeen] {
        let explored = explore(&setup, Until::Reached(mark));
        assert!(explored.violation.is_some(), "{mark:?} is out of reach");
    }
    // With a synchronous standby nobody raises an alarm, whatever was seen on the old primary.
    let setup = Setup {
        asynchronous: false,
        looks: true,
        ghost: true,
        ..setup
    };
    let explored = explore(&setup, Until::Reached(Mark::Alarm));
    assert!(explored.violation.is_none(), "{}", explored.trace());
}
