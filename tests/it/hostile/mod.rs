//! Clients that mean harm, over the real socket: what each is told, that others are served meanwhile, and that the
//! process does not grow.

mod floods;
mod frames;
mod lists;
mod stalls;
mod wire;

use std::fs;

use crate::process::gate::Gate;
use crate::process::people::{person, question};

/// Resident memory of a gate, in KiB. Zero where there is no `/proc`.
fn memory(gate: &Gate) -> u64 {
    kib_of(gate, "VmRSS:")
}

fn kib_of(gate: &Gate, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gate.pid())).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.map_or(0, |number| number.parse().unwrap())
}

/// The most resident memory that a gate ever had, in KiB. Zero where there is no `/proc`.
fn most_memory(gate: &Gate) -> u64 {
    kib_of(gate, "VmHWM:")
}

/// Finds that a gate serves others and has not grown by more than this since.
async fn unharmed(gate: &Gate, before: u64, most_kib: u64) {
    gate.check(question(&person(1))).await;
    let grown = memory(gate).saturating_sub(before);
    assert!(grown < most_kib, "{grown} KiB more");
}
