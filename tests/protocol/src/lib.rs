//! A model of the protocol by which all instances together keep one promise: no check that starts after an acknowledged
//! restriction is allowed from facts without it.
//!
//! To be read beside the protocol's text, whose names it uses: F0 to F5 in [`follower`], C1 to C4 in [`checks`], W1
//! to W6 in [`withdrawals`]; what may go wrong around them in [`world`]. Every state that a [`setup`] can reach is explored
//! ([`explore`]); `tests/promise.rs` demands that none breaks the promise, and `tests/weakened.rs` that a protocol with
//! one step left out or done wrong is caught. It models the protocol, not the code: that the code does these
//! steps is what the tests with real processes are for.
//!
//! What it leaves out: several values of `L` at a time, the time limit of a statement, a statement that is executed after
//! its sender gave it up (it can only repeat an older `applied`), more than one failover.

pub mod canonical;
pub mod checks;
pub mod explore;
pub mod follower;
pub mod setup;
pub mod state;
pub mod step;
pub mod withdrawals;
pub mod world;
