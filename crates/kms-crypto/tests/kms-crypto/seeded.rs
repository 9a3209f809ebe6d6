//! Sources of randomness for tests.

use kms_crypto::{Entropy, EntropyError};
use shake::digest::{ExtendableOutput, Update, XofReader};
use shake::{Shake128, Shake128Reader};
use std::sync::Mutex;

/// The same bytes for the same seed.
pub(crate) struct Seeded(Mutex<Shake128Reader>);

impl Seeded {
    pub(crate) fn new(seed: &str) -> Self {
        let mut shake = Shake128::default();
        shake.update(seed.as_bytes());
        Self(Mutex::new(shake.finalize_xof()))
    }
}

impl Entropy for Seeded {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.0.lock().map_err(|_| EntropyError)?.read(out);
        Ok(())
    }
}

/// A source that has something to say only so many times.
pub(crate) struct Failing {
    good_calls: Mutex<usize>,
}

impl Failing {
    pub(crate) fn after(good_calls: usize) -> Self {
        Self { good_calls: Mutex::new(good_calls) }
    }
}

impl Entropy for Failing {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        let mut left = self.good_calls.lock().map_err(|_| EntropyError)?;
        *left = left.checked_sub(1).ok_or(EntropyError)?;
        out.fill(0x5a);
        Ok(())
    }
}

/// 40, 41, 42 ... in hexadecimal: bytes that a document can name.
pub(crate) struct Counting;

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        for (byte, number) in out.iter_mut().zip(0x40..) {
            *byte = number;
        }
        Ok(())
    }
}
