//! Black-box conformance of the product: everything here talks to real server processes over real sockets.

#![expect(clippy::disallowed_methods, reason = "black-box tests live in real time")]
#![expect(clippy::panic, clippy::unwrap_used, reason = "a step of a test that fails ends the test where it failed")]
#![expect(clippy::print_stdout, reason = "figures and seeds belong into the test's output")]

mod answers;
mod bad_requests;
mod captured_link;
mod convergence;
mod crash;
#[cfg(feature = "crashpoints")]
mod crash_matrix;
mod crash_points;
mod damage;
mod data_key;
mod deadlines;
mod disk_full;
mod edges;
mod fuzz;
mod killed_zones;
mod lab_clock;
mod matrix;
mod organisations;
mod peer_listener;
mod power_cut;
mod promises;
mod quirks;
mod races;
mod readme;
mod request_table;
mod reserved_ports;
mod sdk;
mod signatures;
mod store_trouble;
mod tls;
mod zones;

use std::path::{Path, PathBuf};
use zonekms_tests::python::{Sdk, Venv};

/// The server that `cargo test` has just built.
fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_zonekms-under-test"))
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The virtual environment of one official client.
fn venv(sdk: Sdk) -> Venv {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    Venv::open(target, &Path::new(env!("CARGO_MANIFEST_DIR")).join("python"), sdk)
}

/// A directory for one test's server, removed afterwards.
fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("zonekms-test-").tempdir().unwrap()
}

/// A directory in memory where there is a file system with room enough: for tests of what the service decides, which the pace of
/// the disk would only slow down.
fn scratch_in_memory() -> tempfile::TempDir {
    /// Three times what all tests together were seen to use. Containers often have 64 MiB.
    const ROOM: u64 = 256 << 20;
    let memory = Path::new("/dev/shm");
    let has_room = rustix::fs::statvfs(memory).is_ok_and(|system| system.f_bavail * system.f_frsize >= ROOM);
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("zonekms-test-");
    let in_memory = has_room.then(|| builder.tempdir_in(memory).ok()).flatten();
    in_memory.unwrap_or_else(|| builder.tempdir().unwrap())
}
