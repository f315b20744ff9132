//! The wire below gRPC: TLS with its files, client certificates, Unix sockets.
//!
//! Every test runs the binary, and has certificates of its own, made when it begins.

mod authority;
mod callers;
mod tls;
mod unix;
