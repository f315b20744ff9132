#![doc = include_str!("../ARCHITECTURE.md")]

pub mod domain;

pub mod consents;

pub mod cache;
pub mod catalog;
pub mod keys;
pub mod ledger;
pub mod policy;

pub mod auth;
pub mod grpc;

pub mod clock;
pub mod config;
pub mod telemetry;
pub mod weakened;

pub mod server;

pub mod cli;
