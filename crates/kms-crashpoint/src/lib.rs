//! Points at which a test has the process killed.
//!
//! Without the feature `armed` a point is an empty function and leaves nothing in the program. With it, the environment variable
//! `ZONEKMS_CRASH_AT` names a point and how often it is to be passed first: `change:durable:3` kills the process with SIGKILL
//! when it comes to `change:durable` for the fourth time.

#[cfg(feature = "armed")]
mod armed;

#[cfg(feature = "armed")]
pub use armed::passed;

/// The process has come to this point; points are named `operation:what has just been done`.
#[cfg(not(feature = "armed"))]
#[inline(always)]
pub const fn passed(_point: &'static str) {}
