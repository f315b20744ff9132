//! What consent means: addresses, events, facts, rules and the decision.
//!
//! Everything here is a pure function of its arguments. There is no IO, no async, no clock and no
//! randomness: an instant, an id or a rule is always handed in. The sources of the rules are named
//! where the rules stand; the reasons for their shape are in `ARCHITECTURE.md`.
//!
//! Reading order: what is asked about ([`address`], [`id`]), what happened ([`event`]), what is
//! known after it ([`facts`]), what applies ([`catalog`], [`policy`]), what happened lately
//! ([`activity`]), what follows ([`decide`]), and how long it must be provable ([`retention`]).

pub mod time;

pub mod address;
pub mod id;
pub mod phone;

pub mod delivery;
pub mod event;
pub mod json;
pub mod vocabulary;

pub mod facts;

pub mod hours;
pub mod place;

pub mod caller;
pub mod catalog;
pub mod policy;
pub mod rules;

pub mod evidence;
pub mod keywords;

pub mod activity;
pub mod decide;
pub mod retention;
mod short;
pub mod standing;

#[cfg(test)]
pub(crate) mod laws;
