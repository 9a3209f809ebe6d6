//! AES-256-GCM for short messages under keys that are used once, with the AES and carry-less multiplication instructions of
//! x86-64.
//!
//! General libraries are made for keys that are set up once and used often; here every message has its own key, so setting up is
//! most of the work. This code keeps the key schedule in registers and does nothing ahead. It has no tables and no branches that
//! depend on secrets or data, only on lengths. On other processors it says so, and the caller uses a library.
//!
//! NIST FIPS 197 is AES, SP 800-38D is GCM; GHASH is computed as POLYVAL, to which RFC 8452 (appendix A) relates it.

#[cfg(target_arch = "x86_64")]
mod gcm;
#[cfg(target_arch = "x86_64")]
mod ghash;
#[cfg(target_arch = "x86_64")]
mod rounds;

use std::fmt;

/// The proof that this processor has the instructions; whoever holds it may call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AesNi(Proof);

impl fmt::Debug for AesNi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("detected")
    }
}

/// The tag did not match. Nothing was decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagMismatch;

#[cfg(target_arch = "x86_64")]
mod calls {
    //! The only `unsafe` blocks: calls of functions that are compiled for processors which have the instructions.

    use super::{AesNi, Proof, TagMismatch, gcm, rounds};

    impl AesNi {
        /// Whether this processor has the instructions. The answer is always the same, and costs next to nothing.
        #[must_use]
        pub fn detect() -> Option<Self> {
            let here = is_x86_feature_detected!("aes")
                && is_x86_feature_detected!("pclmulqdq")
                && is_x86_feature_detected!("avx");
            here.then_some(Self(Proof(())))
        }

        /// Encrypts each of the two blocks in place under `key`: the raw block cipher.
        pub fn encrypt_blocks(self, key: &[u8; 32], blocks: &mut [[u8; 16]; 2]) {
            // SAFETY: an `AesNi` exists only where `detect` found every feature that the function was compiled for.
            #[expect(unsafe_code, reason = "a function for processors with AES-NI, on one that has it")]
            unsafe {
                rounds::encrypt_two(key, blocks);
            }
        }

        /// AES-256-GCM: encrypts `buffer` in place and returns the tag. The caller keeps to GCM's limit of 2^36 - 32 bytes, and
        /// to one nonce per key once.
        #[must_use]
        pub fn seal(self, key: &[u8; 32], nonce: &[u8; 12], associated_data: &[u8], buffer: &mut [u8]) -> [u8; 16] {
            // SAFETY: as in `encrypt_blocks`.
            #[expect(unsafe_code, reason = "a function for processors with AES-NI, on one that has it")]
            unsafe {
                gcm::seal(key, nonce, associated_data, buffer)
            }
        }

        /// AES-256-GCM: decrypts `buffer` in place.
        ///
        /// # Errors
        ///
        /// When the tag does not match. `buffer` is unchanged then: the tag is verified first.
        pub fn open(
            self,
            key: &[u8; 32],
            nonce: &[u8; 12],
            associated_data: &[u8],
            buffer: &mut [u8],
            tag: &[u8; 16],
        ) -> Result<(), TagMismatch> {
            // SAFETY: as in `encrypt_blocks`.
            #[expect(unsafe_code, reason = "a function for processors with AES-NI, on one that has it")]
            unsafe {
                gcm::open(key, nonce, associated_data, buffer, tag)
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Proof(());

/// Cannot be made, so that no code is needed behind it.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {}

#[cfg(not(target_arch = "x86_64"))]
mod calls {
    //! Never called: there is no [`AesNi`] to call it with.

    use super::{AesNi, TagMismatch};

    impl AesNi {
        /// Never, on this architecture.
        #[must_use]
        pub const fn detect() -> Option<Self> {
            None
        }

        /// Cannot be called.
        pub const fn encrypt_blocks(self, _: &[u8; 32], _: &mut [[u8; 16]; 2]) {
            match self.0 {}
        }

        /// Cannot be called.
        #[must_use]
        pub const fn seal(self, _: &[u8; 32], _: &[u8; 12], _: &[u8], _: &mut [u8]) -> [u8; 16] {
            match self.0 {}
        }

        /// Cannot be called.
        ///
        /// # Errors
        ///
        /// None.
        pub const fn open(
            self,
            _: &[u8; 32],
            _: &[u8; 12],
            _: &[u8],
            _: &mut [u8],
            _: &[u8; 16],
        ) -> Result<(), TagMismatch> {
            match self.0 {}
        }
    }
}

#[cfg(test)]
mod tests;
