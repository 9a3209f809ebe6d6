//! Times as text, quickly: most have the same second as the one before.

use kms_types::Timestamp;

/// Writes times in RFC 3339 with nine digits, in UTC, as [`Timestamp`] shows them.
#[derive(Debug, Default)]
pub(crate) struct StampWriter {
    /// The second written last, and its text up to the point.
    last: Option<(i64, [u8; 19])>,
}

impl StampWriter {
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, time: Timestamp) {
        let second = time.as_seconds();
        match &self.last {
            Some((known, text)) if *known == second => {
                out.extend_from_slice(text);
                let mut rest = time.as_nanos().rem_euclid(1_000_000_000);
                let mut digits = *b".000000000Z";
                for digit in digits[1..10].iter_mut().rev() {
                    *digit = b'0' + u8::try_from(rest % 10).expect("a digit is below ten");
                    rest /= 10;
                }
                out.extend_from_slice(&digits);
            }
            Some(_) | None => {
                let text = time.to_string();
                out.extend_from_slice(text.as_bytes());
                // A time with more or fewer than four digits of the year does not exist in the range.
                self.last = text.as_bytes().first_chunk().map(|whole| (second, *whole));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_text_is_that_of_the_time(nanos: i64, steps in proptest::collection::vec(0_i64..600_000_000, 1..9)) {
            let mut writer = StampWriter::default();
            let mut at = nanos;
            for step in steps {
                at = at.saturating_add(step);
                let time = Timestamp::from_nanos(at);
                let mut out = Vec::new();
                writer.write(&mut out, time);
                prop_assert_eq!(String::from_utf8(out).unwrap(), time.to_string());
            }
        }
    }
}
