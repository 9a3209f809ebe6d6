//! GHASH (SP 800-38D section 6.4), computed as POLYVAL (RFC 8452): the same sum of products in the field of 2^128 elements, with
//! the bytes of every block reversed so that the order of bits suits the processor.
//!
//! Products are taken as in "Efficient GHASH Implementation Using CLMUL" (IACR 2025/2171): with D = swap(H) ^ H0 * P, where P
//! stands for the field's polynomial, a product is the reduction of R = M0*D1 ^ M1*H1 and F = M0*D0 ^ M1*H0. Four products share one
//! reduction.

use crate::rounds::{from_slice, from_u128, to_u128};
use std::arch::x86_64::{
    __m128i, _mm_clmulepi64_si128, _mm_set_epi8, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_slli_si128, _mm_srli_si128,
    _mm_xor_si128,
};

/// The hash of what was given so far, under one key.
pub(crate) struct Ghash {
    /// The powers 1 to 4 of the key.
    powers: [Factor; 4],
    sum: __m128i,
}

#[derive(Clone, Copy)]
struct Factor {
    h: __m128i,
    d: __m128i,
}

/// A product not yet reduced.
#[derive(Clone, Copy)]
struct Wide {
    r: __m128i,
    f: __m128i,
}

impl Ghash {
    /// The hash under `key`, the encryption of a block of zeros.
    #[inline]
    #[target_feature(enable = "avx,pclmulqdq")]
    pub(crate) fn new(key: __m128i) -> Self {
        let reversed = to_u128(reverse(key));
        // Times x, which turns POLYVAL into GHASH (RFC 8452 appendix A); without a branch on the secret.
        let h = from_u128((reversed << 1) ^ ((reversed >> 127) * POLYNOMIAL));
        let first = Factor::new(h);
        let second = Factor::new(first.times(h).reduced());
        let third = Factor::new(first.times(second.h).reduced());
        let fourth = Factor::new(second.times(second.h).reduced());
        Self { powers: [first, second, third, fourth], sum: from_u128(0) }
    }

    /// Takes in `bytes`, the last block filled up with zeros.
    #[inline]
    #[target_feature(enable = "avx,pclmulqdq")]
    pub(crate) fn update_padded(&mut self, bytes: &[u8]) {
        let (fours, rest) = bytes.as_chunks::<64>();
        for four in fours {
            let mut wide = Wide::zero();
            for (number, block) in four.as_chunks::<16>().0.iter().enumerate() {
                let mut block = reverse(from_slice(block));
                if number == 0 {
                    block = _mm_xor_si128(block, self.sum);
                }
                wide = wide.plus(self.powers[3 - number].times(block));
            }
            self.sum = wide.reduced();
        }
        let blocks = rest.len().div_ceil(16);
        if blocks > 0 {
            let mut wide = Wide::zero();
            for (number, block) in rest.chunks(16).enumerate() {
                let mut block = reverse(from_slice(block));
                if number == 0 {
                    block = _mm_xor_si128(block, self.sum);
                }
                wide = wide.plus(self.powers[blocks - 1 - number].times(block));
            }
            self.sum = wide.reduced();
        }
    }

    /// The hash of all that was taken in and, last, of the two lengths in bytes.
    #[inline]
    #[target_feature(enable = "avx,pclmulqdq")]
    pub(crate) fn finish(self, associated_data_len: usize, ciphertext_len: usize) -> __m128i {
        // In a reversed block the second length comes first.
        let lengths = ((associated_data_len as u128 * 8) << 64) | (ciphertext_len as u128 * 8);
        reverse(self.powers[0].times(_mm_xor_si128(self.sum, from_u128(lengths))).reduced())
    }
}

impl Factor {
    #[inline]
    #[target_feature(enable = "avx,pclmulqdq")]
    fn new(h: __m128i) -> Self {
        let p = from_u128(POLYNOMIAL_HIGH << 64);
        let d = _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(h), _mm_clmulepi64_si128::<0x10>(h, p));
        Self { h, d }
    }

    #[inline]
    #[target_feature(enable = "avx,pclmulqdq")]
    fn times(self, m: __m128i) -> Wide {
        let r = _mm_xor_si128(_mm_clmulepi64_si128::<0x10>(m, self.d), _mm_clmulepi64_si128::<0x11>(m, self.h));
        let f = _mm_xor_si128(_mm_clmulepi64_si128::<0x00>(m, self.d), _mm_clmulepi64_si128::<0x01>(m, self.h));
        Wide { r, f }
    }
}

impl Wide {
    #[inline]
    #[target_feature(enable = "avx")]
    fn zero() -> Self {
        Self { r: from_u128(0), f: from_u128(0) }
    }

    #[inline]
    #[target_feature(enable = "avx")]
    fn plus(self, other: Self) -> Self {
        Self { r: _mm_xor_si128(self.r, other.r), f: _mm_xor_si128(self.f, other.f) }
    }

    #[inline]
    #[target_feature(enable = "avx,pclmulqdq")]
    fn reduced(self) -> __m128i {
        let p = from_u128(POLYNOMIAL_HIGH);
        let shifted = _mm_xor_si128(_mm_srli_si128::<8>(self.f), _mm_slli_si128::<8>(self.f));
        _mm_xor_si128(_mm_xor_si128(self.r, shifted), _mm_clmulepi64_si128::<0x00>(self.f, p))
    }
}

#[inline]
#[target_feature(enable = "avx")]
fn reverse(block: __m128i) -> __m128i {
    _mm_shuffle_epi8(block, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
}

/// x^128 + x^127 + x^126 + x^121 + 1 without its highest term.
const POLYNOMIAL: u128 = (POLYNOMIAL_HIGH << 64) | 1;
const POLYNOMIAL_HIGH: u128 = 0xc200_0000_0000_0000;
