//! Time and chance, as arguments.

use kms_types::{KeyId, Timestamp};
use std::time::Duration;

/// A point in monotonic time: how long the process runs. Deadlines and pauses are reckoned in it, because a wall clock may
/// jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uptime(Duration);

/// A number drawn at random for one call. It spreads retries, so that zones and keys do not all come at once; it need not be
/// secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter(u64);

/// When an input happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic time, for deadlines.
    pub uptime: Uptime,
    /// Wall-clock time, for failure reports only.
    pub wall: Timestamp,
    /// Chance, for the length of pauses.
    pub jitter: Jitter,
}

impl Uptime {
    /// When the process started.
    pub const START: Self = Self(Duration::ZERO);

    /// The point that long after the start.
    #[must_use]
    pub const fn from_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How long after the start it is.
    #[must_use]
    pub const fn elapsed(self) -> Duration {
        self.0
    }

    /// That much later; the end of the range when it would be beyond it.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How much later this point is than `earlier`; zero when it is not later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Jitter {
    /// From 64 random bits.
    #[must_use]
    pub const fn from_random(bits: u64) -> Self {
        Self(bits)
    }

    /// A number evenly spread over all of `u32`, another one for each key.
    pub(crate) fn for_key(self, key: KeyId) -> u32 {
        let [a, b] = halves(key);
        let mixed = mix(mix(self.0 ^ a) ^ b);
        u32::try_from(mixed >> 32).unwrap_or(u32::MAX)
    }
}

fn halves(key: KeyId) -> [u64; 2] {
    let bits = u128::from_be_bytes(*key.as_bytes());
    [bits >> 64, bits & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(u64::MAX))
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
