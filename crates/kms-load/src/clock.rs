//! The one place where the load generator reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment of the monotonic clock, in nanoseconds since the [`Clock`] was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    /// `nanoseconds` after the clock was made.
    #[cfg(test)]
    pub(crate) const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// This long after `self`.
    pub(crate) fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(by)))
    }

    /// Nanoseconds from `earlier` to `self`; 0 if `earlier` is later.
    pub(crate) fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Seconds since 1970: what signatures carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixSeconds(u64);

impl UnixSeconds {
    /// `seconds` after the beginning of 1970.
    #[must_use]
    pub const fn new(seconds: u64) -> Self {
        Self(seconds)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[expect(clippy::disallowed_methods, reason = "measuring time is what a load generator is for; this is its seam")]
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now() }
    }

    /// The monotonic time.
    #[expect(clippy::disallowed_methods, reason = "measuring time is what a load generator is for; this is its seam")]
    pub(crate) fn now(&self) -> Moment {
        Moment(nanoseconds(Instant::now().duration_since(self.origin)))
    }

    /// The wall clock, in whole seconds.
    #[expect(clippy::disallowed_methods, reason = "signatures carry the wall clock; this is the generator's seam")]
    pub(crate) fn unix_seconds(&self) -> UnixSeconds {
        // A clock before 1970 makes requests that servers refuse, and the refusals are counted and shown.
        UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
