//! GCM (SP 800-38D section 7) around the block cipher and the hash.

use crate::TagMismatch;
use crate::ghash::Ghash;
use crate::rounds::{RoundKeys, encrypt, expand, from_slice, from_u128, to_bytes};
use std::arch::x86_64::{__m128i, _mm_testz_si128, _mm_xor_si128};

#[target_feature(enable = "aes,avx,pclmulqdq")]
pub(crate) fn seal(key: &[u8; 32], nonce: &[u8; 12], associated_data: &[u8], buffer: &mut [u8]) -> [u8; 16] {
    let cipher = Cipher::new(key, nonce);
    cipher.apply(buffer);
    to_bytes(cipher.tag(associated_data, buffer))
}

#[target_feature(enable = "aes,avx,pclmulqdq")]
pub(crate) fn open(
    key: &[u8; 32],
    nonce: &[u8; 12],
    associated_data: &[u8],
    buffer: &mut [u8],
    tag: &[u8; 16],
) -> Result<(), TagMismatch> {
    let cipher = Cipher::new(key, nonce);
    let difference = _mm_xor_si128(cipher.tag(associated_data, buffer), from_slice(tag));
    // All sixteen bytes at once, so the time says nothing about where they differ.
    if _mm_testz_si128(difference, difference) != 1 {
        return Err(TagMismatch);
    }
    cipher.apply(buffer);
    Ok(())
}

/// What follows from key and nonce alone.
struct Cipher {
    keys: RoundKeys,
    /// The nonce with a counter of zero.
    counter_zero: u128,
    hash_key: __m128i,
    tag_mask: __m128i,
    /// The first blocks of key stream, made together with those two: four blocks take the processor as long as two do.
    first: [__m128i; 2],
}

/// Blocks of key stream made side by side after those.
const STRIDE: usize = 8;

impl Cipher {
    #[inline]
    #[target_feature(enable = "aes,avx")]
    fn new(key: &[u8; 32], nonce: &[u8; 12]) -> Self {
        let keys = expand(key);
        let mut block = [0; 16];
        block[..12].copy_from_slice(nonce);
        let counter_zero = u128::from_be_bytes(block);
        let [hash_key, tag_mask, first, second] = encrypt(
            &keys,
            [
                from_u128(0),
                counter_block(counter_zero, 1),
                counter_block(counter_zero, 2),
                counter_block(counter_zero, 3),
            ],
        );
        Self { keys, counter_zero, hash_key, tag_mask, first: [first, second] }
    }

    /// Encrypts or decrypts: xors the key stream onto `buffer`.
    #[inline]
    #[target_feature(enable = "aes,avx")]
    fn apply(&self, buffer: &mut [u8]) {
        let (head, tail) = buffer.split_at_mut(buffer.len().min(16 * self.first.len()));
        xor(head, &self.first);
        // 1 masks the tag, 2 and 3 were the first two blocks.
        let mut counter = 4;
        for stretch in tail.chunks_mut(16 * STRIDE) {
            let mut stream = [from_u128(0); STRIDE];
            for block in &mut stream {
                *block = counter_block(self.counter_zero, counter);
                counter = counter.wrapping_add(1);
            }
            xor(stretch, &encrypt(&self.keys, stream));
        }
    }

    #[inline]
    #[target_feature(enable = "avx,pclmulqdq")]
    fn tag(&self, associated_data: &[u8], ciphertext: &[u8]) -> __m128i {
        let mut hash = Ghash::new(self.hash_key);
        hash.update_padded(associated_data);
        hash.update_padded(ciphertext);
        _mm_xor_si128(hash.finish(associated_data.len(), ciphertext.len()), self.tag_mask)
    }
}

#[inline]
#[target_feature(enable = "avx")]
fn counter_block(counter_zero: u128, counter: u32) -> __m128i {
    from_u128((counter_zero | u128::from(counter)).swap_bytes())
}

/// At most as many bytes as `stream` has.
#[inline]
#[target_feature(enable = "avx")]
fn xor(bytes: &mut [u8], stream: &[__m128i]) {
    let (blocks, rest) = bytes.as_chunks_mut::<16>();
    for (block, mask) in blocks.iter_mut().zip(stream) {
        *block = to_bytes(_mm_xor_si128(from_slice(block), *mask));
    }
    if let Some(mask) = stream.get(blocks.len()) {
        for (byte, mask) in rest.iter_mut().zip(to_bytes(*mask)) {
            *byte ^= mask;
        }
    }
}
