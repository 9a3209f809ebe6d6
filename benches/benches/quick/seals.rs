//! What sealing costs beside the fastest plain AES-256-GCM with its key kept.

use crate::goals::{Goal, Row};
use kms_crypto::{Backend, XaesKey};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::hint::black_box;
use std::time::Instant;

const KEY: [u8; 32] = [1; 32];
const ROUNDS: usize = 15;
const STRETCHES: usize = 60;

/// One row for each size. The better of the two backends counts: which one seals is chosen by size.
pub(crate) fn rows() -> Vec<Row> {
    [(32, 2.8), (4_096, 0.95), (65_536, 0.5)]
        .map(|(size, goal)| Row::new(format!("XAES seal {size} B, time of ring's"), Goal::AtMost(goal), ratios(size)))
        .into()
}

/// One ratio for each round: of the shortest of many short stretches, which is what the machine can do undisturbed.
fn ratios(size: usize) -> Vec<f64> {
    let raw = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEY).unwrap());
    let root = XaesKey::new(&KEY);
    let mut buffer = vec![0x33; size];
    let times = (200_000 / (size + 400)).max(2);
    let round = |_| {
        let (mut plain, mut sealed) = (f64::MAX, f64::MAX);
        for _ in 0..STRETCHES {
            plain = plain.min(time(times, || {
                let nonce = Nonce::assume_unique_for_key([7; 12]);
                let _tag = black_box(raw.seal_in_place_separate_tag(nonce, Aad::empty(), &mut buffer).unwrap());
            }));
            for backend in Backend::ALL {
                sealed = sealed.min(time(times, || {
                    let _tag = black_box(root.seal(backend, &[7; 24], b"", &mut buffer).unwrap());
                }));
            }
        }
        sealed / plain
    };
    (0..ROUNDS).map(round).collect()
}

fn time(times: usize, mut what: impl FnMut()) -> f64 {
    let began = Instant::now();
    for _ in 0..times {
        what();
    }
    began.elapsed().as_secs_f64()
}
