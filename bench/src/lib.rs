//! Measures consentgate beside what it is compared with.
//!
//! [`rows`] is what is measured, [`hosts`] what is started, [`load`] how it is asked, [`stats`] what a ratio is, [`report`]
//! and [`plot`] how it is shown. [`instructions`] counts what a call costs in the process alone. Nothing here asserts
//! anything about speed: it shows.

#![allow(clippy::print_stderr, reason = "for people at a terminal")]

pub mod audience;
pub mod credentials;
pub mod fill;
pub mod hosts;
pub mod instructions;
pub mod load;
pub mod plot;
pub mod report;
pub mod rows;
pub mod stats;
