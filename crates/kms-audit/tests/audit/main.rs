//! The audit log as its writers and its readers see it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it skips"
)]

mod crashes;
mod disks;
mod evidence;
mod independent;
mod log;
#[expect(
    unreachable_pub,
    dead_code,
    reason = "it is kms-testkit's public module, of which the power cut is not needed"
)]
#[path = "../../../kms-testkit/src/loop_disk.rs"]
mod loop_disk;
mod reading;
mod service;
mod writing;
