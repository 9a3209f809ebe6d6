//! Where random bytes come from.

use ring::rand::{SecureRandom, SystemRandom};

/// A source of random bytes fit for keys and nonces.
pub trait Entropy: Send + Sync {
    /// Fills the whole of `out`.
    ///
    /// # Errors
    ///
    /// When the source cannot deliver. `out` must then not be used.
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError>;
}

/// The source of randomness failed; nothing was made or sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct EntropyError;

/// The operating system's generator (`getrandom` on Linux), asked anew for every value: neither a forked process nor a
/// virtual machine restored from a snapshot can repeat a nonce.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's randomness")]
        let system = SystemRandom::new();
        system.fill(out).map_err(|_| EntropyError)
    }
}

/// `N` random bytes that are not secret, such as a nonce.
pub(crate) fn public_bytes<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N], EntropyError> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}
