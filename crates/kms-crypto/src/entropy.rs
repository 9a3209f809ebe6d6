//! Where random bytes come from.

use crate::nonce_pool;
use ring::rand::{SecureRandom, SystemRandom};

/// A source of random bytes fit for keys and nonces.
pub trait Entropy: Send + Sync {
    /// Fills the whole of `out` with bytes that nobody else was given and nobody can guess: fit for keys.
    ///
    /// # Errors
    ///
    /// When the source cannot deliver. `out` must then not be used.
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError>;

    /// Fills the whole of `out` with bytes that do not repeat, but that this process may have held for a while: for nonces and
    /// request ids, never for anything secret. Without a cheaper way, it is [`Entropy::fill`].
    ///
    /// # Errors
    ///
    /// As [`Entropy::fill`].
    fn fill_public(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.fill(out)
    }
}

/// The source of randomness failed; nothing was made or sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct EntropyError;

/// The operating system's generator (`getrandom` on Linux).
///
/// It is asked anew for every secret. Nonces are cut from a stock of its bytes, a little per thread, because one call costs more
/// than sealing a short message does; a forked process finds its stock empty (ADR 0021).
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's randomness")]
        let system = SystemRandom::new();
        system.fill(out).map_err(|_| EntropyError)
    }

    fn fill_public(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        nonce_pool::take(out, |stock| self.fill(stock))
    }
}

/// `N` random bytes that are not secret, such as a record's nonce, asked for anew.
pub(crate) fn public_bytes<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N], EntropyError> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}

/// The nonce of a message: `N` bytes from the cheaper way.
pub(crate) fn message_nonce<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N], EntropyError> {
    let mut bytes = [0; N];
    entropy.fill_public(&mut bytes)?;
    Ok(bytes)
}
