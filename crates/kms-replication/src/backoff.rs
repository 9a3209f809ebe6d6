//! How long to pause after a failure.

use crate::failure::Remedy;
use crate::moment::{Jitter, Uptime};
use kms_types::KeyId;
use std::num::NonZeroU32;
use std::time::Duration;

/// The shortest pause before another attempt.
pub const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause between attempts that may help.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The shortest pause after a refusal that repeating does not cure; up to half as much is added by chance.
pub const SLOW_RETRY: Duration = Duration::from_secs(60);

/// When to try `key` again after it failed `failures` times in a row, the last time at `now`.
///
/// The pause doubles with every failure. Chance picks from its upper half, so that keys that failed together do not return
/// together.
pub(crate) fn retry_at(now: Uptime, failures: NonZeroU32, remedy: Remedy, jitter: Jitter, key: KeyId) -> Uptime {
    let (least, spread) = match remedy {
        Remedy::Repeat => {
            let doublings = (failures.get() - 1).min(30);
            let most = FIRST_PAUSE.saturating_mul(2).saturating_mul(1 << doublings).min(LONGEST_PAUSE);
            (most / 2, most / 2)
        }
        Remedy::Wait => (SLOW_RETRY, SLOW_RETRY / 2),
    };
    now.plus(least + share(spread, jitter.for_key(key)))
}

/// `part` of 2^32 parts of `whole`.
fn share(whole: Duration, part: u32) -> Duration {
    let nanos = (whole.as_nanos() * u128::from(part)) >> 32;
    u64::try_from(nanos).map_or(whole, Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(failures: u32, remedy: Remedy) -> (Duration, Duration) {
        let key = KeyId::from_bytes([7; 16]);
        let pause = |random| {
            let jitter = Jitter::from_random(random);
            retry_at(Uptime::START, NonZeroU32::new(failures).unwrap(), remedy, jitter, key).elapsed()
        };
        let drawn: Vec<_> = (0..2000).map(pause).collect();
        (*drawn.iter().min().unwrap(), *drawn.iter().max().unwrap())
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let table = [
            (1, 200, 400),
            (2, 400, 800),
            (3, 800, 1_600),
            (4, 1_600, 3_200),
            (8, 25_600, 51_200),
            (9, 30_000, 60_000),
            (40, 30_000, 60_000),
            (u32::MAX, 30_000, 60_000),
        ];
        for (failures, least, most) in table {
            let (shortest, longest) = pauses(failures, Remedy::Repeat);
            let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
            assert!(least <= shortest && longest <= most, "{failures}: {shortest:?} to {longest:?}");
            let tenth = (most - least) / 10;
            assert!(shortest < least + tenth && most - tenth < longest, "{failures}: chance does not spread");
        }
    }

    #[test]
    fn what_repeating_does_not_cure_is_tried_slowly_from_the_first_failure_on() {
        for failures in [1, 2, 40] {
            let (shortest, longest) = pauses(failures, Remedy::Wait);
            assert!(SLOW_RETRY <= shortest && longest <= SLOW_RETRY * 3 / 2, "{shortest:?} to {longest:?}");
        }
    }

    #[test]
    fn keys_that_fail_together_do_not_return_together() {
        let again = |number: u8| {
            let key = KeyId::from_bytes([number; 16]);
            retry_at(Uptime::START, NonZeroU32::MIN, Remedy::Repeat, Jitter::from_random(1), key)
        };
        let mut pauses: Vec<_> = (0..100).map(again).collect();
        pauses.sort();
        pauses.dedup();
        assert!(pauses.len() > 95, "{} of 100 differ", pauses.len());
    }
}
