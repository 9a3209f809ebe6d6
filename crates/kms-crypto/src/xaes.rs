//! XAES-256-GCM (C2SP): AES-256-GCM with a 24-byte nonce and a fresh AES key for every message.
//!
//! The first 12 bytes of the nonce derive the message's key from the root, by the counter-mode KDF of NIST SP 800-108 with
//! CMAC-AES256 as its function; the last 12 are the GCM nonce. See <https://c2sp.org/XAES-256-GCM>.

use crate::aead::{AeadError, Backend, GcmNonce, GcmTag};
use crate::arena::Slot;
use crate::secret::wipe;
use crate::stack::{with_stack_wiped_after, with_wiped_stack};
use aes::Aes256Enc;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use kms_aesni::AesNi;

/// Length of an XAES nonce in bytes.
pub const XAES_NONCE_LEN: usize = 24;

/// A 32-byte XAES root, ready for use: the key and the CMAC subkey K1, in one cache line of locked memory, and wiped when dropped.
///
/// The AES key schedule is made anew for every message: with AES instructions that takes less time than to fetch it from memory
/// that no cache holds (ADR 0022).
pub struct XaesKey(Slot);

impl XaesKey {
    /// Prepares a copy of the root `key`, which is the caller's to wipe.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let mut root = Self(Slot::new());
        root.key_mut().copy_from_slice(key);
        root.prepare();
        root
    }

    /// Prepares the root that `fill` writes where it will stay.
    ///
    /// # Errors
    ///
    /// The error of `fill`; what it had written is wiped.
    pub(crate) fn fill_with<E>(fill: impl FnOnce(&mut [u8; 32]) -> Result<(), E>) -> Result<Self, E> {
        let mut root = Self(Slot::new());
        fill(root.key_mut())?;
        root.prepare();
        Ok(root)
    }

    /// The root key itself.
    pub(crate) fn expose_key(&self) -> &[u8; 32] {
        self.0.bytes().first_chunk().expect("a slot is longer than a key")
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
        with_stack_wiped_after(backend, || {
            let message = self.derive(nonce);
            backend.seal(message.key(), message.nonce, associated_data, buffer)
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
        with_stack_wiped_after(backend, || {
            let message = self.derive(nonce);
            backend.open(message.key(), message.nonce, associated_data, buffer, tag)
        })
    }

    fn key_mut(&mut self) -> &mut [u8; 32] {
        self.0.bytes_mut().first_chunk_mut().expect("a slot is longer than a key")
    }

    /// Makes the subkey of the key in the slot.
    fn prepare(&mut self) {
        with_wiped_stack(|| {
            // K1 is the doubled encryption of zero (NIST SP 800-38B section 6.1).
            let mut blocks = [[0; 16]; 2];
            self.encrypt(&mut blocks);
            let mut k1 = doubled(u128::from_be_bytes(blocks[0])).to_be_bytes();
            self.k1_mut().copy_from_slice(&k1);
            wipe(&mut k1);
            wipe(blocks.as_flattened_mut());
        });
    }

    /// Kx = CMAC(K, M1) || CMAC(K, M2), where Mi = 00 i 58 00 || N[..12]. Mi is one whole block, so its CMAC is a single
    /// block encryption of Mi ^ K1.
    fn derive(&self, nonce: &[u8; XAES_NONCE_LEN]) -> MessageKey {
        // Put together as numbers: bytes written singly and read as a block at once would have to wait for each other.
        let mut prefix = [0; 16];
        prefix[..12].copy_from_slice(&nonce[..12]);
        let masked_prefix = (u128::from_le_bytes(prefix) << 32) ^ u128::from_le_bytes(*self.k1());
        let mut message = MessageKey {
            blocks: [1, 2]
                .map(|counter| (masked_prefix ^ u128::from(u32::from_le_bytes([0, counter, b'X', 0]))).to_le_bytes()),
            nonce: GcmNonce::new([0; 12]),
        };
        self.encrypt(&mut message.blocks);
        let mut gcm_nonce = [0; 12];
        gcm_nonce.copy_from_slice(&nonce[12..]);
        message.nonce = GcmNonce::new(gcm_nonce);
        message
    }

    fn encrypt(&self, blocks: &mut [[u8; 16]; 2]) {
        if let Some(cpu) = AesNi::detect() {
            cpu.encrypt_blocks(self.expose_key(), blocks);
        } else {
            // Its round keys lie on the stack, deeper than some backends' own wiping goes.
            with_wiped_stack(|| encrypt_with_aes(self.expose_key(), blocks));
        }
    }

    fn k1(&self) -> &[u8; 16] {
        self.0.bytes()[KEY_LEN..].first_chunk().expect("a slot is longer than a key and a block")
    }

    fn k1_mut(&mut self) -> &mut [u8; 16] {
        self.0.bytes_mut()[KEY_LEN..].first_chunk_mut().expect("a slot is longer than a key and a block")
    }
}

/// For processors without AES instructions.
fn encrypt_with_aes(key: &[u8; 32], blocks: &mut [[u8; 16]; 2]) {
    let cipher = Aes256Enc::new(key.into());
    for block in blocks {
        cipher.encrypt_block(Array::cast_from_core_mut(block));
    }
}

/// Length of a root in bytes. The subkey follows it.
const KEY_LEN: usize = 32;

/// A slot has room for both.
const _: () = assert!(KEY_LEN + 16 <= crate::arena::SLOT_LEN);

/// The key, as the two blocks that were derived, and the nonce of one message.
struct MessageKey {
    blocks: [[u8; 16]; 2],
    nonce: GcmNonce,
}

impl MessageKey {
    fn key(&self) -> &[u8; 32] {
        self.blocks.as_flattened().first_chunk().expect("two blocks are 32 bytes")
    }
}

impl Drop for MessageKey {
    fn drop(&mut self) {
        wipe(self.blocks.as_flattened_mut());
    }
}

/// Doubling in GF(2^128) as CMAC defines it (NIST SP 800-38B section 6.1), without a branch on the secret.
const fn doubled(l: u128) -> u128 {
    (l << 1) ^ ((l >> 127) * 0x87)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So that what no processor of a test machine may need is right all the same.
    #[test]
    fn processors_without_aes_instructions_derive_the_same() {
        let root = XaesKey::new(&[9; 32]);
        let blocks = [[1; 16], [2; 16]];
        let (mut prepared, mut from_the_key) = (blocks, blocks);
        root.encrypt(&mut prepared);
        encrypt_with_aes(root.expose_key(), &mut from_the_key);
        assert_ne!(prepared, blocks);
        assert_eq!(prepared, from_the_key);
    }

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
            assert_eq!(hex::encode(root.k1()), k1);
            let message = root.derive(nonce);
            assert_eq!(hex::encode(message.key()), kx);
            assert_eq!(message.nonce, GcmNonce::new(*b"MNOPQRSTUVWX"));
        }
    }
}
