//! The front door before the real service over the in-memory store: called directly, and through sockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod answers;
mod audited;
mod client;
mod connections;
mod framing;
mod full_house;
mod fuzz;
mod logs;
mod metrics;
mod operation_faults;
mod problems;
mod readers;
mod signatures;
mod tls;
mod zone;
