//! The protocol in setups that take minutes and gigabytes: `make model`. With a part of a name as its argument it explores
//! the setups with that name.

#![allow(
    clippy::print_stdout,
    reason = "how large an exploration was, and the way to what it found"
)]

use coherence::explore::{Until, explore};
use coherence::setup::Setup;

const ONE: Setup = Setup {
    checks: 1,
    ..Setup::BASE
};
const FAILOVER: Setup = Setup {
    unknowns: 1,
    failover: true,
    ..ONE
};

const SETUPS: &[Setup] = &[
    Setup {
        name: "failover",
        ..FAILOVER
    },
    Setup {
        name: "three instances",
        instances: 3,
        processes: 3,
        ids: 3,
        ..ONE
    },
    Setup {
        name: "deletion and eviction, two checks",
        ids: 3,
        deletes: true,
        ..Setup::BASE
    },
    Setup {
        name: "crash, deletion, repeats",
        ids: 3,
        crashes: 1,
        repeats: true,
        deletes: true,
        ..ONE
    },
    Setup {
        name: "two restrictions, two checks",
        withdrawals: &[1, 1],
        ..Setup::BASE
    },
    Setup {
        name: "unreplicated, all do everything",
        ghost: true,
        withdrawals: &[1, 1],
        failover: true,
        ..ONE
    },
    Setup {
        name: "deletion after a failover",
        split: true,
        deletes: true,
        evictions: false,
        looks: false,
        ..FAILOVER
    },
    Setup {
        name: "two persons, one partition",
        persons: &[0, 0],
        withdrawals: &[1, 2],
        evictions: false,
        ..ONE
    },
    Setup {
        name: "two persons, two partitions",
        persons: &[0, 1],
        withdrawals: &[1, 2],
        evictions: false,
        ..ONE
    },
    Setup {
        name: "failover, crash",
        crashes: 1,
        ids: 3,
        looks: false,
        evictions: false,
        ..FAILOVER
    },
];

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let mut broken = 0;
    for setup in SETUPS.iter().filter(|setup| setup.name.contains(&wanted)) {
        let explored = explore(setup, Until::Violation);
        let (name, states, depth) = (setup.name, explored.states, explored.depth);
        println!("{name}: {states} states, {depth} steps deep");
        if explored.violation.is_some() {
            broken += 1;
            println!("broken:\n{}", explored.trace());
        }
    }
    assert_eq!(broken, 0, "the promise was broken");
}
