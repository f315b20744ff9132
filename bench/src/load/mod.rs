//! Clients that put load on the hosts: outside ones (`h2load`, `redis-benchmark`, `pgbench`) where one is known, and our
//! own where each call must be about somebody else, or its latency is wanted.

pub mod closed;
pub mod open;
pub mod outside;
pub mod statement;
pub mod stream;
pub mod wire;
