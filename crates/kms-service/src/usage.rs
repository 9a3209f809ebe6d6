//! How often, and when last, each version of a key was used.
//!
//! Counting must cost next to nothing: two relaxed atomic operations beside the material that the call has just read. So no
//! order is promised between a count and a time, a count is that of this zone alone, and what was counted since the last
//! save is lost when the process is killed.

use kms_types::Timestamp;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The counters of one version: 24 bytes.
#[derive(Default)]
pub(crate) struct VersionUsage {
    encrypts: AtomicU64,
    decrypts: AtomicU64,
    /// Seconds since 1970, good until 2106; 0 for never.
    encrypted_at: AtomicU32,
    decrypted_at: AtomicU32,
}

/// What one version of a key was used for, in this zone. A re-encryption decrypts with the source's version and encrypts with
/// the destination's; a data key is an encryption. Calls that failed are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Ciphertexts made.
    pub encrypts: u64,
    /// Ciphertexts opened.
    pub decrypts: u64,
    /// When the last ciphertext was made, to the second.
    pub encrypted_at: Option<Timestamp>,
    /// When the last ciphertext was opened, to the second.
    pub decrypted_at: Option<Timestamp>,
}

impl VersionUsage {
    pub(crate) fn note_encrypt(&self, now: Timestamp) {
        note(&self.encrypts, &self.encrypted_at, now);
    }

    pub(crate) fn note_decrypt(&self, now: Timestamp) {
        note(&self.decrypts, &self.decrypted_at, now);
    }

    pub(crate) fn read(&self) -> Use {
        Use {
            encrypts: self.encrypts.load(Relaxed),
            decrypts: self.decrypts.load(Relaxed),
            encrypted_at: time_of(self.encrypted_at.load(Relaxed)),
            decrypted_at: time_of(self.decrypted_at.load(Relaxed)),
        }
    }

    /// Goes on counting from `known`.
    pub(crate) fn set(&self, known: Use) {
        self.encrypts.store(known.encrypts, Relaxed);
        self.decrypts.store(known.decrypts, Relaxed);
        self.encrypted_at.store(known.encrypted_at.map_or(0, seconds), Relaxed);
        self.decrypted_at.store(known.decrypted_at.map_or(0, seconds), Relaxed);
    }
}

impl Use {
    /// When it was used last, for whatever.
    #[must_use]
    pub fn last_at(&self) -> Option<Timestamp> {
        self.encrypted_at.max(self.decrypted_at)
    }

    /// Both uses together: the counts added, the later times.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            encrypts: self.encrypts.saturating_add(other.encrypts),
            decrypts: self.decrypts.saturating_add(other.decrypts),
            encrypted_at: self.encrypted_at.max(other.encrypted_at),
            decrypted_at: self.decrypted_at.max(other.decrypted_at),
        }
    }
}

fn note(count: &AtomicU64, last: &AtomicU32, now: Timestamp) {
    count.fetch_add(1, Relaxed);
    let now = seconds(now);
    // Written once a second at most: a line that is only read stays with every processor.
    if last.load(Relaxed) != now {
        last.store(now, Relaxed);
    }
}

/// Seconds since 1970: 0 only for a time that is none, the last that fits after 2106.
pub(crate) fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_seconds().max(1)).unwrap_or(u32::MAX)
}

pub(crate) fn time_of(seconds: u32) -> Option<Timestamp> {
    (seconds != 0).then(|| Timestamp::from_nanos(i64::from(seconds) * 1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_costs_24_bytes() {
        assert_eq!(size_of::<VersionUsage>(), 24);
    }

    #[test]
    fn counts_and_last_times_are_kept_apart() {
        let at = |second: i64| Timestamp::from_nanos(second * 1_000_000_000 + 7);
        let whole = |second: i64| Some(Timestamp::from_nanos(second * 1_000_000_000));
        let usage = VersionUsage::default();
        assert_eq!(usage.read(), Use::default());
        usage.note_encrypt(at(1_000));
        usage.note_encrypt(at(1_001));
        usage.note_decrypt(at(2_000));
        let expected = Use { encrypts: 2, decrypts: 1, encrypted_at: whole(1_001), decrypted_at: whole(2_000) };
        assert_eq!(usage.read(), expected);
        assert_eq!(usage.read().last_at(), whole(2_000));
        let other = VersionUsage::default();
        other.set(expected);
        other.note_decrypt(at(2_000));
        assert_eq!(other.read(), Use { decrypts: 2, ..expected });
        assert_eq!(
            expected.and(Use { encrypts: 1, encrypted_at: whole(9), ..Use::default() }),
            Use { encrypts: 3, ..expected }
        );
    }

    #[test]
    fn times_that_do_not_fit_are_the_nearest_that_do() {
        assert_eq!(seconds(Timestamp::EPOCH), 1);
        assert_eq!(seconds(Timestamp::from_nanos(-1)), 1);
        assert_eq!(seconds(Timestamp::from_nanos(i64::MAX)), u32::MAX);
    }
}
