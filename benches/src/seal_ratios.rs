//! How long sealing takes beside `ring` with its key kept, the least that AES-256-GCM by a general library costs here.
//!
//! All are measured in turns in one process, so that their ratios say something on a machine that has other work too.

use kms_crypto::{Backend, EncryptionContext, KeyMaterial, OsEntropy, XaesKey};
use kms_types::{KeyId, MaterialVersion};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::hint::black_box;
use std::time::Instant;

/// Plaintexts of so many bytes are sealed.
pub const LENGTHS: [usize; 3] = [32, 4096, 65_536];

/// Medians over all rounds, in nanoseconds per call.
#[derive(Clone, Copy, Debug)]
pub struct SealRatio {
    /// Bytes of plaintext.
    pub len: usize,
    /// XAES-256-GCM in place with the backend of production: derivation, key set-up, sealing and wiping. The nonce is given, there is
    /// no associated data.
    pub ours_ns: f64,
    /// The same by `KeyMaterial::seal`: a nonce from [`OsEntropy`], header, a context of 48 bytes, and a new buffer.
    pub message_ns: f64,
    /// AES-256-GCM in place by `ring`, its key set up beforehand. The nonce is given, there is no associated data.
    pub ring_ns: f64,
}

impl SealRatio {
    /// What the goals for sealing are stated in: our time over ring's.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.ours_ns / self.ring_ns
    }
}

/// Measures each of [`LENGTHS`] in `rounds` rounds (at least one) of about a millisecond each.
///
/// # Panics
///
/// When the operating system gives no random bytes.
#[must_use]
pub fn seal_ratios(rounds: usize) -> Vec<SealRatio> {
    let ring = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEY).expect("a key of 32 bytes"));
    let (root, material) = (XaesKey::new(&KEY), KeyMaterial::from_bytes(&KEY));
    LENGTHS
        .into_iter()
        .map(|len| {
            let mut buffer = vec![0x33; len];
            // About as many calls as take 300 µs.
            let calls = (1_000_000 / (len + 1000)).max(20);
            let (mut ours, mut message, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..rounds.max(1) {
                theirs.push(time(calls, || {
                    let nonce = Nonce::assume_unique_for_key(black_box([7; 12]));
                    let tag = ring.seal_in_place_separate_tag(nonce, Aad::empty(), &mut buffer);
                    black_box(tag.is_ok())
                }));
                ours.push(time(calls, || {
                    let tag = root.seal(Backend::fastest(len), black_box(&[7; 24]), b"", &mut buffer);
                    black_box(tag.is_ok())
                }));
                message.push(time(calls, || {
                    let context = EncryptionContext::Bytes(&[0x44; 48]);
                    let sealed = material.seal(KEY_ID, MaterialVersion::FIRST, context, black_box(&buffer), &OsEntropy);
                    black_box(sealed.expect("the operating system gives random bytes").len()) > 0
                }));
            }
            SealRatio { len, ours_ns: median(ours), message_ns: median(message), ring_ns: median(theirs) }
        })
        .collect()
}

/// Nanoseconds per call; every call must say that it succeeded.
#[expect(clippy::disallowed_methods, reason = "a clock is what a measurement is made with")]
fn time(calls: usize, mut call: impl FnMut() -> bool) -> f64 {
    let start = Instant::now();
    let succeeded = (0..calls).filter(|_| call()).count();
    let elapsed = start.elapsed();
    assert_eq!(succeeded, calls, "a seal failed");
    elapsed.as_secs_f64() * 1e9 / calls as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

const KEY: [u8; 32] = [1; 32];
const KEY_ID: KeyId = KeyId::from_bytes([7; 16]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_measured() {
        let ratios = seal_ratios(1);
        assert_eq!(ratios.iter().map(|ratio| ratio.len).collect::<Vec<_>>(), LENGTHS);
        assert!(ratios.iter().all(|ratio| ratio.ours_ns > 0.0 && ratio.message_ns > 0.0 && ratio.ring_ns > 0.0));
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]).to_bits(), 5.0_f64.to_bits());
    }
}
