//! Runs the real program.

use std::process::{Command, Output, Stdio};

/// The program with these arguments, and nothing of the test's environment that it would read.
pub(crate) fn zonekms(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zonekms"));
    command.args(arguments).env_remove("ZONEKMS_LOG").env_remove("CREDENTIALS_DIRECTORY").stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    zonekms(arguments).output().unwrap()
}

/// What it wrote, as text.
pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
