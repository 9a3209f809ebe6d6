//! What was secret is gone from the process's memory once it has been dropped: the memory is searched for it.
#![cfg(target_os = "linux")]

use aes::Aes256Enc;
use aes::cipher::KeyInit;
use kms_aesni::AesNi;
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
    let steps: [(&str, Step); 15] = [
        ("make material", |entropy| drop(KeyMaterial::generate(entropy).unwrap())),
        ("seal with aes-gcm", |entropy| seal_and_open(Backend::AesGcm, entropy, false)),
        ("seal with ring", |entropy| seal_and_open(Backend::Ring, entropy, false)),
        ("seal with aws-lc", |entropy| seal_and_open(Backend::AwsLc, entropy, false)),
        ("seal as usual", |entropy| seal_and_open(Backend::fastest(SECRET_LEN), entropy, false)),
        ("open with aes-gcm", |entropy| seal_and_open(Backend::AesGcm, entropy, true)),
        ("open with ring", |entropy| seal_and_open(Backend::Ring, entropy, true)),
        ("open with aws-lc", |entropy| seal_and_open(Backend::AwsLc, entropy, true)),
        ("open as usual", |entropy| seal_and_open(Backend::fastest(SECRET_LEN), entropy, true)),
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

/// Neither the key of a message nor any round key of it, its hash key, nor the material's key or what it is expanded into.
#[test]
fn no_message_key_stays_in_memory() {
    let mut left = Vec::new();
    for backend in Backend::all() {
        for len in [0, 32, 1000, 5000] {
            for open in [false, true] {
                let _alone = ONE_AT_A_TIME.lock().unwrap();
                scrub();
                below_message(backend, len, open);
                let found = search(&SCHEDULES);
                if !found.is_empty() {
                    left.push((backend, len, open, found));
                }
            }
        }
    }
    assert!(left.is_empty(), "by backend, length, open, and number: {left:?}");
}

/// What is searched for is what it is said to be: while the material is there, its key and its subkey are found and nothing of
/// its key schedule; the schedules are, while a library holds them.
#[test]
fn the_search_finds_what_was_prepared_and_what_a_library_expanded() {
    let _alone = ONE_AT_A_TIME.lock().unwrap();
    scrub();
    let material = material();
    assert_eq!(search(&SCHEDULES), HashSet::from([4, 5]));
    let found = below_schedules(&material);
    scrub();
    // Without AES instructions the library keeps its round keys in another form.
    let expected = if AesNi::detect().is_some() { HashSet::from([0, 1, 2, 3, 4, 5]) } else { HashSet::from([0, 4, 5]) };
    assert_eq!(found, expected);
}

#[inline(never)]
fn below_schedules(material: &KeyMaterial) -> HashSet<usize> {
    let message_key = unmasked(&SCHEDULES[0]);
    let keys = [material.expose_secret(), message_key.expose()];
    let schedules = Box::new(keys.map(|key| Aes256Enc::new(key.into())));
    let found = search(&SCHEDULES);
    black_box(&schedules);
    found
}

/// The material of these tests.
fn material() -> KeyMaterial {
    KeyMaterial::from_secret(unmasked(&SCHEDULES[5]))
}

/// Written where it stays.
fn unmasked(masked: &[u8; SECRET_LEN]) -> Secret<SECRET_LEN> {
    let unmask = |bytes: &mut [u8; SECRET_LEN]| -> Result<(), EntropyError> {
        for (byte, masked) in bytes.iter_mut().zip(masked) {
            *byte = masked ^ MASK;
        }
        Ok(())
    };
    Secret::fill_with(unmask).unwrap()
}

/// What a message under this test's material and nonce leads to, masked. Computed with another implementation of AES.
const SCHEDULES: [[u8; SECRET_LEN]; 6] = [
    // The message's key.
    masked(0x704f_703e_1dc7_4ac2_50c9_9f17_0b10_0e73, 0x5fc0_35a8_3c23_f0fa_073b_364c_c4d7_6ad0),
    // Its round keys 2 and 7.
    masked(0x7f4d_0022_628a_4ae0_3243_d5f7_3953_db84, 0xd0de_8147_882d_d7f9_a6eb_cb06_3acf_f768),
    // Its last round key; the hash key.
    masked(0x0665_00ad_1d6e_94a3_d97b_5121_4b08_8edc, 0x710a_7868_971f_52de_117b_9860_3340_4640),
    // Round keys 2 and 7 of the material.
    masked(0x84f9_0d1d_502c_dbca_88f5_0111_5428_dfce, 0x7ad8_6f70_5746_1f9f_b601_1f14_7772_8114),
    // Its last round key; its CMAC subkey.
    masked(0xea4e_c296_3a15_0a6e_5cd6_5ef9_185c_b22b, 0xf062_1b80_19f4_388d_a8bf_e8b1_6bff_ebcb),
    // Its key.
    masked(0xd0d1_d2d3_d4d5_d6d7_d8d9_dadb_dcdd_dedf, 0xe0e1_e2e3_e4e5_e6e7_e8e9_eaeb_eced_eeef),
];

const fn masked(first: u128, second: u128) -> [u8; SECRET_LEN] {
    let mask = u128::from_be_bytes([MASK; 16]);
    let halves = [(first ^ mask).to_be_bytes(), (second ^ mask).to_be_bytes()];
    let mut bytes = [0; SECRET_LEN];
    let mut at = 0;
    while at < SECRET_LEN {
        bytes[at] = halves[at / 16][at % 16];
        at += 1;
    }
    bytes
}

/// Those two tests use the same material, and would find each other's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[inline(never)]
fn below_message(backend: Backend, len: usize, open: bool) {
    let material = material();
    let (plaintext, none) = (vec![3; len], EncryptionContext::None);
    let sealed = material.seal_with(backend, ID, MaterialVersion::FIRST, none, &plaintext, &OneNonce).unwrap();
    if open {
        let opened = material.open_with(backend, &Ciphertext::parse(&sealed).unwrap(), none).unwrap();
        assert_eq!(opened.expose(), plaintext);
    }
}

/// What one step left must not be laid to the next one's charge.
#[inline(never)]
fn scrub() {
    black_box([0_u8; 262_144]);
}

/// The nonce of the message.
struct OneNonce;

impl Entropy for OneNonce {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        out.copy_from_slice(b"a nonce used here alone!");
        Ok(())
    }
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
