//! The ids of requests: they tell one request from another in answers and logs, and mean nothing else.

use http::HeaderValue;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes the ids of one front door.
pub(crate) struct RequestIds(AtomicU64);

/// The id of one request: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(u64);

impl RequestIds {
    /// A sequence that begins at `start`. Two processes that share a log begin at different places if these are random.
    pub(crate) const fn new(start: u64) -> Self {
        Self(AtomicU64::new(start))
    }

    /// An id that was not given before, unless there were 2^64.
    pub(crate) fn next(&self) -> RequestId {
        RequestId(mixed(self.0.fetch_add(1, Ordering::Relaxed)))
    }
}

impl RequestId {
    /// The number that the digits show.
    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    /// As a header carries it.
    pub(crate) fn to_header(self) -> HeaderValue {
        HeaderValue::from_bytes(&self.digits()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Its digits as text.
    pub(crate) fn digits(self) -> [u8; 16] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 16];
        for (at, pair) in self.0.to_be_bytes().iter().zip(digits.as_chunks_mut::<2>().0) {
            *pair = [DIGITS[usize::from(at >> 4)], DIGITS[usize::from(at & 15)]];
        }
        digits
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

/// A permutation of the numbers under which neighbours look nothing alike (SplitMix64), so that a part of an id is enough to
/// look for. Distinct stays distinct.
const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_differ_and_are_the_same_text_everywhere() {
        let ids = RequestIds::new(u64::MAX - 500);
        let texts: BTreeSet<String> = (0..1000).map(|_| ids.next().to_string()).collect();
        assert_eq!(texts.len(), 1000);
        assert!(texts.iter().all(|text| text.len() == 16 && u64::from_str_radix(text, 16).is_ok()));
        let beginnings: BTreeSet<&str> = texts.iter().map(|text| &text[..8]).collect();
        assert_eq!(beginnings.len(), 1000, "neighbours look alike");
        let id = RequestId(0x0123_4567_89ab_cdef);
        assert_eq!(id.to_string(), "0123456789abcdef");
        assert_eq!(id.to_header(), "0123456789abcdef");
    }
}
