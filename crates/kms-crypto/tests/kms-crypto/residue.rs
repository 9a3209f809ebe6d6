//! What was secret is gone from the process's memory once it has been dropped: the memory is searched for it.
#![cfg(target_os = "linux")]

use kms_crypto::{
    Backend, Ciphertext, EncryptionContext, Entropy, EntropyError, KeyMaterial, Keyring, MacKey, OsEntropy, RootKey,
    Secret, SecretBytes, TransferBinding, ZonePrivateKey,
};
use kms_types::{KeyId, MaterialVersion, Revision};
use std::collections::HashSet;
use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

/// Each step on its own: the next one would write over what the stack still holds of it.
#[test]
fn nothing_secret_stays_in_memory() {
    let steps: [(&str, Step); 11] = [
        ("make material", |entropy| drop(KeyMaterial::generate(entropy).unwrap())),
        ("seal with aes-gcm", |entropy| seal_and_open(Backend::AesGcm, entropy, false)),
        ("seal with ring", |entropy| seal_and_open(Backend::Ring, entropy, false)),
        ("open with aes-gcm", |entropy| seal_and_open(Backend::AesGcm, entropy, true)),
        ("open with ring", |entropy| seal_and_open(Backend::Ring, entropy, true)),
        ("check value", check_value),
        ("tag", tag),
        ("keyring and records", keyring_and_records),
        ("make a zone key", |entropy| drop(ZonePrivateKey::generate(entropy).unwrap().public_key())),
        ("seal a transfer", |entropy| transfer(entropy, false)),
        ("open a transfer", |entropy| transfer(entropy, true)),
    ];
    let mut left = Vec::new();
    for (name, step) in steps {
        let entropy = Recording::default();
        below(step, &entropy);
        let found = search(&entropy.secrets());
        assert!(!entropy.secrets().is_empty(), "{name}: no secret was made");
        if !found.is_empty() {
            left.push((name, found));
        }
    }
    assert!(left.is_empty(), "secrets still in memory, by step and number: {left:?}");
}

/// The search sees a secret where there is one, and the padded forms of it that HMAC uses.
#[test]
fn the_search_finds_what_is_there() {
    let entropy = Recording::default();
    let alive = Secret::<SECRET_LEN>::random(&entropy).unwrap();
    let padded: Vec<u8> =
        Secret::<SECRET_LEN>::random(&entropy).unwrap().expose().iter().map(|byte| byte ^ 0x5c).collect();
    let gone = Secret::<SECRET_LEN>::random(&entropy).unwrap();
    drop(gone);
    assert_eq!(search(&entropy.secrets()), HashSet::from([0, 1]));
    black_box((alive.expose(), &padded));
}

type Step = fn(&Recording);

/// Never inlined, so that all of the step has been dropped when it returns.
#[inline(never)]
fn below(step: Step, entropy: &Recording) {
    step(entropy);
}

fn seal_and_open(backend: Backend, entropy: &Recording, open: bool) {
    let material = KeyMaterial::generate(entropy).unwrap();
    let plaintext = SecretBytes::random(SECRET_LEN, entropy).unwrap();
    let none = EncryptionContext::None;
    let sealed = material.seal_with(backend, ID, MaterialVersion::FIRST, none, plaintext.expose(), entropy).unwrap();
    if open {
        let ciphertext = Ciphertext::parse(&sealed).unwrap();
        assert_eq!(material.open_with(backend, &ciphertext, none).unwrap().expose(), plaintext.expose());
    }
}

fn check_value(entropy: &Recording) {
    let material = KeyMaterial::generate(entropy).unwrap();
    assert_ne!(material.check_value(ID, MaterialVersion::FIRST).as_bytes(), &[0; 16]);
}

fn tag(entropy: &Recording) {
    let secret = Secret::<SECRET_LEN>::random(entropy).unwrap();
    let key = MacKey::new(secret.expose());
    assert!(key.verify(&[b"message"], &key.tag(&[b"message"])));
}

