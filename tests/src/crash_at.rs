//! Where a server is to be killed: a point of its work, and how often it passes that first.

/// The variable that a server with crash points reads.
pub const VARIABLE: &str = "ZONEKMS_CRASH_AT";

/// The value of [`VARIABLE`] for the death at `point` after `passes` earlier passes.
#[must_use]
pub fn at(point: &str, passes: u64) -> String {
    format!("{point}:{passes}")
}
