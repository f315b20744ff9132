//! A naive model of the whole service: it keeps the list of requests that were taken, and answers every question by
//! reading the list from the start.
//!
//! Written from the rules of consent and the contract, not from `src/domain`, of which it uses nothing. It knows the
//! places in [`law`] and the catalogue in [`purpose`]; [`world`] reads the list, [`answer`] decides.

pub mod answer;
pub mod law;
mod links;
mod proof;
pub mod purpose;
pub mod story;
pub mod time;
mod timing;
pub mod world;
