//! Every test of the stores that needs files or processes, and the conformance suite for all back ends.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed test panics, and long ones tell figures"
)]

mod conformance;
mod crash;
mod damage;
mod group_commit;
mod model;
mod opening;
mod power_cut;
mod records;
mod support;
mod workload;

#[expect(unreachable_pub, reason = "it is kms-testkit's public module")]
#[path = "../../../kms-testkit/src/loop_disk.rs"] // kms-testkit depends on this crate, so it cannot be a dev-dependency
mod loop_disk;