fn keyring_and_records(entropy: &Recording) {
    let root = RootKey::generate(entropy).unwrap();
    let mut keyring = Keyring::generate(entropy).unwrap();
    keyring.add_epoch(entropy).unwrap();
    let secret = SecretBytes::random(SECRET_LEN, entropy).unwrap();
    let record = keyring.seal_record("place", 1, secret.expose(), entropy).unwrap();
    let again = Keyring::unwrap(&root, &keyring.wrap(&root, entropy).unwrap()).unwrap();
    assert_eq!(again.open_record("place", 1, &record).unwrap().expose(), secret.expose());
}

fn transfer(entropy: &Recording, open: bool) {
    let key = ZonePrivateKey::generate(entropy).unwrap();
    let (origin, target) = ("a".parse().unwrap(), "b".parse().unwrap());
    let binding = TransferBinding { origin: &origin, target: &target, key: ID, revision: Revision::FIRST };
    let plaintext = SecretBytes::random(SECRET_LEN, entropy).unwrap();
    let sealed = key.public_key().seal(&binding, plaintext.expose(), entropy).unwrap();
    if open {
        assert_eq!(key.open(&binding, &sealed).unwrap().expose(), plaintext.expose());
    }
}

const ID: KeyId = KeyId::from_bytes([7; 16]);
const SECRET_LEN: usize = 32;
const MASK: u8 = 0xa5;

/// The system's randomness, with a masked copy kept of every secret it gave: whatever is 32 bytes long.
#[derive(Default)]
struct Recording(Mutex<Vec<[u8; SECRET_LEN]>>);

impl Recording {
    fn secrets(&self) -> Vec<[u8; SECRET_LEN]> {
        self.0.lock().unwrap().clone()
    }
}

impl Entropy for Recording {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        OsEntropy.fill(out)?;
        if out.len() == SECRET_LEN {
            let mut masked = [0; SECRET_LEN];
            for (masked, byte) in masked.iter_mut().zip(out) {
                *masked = *byte ^ MASK;
            }
            self.0.lock().map_err(|_| EntropyError)?.push(masked);
        }
        Ok(())
    }
}

/// The numbers of the secrets of which any half is found in writable memory, as it is or as HMAC pads it.
fn search(secrets: &[[u8; SECRET_LEN]]) -> HashSet<usize> {
    let needles: Vec<(usize, [u8; 16])> = secrets
        .iter()
        .enumerate()
        .flat_map(|(number, masked)| masked.as_chunks().0.iter().map(move |half| (number, *half)))
        .flat_map(|(number, half)| [0, 0x36, 0x5c].map(|pad| (number, half.map(|byte| byte ^ pad))))
        .collect();
    let mut begins = vec![false; 1 << 16];
    for (_, needle) in &needles {
        begins[usize::from(u16::from_be_bytes([needle[0] ^ MASK, needle[1] ^ MASK]))] = true;
    }
    let memory = File::open("/proc/self/mem").unwrap();
    let mut found = HashSet::new();
    let mut searched = 0;
    let mut buffer = vec![0; 1 << 20];
    for (start, end) in writable() {
        let mut at = start;
        while at < end {
            let len = usize::try_from(end - at).unwrap().min(buffer.len());
            // A mapping may vanish meanwhile: other tests run beside this one.
            let Ok(read) = memory.read_at(&mut buffer[..len], at) else { break };
            for window in buffer[..read].windows(16) {
                if begins[usize::from(u16::from_be_bytes([window[0], window[1]]))] {
                    let matching = needles.iter().filter(|(_, needle)| is_masked(needle, window));
                    found.extend(matching.map(|(number, _)| *number));
                }
            }
            searched += read;
            // Overlapping, so that nothing is cut in two.
            at += if read == buffer.len() { read - 15 } else { read.max(1) } as u64;
        }
    }
    assert!(searched > 1 << 20, "only {searched} bytes were searched");
    found
}

/// Compared byte by byte: the secret itself is never put together anywhere.
fn is_masked(masked: &[u8; 16], window: &[u8]) -> bool {
    masked.iter().zip(window).all(|(masked, byte)| masked ^ byte == MASK)
}

fn writable() -> Vec<(u64, u64)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let number = |text| u64::from_str_radix(text, 16).unwrap();
    maps.lines()
        .filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw")))
        .filter_map(|line| line.split(' ').next()?.split_once('-'))
        .map(|(start, end)| (number(start), number(end)))
        .collect()
}
