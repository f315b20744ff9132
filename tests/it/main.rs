//! The one test crate: behaviour by feature, and the harness that it stands on.
//!
//! Tests start what the binary starts, on port 0, each with a database of its own. They never sleep: they wait
//! for a condition with a deadline (`wait`). A test that needs PostgreSQL fails without one; none is skipped.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the harness fails as a test does"
)]
#![allow(
    unreachable_pub,
    reason = "these modules offer their functions to each other"
)]

mod activity_cache;
mod callers;
mod catalog;
mod cli;
mod consents;
mod decisions;
mod faults;
mod harness;
mod hostile;
mod keywords;
mod ledger;
mod migrations;
mod policy;
mod postgres;
mod process;
mod python;
mod random;
mod readme;
mod tidy;
mod transport;
mod wait;
