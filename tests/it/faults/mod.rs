//! The promise "no ALLOW after an acknowledged withdrawal, on any instance, ever", held against real processes and a
//! real PostgreSQL while everything goes wrong that can.
//!
//! Callers write down what they asked and were told ([`history`]); a checker that knows only the promise reads it
//! ([`checker`]). A run prints its seed. `make soak MINUTES=…` is the same for longer.

mod checker;
mod dice;
mod failover;
mod fleet;
mod history;
mod load;
mod nemesis;
mod proxy;
mod run;
#[cfg(feature = "weakened")]
mod twins;

use std::time::Duration;

use run::{Plan, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_allowed_after_an_acknowledged_withdrawal_whatever_goes_wrong() {
    run(Plan::from_environment(Duration::from_secs(60))).await;
}
