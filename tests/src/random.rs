//! Seeded choices, so that a failing run can be repeated from the seed it printed.

use std::hash::{BuildHasher, RandomState};

/// A small generator (xorshift64*): choices for tests, never keys.
#[derive(Debug)]
pub struct Choices(u64);

impl Choices {
    /// The seed of this run: `ZONEKMS_TEST_SEED` if set, else a fresh one. Tests print it.
    #[must_use]
    pub fn seed() -> u64 {
        match std::env::var("ZONEKMS_TEST_SEED") {
            Ok(seed) => seed.parse().expect("ZONEKMS_TEST_SEED is a decimal number"),
            Err(_) => RandomState::new().hash_one(std::process::id()),
        }
    }

    /// Choices that follow from `seed` and `stream`; equal arguments give equal choices.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mixed = (seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mut choices = Self(mixed | 1);
        for _ in 0..8 {
            choices.next();
        }
        choices
    }

    /// A number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of `options`, which must not be empty.
    pub fn pick<'a, T>(&mut self, options: &'a [T]) -> &'a T {
        let index = self.below(u64::try_from(options.len()).expect("a length fits"));
        &options[usize::try_from(index).expect("below the length")]
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
