//! XAES-256-GCM (C2SP): AES-256-GCM with a 24-byte nonce and a fresh AES key for every message.
//!
//! The first 12 bytes of the nonce derive the message's key from the root, by the counter-mode KDF of NIST SP 800-108 with
//! CMAC-AES256 as its function; the last 12 are the GCM nonce. See <https://c2sp.org/XAES-256-GCM>.

use crate::aead::{AeadError, Backend, GcmNonce, GcmTag};
use crate::secret::wipe;
use crate::stack::with_wiped_stack;
use aes::Aes256Enc;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};

/// Length of an XAES nonce in bytes.
pub const XAES_NONCE_LEN: usize = 24;

/// A 32-byte XAES root, ready for use: its AES key schedule and the CMAC subkey K1. Boxed and wiped when dropped.
pub struct XaesKey(Box<Root>);

struct Root {
    block: Aes256Enc,
    k1: [u8; 16],
}

impl XaesKey {
    /// Prepares the root `key`.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        with_wiped_stack(|| {
            let block = Aes256Enc::new(key.into());
            let mut l = Array([0; 16]);
            block.encrypt_block(&mut l);
            let k1 = doubled(u128::from_be_bytes(l.0)).to_be_bytes();
            wipe(&mut l);
            Self(Box::new(Root { block, k1 }))
        })
    }

    /// Encrypts `buffer` in place and returns the tag. `nonce` is random; it must not repeat under one root.
    ///
    /// # Errors
    ///
    /// When `buffer` is longer than 2^36 - 32 bytes.
    pub fn seal(
        &self,
        backend: Backend,
        nonce: &[u8; XAES_NONCE_LEN],
        associated_data: &[u8],
        buffer: &mut [u8],
    ) -> Result<GcmTag, AeadError> {
        with_wiped_stack(|| {
            let message = self.derive(nonce);
            backend.seal(&message.key, message.nonce, associated_data, buffer)
        })
    }

    /// Decrypts `buffer` in place.
    ///
    /// # Errors
    ///
    /// When the tag does not match. `buffer` is then all zeros.
    pub fn open(
        &self,
        backend: Backend,
        nonce: &[u8; XAES_NONCE_LEN],
        associated_data: &[u8],
        buffer: &mut [u8],
        tag: &GcmTag,
    ) -> Result<(), AeadError> {
        with_wiped_stack(|| {
            let message = self.derive(nonce);
            backend.open(&message.key, message.nonce, associated_data, buffer, tag)
        })
    }

    /// Kx = CMAC(K, M1) || CMAC(K, M2), where Mi = 00 i 58 00 || N[..12]. Mi is one whole block, so its CMAC is a single
    /// block encryption of Mi ^ K1.
    fn derive(&self, nonce: &[u8; XAES_NONCE_LEN]) -> MessageKey {
        let mut blocks = [Array([0; 16]); 2];
        for (counter, block) in (1..).zip(&mut blocks) {
            block[..4].copy_from_slice(&[0, counter, b'X', 0]);
            block[4..].copy_from_slice(&nonce[..12]);
            for (byte, mask) in block.iter_mut().zip(&self.0.k1) {
                *byte ^= mask;
            }
        }
        // One by one: `encrypt_blocks` spills every round key, unpacked, to the stack, and wiping that costs what it saves.
        for block in &mut blocks {
            self.0.block.encrypt_block(block);
        }
        let mut message = MessageKey { key: [0; 32], nonce: GcmNonce::new([0; 12]) };
        for (half, block) in message.key.chunks_exact_mut(16).zip(&mut blocks) {
            half.copy_from_slice(block);
            wipe(block);
        }
        let mut gcm_nonce = [0; 12];
        gcm_nonce.copy_from_slice(&nonce[12..]);
        message.nonce = GcmNonce::new(gcm_nonce);
        message
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // The key schedule wipes itself (feature `zeroize` of `aes`).
        wipe(&mut self.k1);
    }
}

/// The key and nonce of one message.
struct MessageKey {
    key: [u8; 32],
    nonce: GcmNonce,
}

impl Drop for MessageKey {
    fn drop(&mut self) {
        wipe(&mut self.key);
    }
}

/// Doubling in GF(2^128) as CMAC defines it (NIST SP 800-38B section 6.1), without a branch on the secret.
const fn doubled(l: u128) -> u128 {
    (l << 1) ^ ((l >> 127) * 0x87)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The C2SP vectors give every intermediate value; the first has the top bit of L clear, the second set.
    #[test]
    fn intermediate_values_are_those_of_the_specification() {
        let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
        for (key, k1, kx) in [
            (
                [1; 32],
                "e531954aca063d5b8d9c47a47d4cc6f0",
                "c8612c9ed53fe43e8e005b828a1631a0bbcb6ab2f46514ec4f439fcfd0fa969b",
            ),
            (
                [3; 32],
                "23810ec50edb99f374409466ed1f4b7b",
                "e9c621d4cdd9b11b00a6427ad7e559aeedd66b3857646677748f8ca796cb3fd8",
            ),
        ] {
            let root = XaesKey::new(&key);
            assert_eq!(hex::encode(root.0.k1), k1);
            let message = root.derive(nonce);
            assert_eq!(hex::encode(message.key), kx);
            assert_eq!(message.nonce, GcmNonce::new(*b"MNOPQRSTUVWX"));
        }
    }
}
