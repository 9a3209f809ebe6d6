//! Sealing and opening on every backend, beside `ring` with its key kept: the least that AES-256-GCM by a general library costs.
//!
//! ```text
//! cargo bench -p zonekms-benches --bench crypto
//! ```

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kms_crypto::{
    Backend, Ciphertext, EncryptionContext, Entropy, EntropyError, KeyMaterial, MacKey, OsEntropy, Secret, SecretBytes,
    XaesKey,
};
use kms_types::{KeyId, MaterialVersion};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::hint::black_box;
use zonekms_benches::seal_ratios::seal_ratios;

/// 1024 is the longest that is sealed in registers.
const SIZES: [usize; 5] = [32, 256, 1024, 4096, 65_536];
const CONTEXT: EncryptionContext<'static> = EncryptionContext::Bytes(&[0x44; 48]);
const KEY: [u8; 32] = [1; 32];
const KEY_ID: KeyId = KeyId::from_bytes([7; 16]);

/// Nonces at no cost, to measure the ciphers alone.
struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        out.fill(7);
        Ok(())
    }
}

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    let (raw, root, material) = (raw_key(), XaesKey::new(&KEY), KeyMaterial::from_bytes(&KEY));
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let mut buffer = vec![0x33; size];
        group.bench_function(BenchmarkId::new("ring, key kept", size), |bencher| {
            bencher.iter(|| raw.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut buffer));
        });
        for backend in Backend::all() {
            group.bench_function(BenchmarkId::new(format!("XAES in place, {backend:?}"), size), |bencher| {
                bencher.iter(|| root.seal(backend, &[7; 24], b"", &mut buffer));
            });
            group.bench_function(BenchmarkId::new(format!("ciphertext, {backend:?}"), size), |bencher| {
                bencher.iter(|| seal_message(&material, backend, &buffer, &Fixed));
            });
        }
        group.bench_function(BenchmarkId::new("ciphertext, nonces of the system", size), |bencher| {
            bencher.iter(|| seal_message(&material, Backend::fastest(size), &buffer, &OsEntropy));
        });
    }
    group.finish();
}

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    let (raw, material) = (raw_key(), KeyMaterial::from_bytes(&KEY));
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let plaintext = vec![0x33; size];
        let mut sealed = plaintext.clone();
        let tag = raw.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut sealed).expect("a short message");
        let mut buffer = sealed.clone();
        group.bench_function(BenchmarkId::new("ring, key kept, with a copy", size), |bencher| {
            bencher.iter(|| {
                buffer.copy_from_slice(&sealed);
                raw.open_in_place_separate_tag(nonce(), Aad::empty(), tag, &mut buffer, 0..).expect("just sealed");
            });
        });
        let sealed = seal_message(&material, Backend::fastest(size), &plaintext, &Fixed);
        for backend in Backend::all() {
            group.bench_function(BenchmarkId::new(format!("ciphertext, {backend:?}"), size), |bencher| {
                bencher.iter(|| {
                    let ciphertext = Ciphertext::parse(&sealed).expect("just sealed");
                    material.open_with(backend, &ciphertext, CONTEXT).expect("just sealed")
                });
            });
        }
    }
    group.finish();
}

/// The rows of the goals, measured in turns.
fn ratios(_: &mut Criterion) {
    for row in seal_ratios(41) {
        #[expect(clippy::print_stdout, reason = "the result of a bench")]
        {
            println!(
                "seal {:6} B: ours {:8.1} ns, ring with its key kept {:8.1} ns, ratio {:.2}; whole message {:8.1} ns",
                row.len,
                row.ours_ns,
                row.ring_ns,
                row.ratio(),
                row.message_ns
            );
        }
    }
}

fn nonces(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("24 random bytes");
    let mut bytes = [0; 24];
    group.bench_function("for a secret", |bencher| bencher.iter(|| OsEntropy.fill(black_box(&mut bytes))));
    group.bench_function("for a nonce", |bencher| bencher.iter(|| OsEntropy.fill_public(black_box(&mut bytes))));
    group.finish();
}

fn keys(criterion: &mut Criterion) {
    criterion.bench_function("prepare key material", |bencher| bencher.iter(|| KeyMaterial::from_bytes(&KEY)));
    let key = MacKey::new(&KEY);
    criterion.bench_function("HMAC-SHA-256 of 300 bytes", |bencher| bencher.iter(|| key.tag(&[&[7; 300]])));
}

fn wipe(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("make and drop a secret");
    for size in SIZES {
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| black_box(SecretBytes::zeroed(size)));
        });
    }
    group.bench_function("32, boxed", |bencher| bencher.iter(|| black_box(Secret::copy_from(&KEY))));
    group.finish();
}

fn seal_message(material: &KeyMaterial, backend: Backend, plaintext: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
    material
        .seal_with(backend, KEY_ID, MaterialVersion::FIRST, CONTEXT, plaintext, entropy)
        .expect("the source of randomness does not fail")
}

fn raw_key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEY).expect("32 bytes"))
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([7; 12])
}

criterion_group!(benches, ratios, seal, open, nonces, keys, wipe);
criterion_main!(benches);
