//! Growing pauses between attempts to connect.

use kms_types::ZoneName;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// The pauses of one zone towards one peer. Each is between half and the whole of a span that doubles up to a limit; where in
/// between follows from the names and the attempt, so that zones that lost the same peer do not come back together.
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    seed: DefaultHasher,
    attempt: u32,
}

impl Backoff {
    pub(crate) fn new(own: &ZoneName, peer: &ZoneName, first: Duration, longest: Duration) -> Self {
        let mut seed = DefaultHasher::new();
        own.hash(&mut seed);
        peer.hash(&mut seed);
        Self { first, longest: longest.max(first), seed, attempt: 0 }
    }

    /// How long to wait now.
    pub(crate) fn pause(&mut self) -> Duration {
        let span = self.first.saturating_mul(2_u32.saturating_pow(self.attempt)).min(self.longest);
        let mut hasher = self.seed.clone();
        self.attempt.hash(&mut hasher);
        self.attempt = self.attempt.saturating_add(1);
        let [share, ..] = hasher.finish().to_be_bytes();
        span / 2 + span / 2 * u32::from(share) / u32::from(u8::MAX)
    }

    /// Begins with the shortest pause again.
    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(5);

    fn pauses(own: &str, peer: &str) -> Vec<Duration> {
        let mut backoff = Backoff::new(&own.parse().unwrap(), &peer.parse().unwrap(), FIRST, LONGEST);
        (0..40).map(|_| backoff.pause()).collect()
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_never_fall_below_half() {
        for (attempt, pause) in (0..).zip(pauses("a", "b")) {
            let span = FIRST.saturating_mul(1 << attempt.min(20)).min(LONGEST);
            assert!(span / 2 <= pause && pause <= span, "attempt {attempt}: {pause:?} of {span:?}");
        }
    }

    #[test]
    fn two_zones_that_lost_the_same_peer_do_not_come_back_together() {
        let together = pauses("a", "c").iter().zip(pauses("b", "c")).filter(|(a, b)| **a == *b).count();
        assert!(together < 4, "{together} of 40 pauses are the same");
    }

    #[test]
    fn a_reset_begins_anew() {
        let mut backoff = Backoff::new(&"a".parse().unwrap(), &"b".parse().unwrap(), FIRST, LONGEST);
        let first = backoff.pause();
        assert!(backoff.pause() > first);
        backoff.reset();
        assert_eq!(backoff.pause(), first);
    }
}
