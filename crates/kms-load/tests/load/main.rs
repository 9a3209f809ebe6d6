//! The load generator against real servers on loopback.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a step of a test that fails ends the test where it failed")]

mod cosmian;
mod measuring;
mod moto;
mod pages;
mod peer;
mod renewing;
mod server;
mod vault;
mod wires;
