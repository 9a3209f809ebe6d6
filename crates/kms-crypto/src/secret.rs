//! Memory that holds secrets: on the heap, never moved, wiped when dropped, and mute.
//!
//! Neither type implements `Debug`, `Clone`, `PartialEq` or serde's traits. Every read is a visible `expose`.

use crate::entropy::{Entropy, EntropyError};
use zeroize::optimization_barrier;

/// `N` secret bytes.
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// A secret that `fill` writes where it will stay. `fill` is given zeros.
    ///
    /// # Errors
    ///
    /// The error of `fill`; what it had written is wiped.
    pub fn fill_with<E>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self(Box::new([0; N]));
        fill(&mut secret.0)?;
        Ok(secret)
    }

    /// `N` random bytes.
    ///
    /// # Errors
    ///
    /// When the source of randomness fails.
    pub fn random(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Self::fill_with(|bytes| entropy.fill(bytes))
    }

    /// A copy of `bytes`. The caller's own bytes are the caller's to wipe.
    #[must_use]
    pub fn copy_from(bytes: &[u8; N]) -> Self {
        let mut secret = Self(Box::new([0; N]));
        secret.0.copy_from_slice(bytes);
        secret
    }

    /// The secret bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        wipe(self.0.as_mut_slice());
    }
}

/// Secret bytes whose number is known only at run time: plaintexts, data keys, unsealed records.
///
/// The capacity is fixed at creation, so that no growth ever leaves a copy behind.
pub struct SecretBytes(Vec<u8>);

/// More bytes than a [`SecretBytes`] was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret is longer than the memory set aside for it")]
pub struct CapacityExceeded;

impl SecretBytes {
    /// An empty secret that can take `capacity` bytes through [`SecretBytes::try_extend`].
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// `len` zeros, to be written through [`SecretBytes::expose_mut`].
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self(vec![0; len])
    }

    /// A copy of `bytes`. The caller's own bytes are the caller's to wipe.
    #[must_use]
    pub fn copy_from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// `len` random bytes.
    ///
    /// # Errors
    ///
    /// When the source of randomness fails.
    pub fn random(len: usize, entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut secret = Self::zeroed(len);
        entropy.fill(&mut secret.0)?;
        Ok(secret)
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    ///
    /// When they do not fit into the capacity given at creation; nothing is appended then.
    pub fn try_extend(&mut self, bytes: &[u8]) -> Result<(), CapacityExceeded> {
        if bytes.len() > self.0.capacity() - self.0.len() {
            return Err(CapacityExceeded);
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    /// Keeps the first `len` bytes; no effect when there are fewer.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// The secret bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The secret bytes, to be changed in place.
    #[must_use]
    pub fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        // Bytes cut off by `truncate` are still in the spare capacity. The length never grows beyond the capacity here, so
        // nothing is moved.
        self.0.resize(self.0.capacity(), 0);
        wipe(&mut self.0);
    }
}

/// Sets `bytes` to zero so that the compiler cannot leave it out.
///
/// `zeroize` itself writes byte by byte (8.6 µs for 64 KiB). This is one `memset` (0.4 µs), kept alive by zeroize's barrier:
/// an `asm!` block that may read the memory, so the zeros must be there before the memory is freed.
pub fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    optimization_barrier(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wiping_leaves_zeros() {
        for len in [0, 1, 31, 32, 33, 65_536] {
            let mut bytes = vec![0xa5; len];
            wipe(&mut bytes);
            assert!(bytes.iter().all(|byte| *byte == 0), "{len} bytes");
        }
    }

    #[test]
    fn a_secret_is_what_was_filled_in() {
        let secret = Secret::<4>::fill_with(|bytes| {
            assert_eq!(bytes, &[0; 4]);
            bytes.copy_from_slice(b"abcd");
            Ok::<(), EntropyError>(())
        });
        assert_eq!(secret.map(|secret| *secret.expose()), Ok(*b"abcd"));
        assert!(Secret::<4>::fill_with(|_| Err(EntropyError)).is_err());
    }

    #[test]
    fn secret_bytes_never_grow_beyond_their_capacity() {
        let mut secret = SecretBytes::with_capacity(4);
        let home = secret.expose().as_ptr();
        assert_eq!(secret.try_extend(b"abc"), Ok(()));
        assert_eq!(secret.try_extend(b"de"), Err(CapacityExceeded));
        assert_eq!(secret.try_extend(b"d"), Ok(()));
        assert_eq!(secret.expose(), b"abcd");
        assert_eq!(secret.expose().as_ptr(), home, "the bytes were moved");
        secret.truncate(1);
        assert_eq!((secret.len(), secret.is_empty()), (1, false));
    }
}
