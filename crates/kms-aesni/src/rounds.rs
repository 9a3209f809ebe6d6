//! AES-256 (FIPS 197): the key schedule, and blocks encrypted side by side.

use std::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aeskeygenassist_si128, _mm_cvtsi128_si64, _mm_extract_epi64,
    _mm_set_epi64x, _mm_shuffle_epi32, _mm_slli_si128, _mm_xor_si128,
};

/// Fifteen round keys.
pub(crate) type RoundKeys = [__m128i; 15];

/// The key schedule of `key` (FIPS 197 section 5.2), in registers as far as there are enough.
#[inline]
#[target_feature(enable = "aes,avx")]
pub(crate) fn expand(key: &[u8; 32]) -> RoundKeys {
    let (low, high) = (from_slice(&key[..16]), from_slice(&key[16..]));
    let mut keys = [low; 15];
    keys[1] = high;
    // Each pair of round keys comes from the pair before; only the round constant differs, and it must be known when compiling.
    (keys[2], keys[3]) = next_pair::<0x01>(keys[0], keys[1]);
    (keys[4], keys[5]) = next_pair::<0x02>(keys[2], keys[3]);
    (keys[6], keys[7]) = next_pair::<0x04>(keys[4], keys[5]);
    (keys[8], keys[9]) = next_pair::<0x08>(keys[6], keys[7]);
    (keys[10], keys[11]) = next_pair::<0x10>(keys[8], keys[9]);
    (keys[12], keys[13]) = next_pair::<0x20>(keys[10], keys[11]);
    keys[14] = next_even::<0x40>(keys[12], keys[13]);
    keys
}

/// Two blocks under a key that was not expanded before: each round key is made while the rounds before it are at work.
#[target_feature(enable = "aes,avx")]
pub(crate) fn encrypt_two(key: &[u8; 32], blocks: &mut [[u8; 16]; 2]) {
    let encrypted = encrypt(&expand(key), [from_bytes(&blocks[0]), from_bytes(&blocks[1])]);
    *blocks = [to_bytes(encrypted[0]), to_bytes(encrypted[1])];
}

/// `N` blocks encrypted side by side: the processor works on several while each waits for its next round.
#[inline]
#[target_feature(enable = "aes,avx")]
pub(crate) fn encrypt<const N: usize>(keys: &RoundKeys, mut blocks: [__m128i; N]) -> [__m128i; N] {
    for block in &mut blocks {
        *block = _mm_xor_si128(*block, keys[0]);
    }
    for key in &keys[1..14] {
        for block in &mut blocks {
            *block = _mm_aesenc_si128(*block, *key);
        }
    }
    for block in &mut blocks {
        *block = _mm_aesenclast_si128(*block, keys[14]);
    }
    blocks
}

#[inline]
#[target_feature(enable = "aes,avx")]
fn next_pair<const ROUND_CONSTANT: i32>(even: __m128i, odd: __m128i) -> (__m128i, __m128i) {
    let next_even = next_even::<ROUND_CONSTANT>(even, odd);
    // SubWord without rotation and round constant, in the middle of each pair.
    let substituted = _mm_shuffle_epi32::<0xaa>(_mm_aeskeygenassist_si128::<0>(next_even));
    (next_even, _mm_xor_si128(prefix_xor(odd), substituted))
}

#[inline]
#[target_feature(enable = "aes,avx")]
fn next_even<const ROUND_CONSTANT: i32>(even: __m128i, odd: __m128i) -> __m128i {
    let substituted = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<ROUND_CONSTANT>(odd));
    _mm_xor_si128(prefix_xor(even), substituted)
}

/// Each word xored with all words before it.
#[inline]
#[target_feature(enable = "avx")]
fn prefix_xor(words: __m128i) -> __m128i {
    let words = _mm_xor_si128(words, _mm_slli_si128::<4>(words));
    _mm_xor_si128(words, _mm_slli_si128::<8>(words))
}

#[inline]
#[target_feature(enable = "avx")]
pub(crate) fn from_bytes(bytes: &[u8; 16]) -> __m128i {
    let bytes = u128::from_le_bytes(*bytes);
    from_u128(bytes)
}

#[inline]
#[target_feature(enable = "avx")]
#[expect(clippy::cast_possible_truncation, reason = "the two halves, bit for bit")]
pub(crate) fn from_u128(number: u128) -> __m128i {
    _mm_set_epi64x((number >> 64) as i64, number as i64)
}

#[inline]
#[target_feature(enable = "avx")]
#[expect(clippy::cast_sign_loss, reason = "the two halves, bit for bit")]
pub(crate) fn to_u128(register: __m128i) -> u128 {
    let high = u128::from(_mm_extract_epi64::<1>(register) as u64);
    (high << 64) | u128::from(_mm_cvtsi128_si64(register) as u64)
}

#[inline]
#[target_feature(enable = "avx")]
pub(crate) fn to_bytes(register: __m128i) -> [u8; 16] {
    to_u128(register).to_le_bytes()
}

/// At most 16 bytes, with zeros after them.
#[inline]
#[target_feature(enable = "avx")]
pub(crate) fn from_slice(bytes: &[u8]) -> __m128i {
    let mut padded = [0; 16];
    padded[..bytes.len()].copy_from_slice(bytes);
    from_bytes(&padded)
}
