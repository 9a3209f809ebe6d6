//! Durations as people write them: whole days, hours, minutes or seconds.

use std::time::Duration;

/// A text that is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number and a unit: d, h, m or s, such as \"90d\" or \"30s\"")]
pub(crate) struct InvalidDuration;

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Reads one whole number with one unit: `90d`, `36h`, `5m`, `30s`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    for (unit, seconds) in UNITS {
        let Some(number) = text.strip_suffix(unit) else { continue };
        // `u64::from_str` would take a leading plus sign.
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidDuration);
        }
        let number: u64 = number.parse().map_err(|_| InvalidDuration)?;
        return number.checked_mul(seconds).map(Duration::from_secs).ok_or(InvalidDuration);
    }
    Err(InvalidDuration)
}

/// The shortest text for a duration of whole seconds.
pub(crate) fn show_duration(duration: Duration) -> String {
    let total = duration.as_secs();
    for (unit, seconds) in UNITS {
        if total != 0 && total.is_multiple_of(seconds) {
            return format!("{}{unit}", total / seconds);
        }
    }
    format!("{total}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_with_one_unit() {
        for (text, seconds) in [("90d", 7_776_000), ("36h", 129_600), ("5m", 300), ("30s", 30), ("0s", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "d", "90", "1.5d", "-1d", "+1d", "1 d", "1d1h", "90D", "1w", "99999999999999999999s", "١d"] {
            assert_eq!(parse_duration(text), Err(InvalidDuration), "{text}");
        }
        assert_eq!(parse_duration(&format!("{}d", u64::MAX)), Err(InvalidDuration));
    }

    #[test]
    fn shown_in_the_largest_whole_unit() {
        for (text, seconds) in [("90d", 7_776_000), ("2h", 7_200), ("75s", 75), ("0s", 0)] {
            assert_eq!(show_duration(Duration::from_secs(seconds)), text);
        }
    }
}
