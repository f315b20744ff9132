//! consentgate: may this business send this kind of WhatsApp message to this person, now?

pub mod domain;

pub mod catalog;
pub mod clock;
pub mod config;
pub mod grpc;
pub mod keys;
pub mod ledger;
pub mod policy;
pub mod telemetry;
