//! The published test vectors in `vectors/`, on both backends. The folders are walked: a new file is a new test.

use flate2::read::GzDecoder;
use kms_crypto::{Backend, GcmNonce, GcmTag, MacKey, WrongLength, XaesKey};
use serde::Deserialize;
use shake::Shake128;
use shake::digest::{ExtendableOutput, Update, XofReader};
use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The test of `rfc9180` is in `src/transfer.rs`: what it tests is not public.
#[test]
fn every_folder_has_its_test() {
    let root = Path::new(ROOT);
    let mut folders: Vec<_> = entries(root).into_iter().filter(|path| path.is_dir()).collect();
    folders.sort();
    assert_eq!(folders, ["c2sp-xaes", "nist-cavp-gcm", "rfc9180", "wycheproof"].map(|name| root.join(name)));
}

#[test]
fn c2sp_xaes() {
    for file in files("c2sp-xaes", ".json") {
        let vectors: XaesFile = read_json(&file);
        assert!(!vectors.tests.is_empty(), "{} has no tests", file.display());
        for (number, test) in vectors.tests.iter().enumerate() {
            let (key, nonce) = (array(&test.key), array(&test.nonce));
            let (associated_data, plaintext) = (bytes(&test.associated_data), bytes(&test.plaintext));
            let root = XaesKey::new(&key);
            for backend in Backend::all() {
                let mut buffer = plaintext.clone();
                let tag = root.seal(backend, &nonce, &associated_data, &mut buffer).unwrap();
                assert_eq!(
                    hex::encode([&buffer[..], tag.as_bytes()].concat()),
                    test.ciphertext,
                    "{number} {backend:?}"
                );
                root.open(backend, &nonce, &associated_data, &mut buffer, &tag).unwrap();
                assert_eq!(buffer, plaintext, "{number} {backend:?}");
            }
        }
        assert_eq!(accumulated(10_000), vectors.accumulated["10000"]);
    }
}

#[test]
#[ignore = "slow unless optimised; run: cargo test --release -p kms-crypto -- --ignored accumulated"]
fn c2sp_xaes_accumulated_over_a_million() {
    for file in files("c2sp-xaes", ".json") {
        let vectors: XaesFile = read_json(&file);
        assert_eq!(accumulated(1_000_000), vectors.accumulated["1000000"]);
    }
}

#[test]
fn nist_cavp_gcm_of_our_lengths() {
    for file in files("nist-cavp-gcm", ".json") {
        let vectors: CavpFile = read_json(&file);
        assert_eq!((vectors.tests.len(), vectors.tests.is_empty()), (vectors.count, false), "{}", file.display());
        for test in &vectors.tests {
            let plaintext = test.plaintext.as_deref().filter(|_| test.result == "PASS").map(bytes);
            let case = GcmCase {
                key: bytes(&test.key),
                nonce: bytes(&test.nonce),
                associated_data: bytes(&test.associated_data),
                ciphertext: bytes(&test.ciphertext),
                tag: bytes(&test.tag),
                plaintext,
            };
            assert_eq!(case.run(), Ok(()), "{}", file.display());
        }
    }
}

/// The whole files hold 21 pairs of nonce and tag length with 375 records each. Only one pair is ours.
#[test]
fn nist_cavp_gcm_of_every_length() {
    for file in files("nist-cavp-gcm", ".rsp.gz") {
        let mut text = String::new();
        GzDecoder::new(fs::File::open(&file).unwrap()).read_to_string(&mut text).unwrap();
        let (mut run, mut refused) = (0, 0);
        for record in
            text.split("\n\n").flat_map(|part| part.split("\r\n\r\n")).filter(|part| part.contains("Count = "))
        {
            let fields: HashMap<&str, &str> =
                record.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.trim(), v.trim())).collect();
            let failure = record.lines().any(|line| line.trim() == "FAIL");
            let case = GcmCase {
                key: bytes(fields["Key"]),
                nonce: bytes(fields["IV"]),
                associated_data: bytes(fields["AAD"]),
                ciphertext: bytes(fields["CT"]),
                tag: bytes(fields["Tag"]),
                plaintext: (!failure).then(|| bytes(fields["PT"])),
            };
            let ours = case.nonce.len() == 12 && case.tag.len() == 16;
            match case.run() {
                Ok(()) => {
                    assert!(ours);
                    run += 1;
                }
                Err(WrongLength) => {
                    assert!(!ours);
                    refused += 1;
                }
            }
        }
        assert_eq!((run, refused), (375, 7500), "{}", file.display());
    }
}

#[test]
fn wycheproof() {
    for file in files("wycheproof", ".json") {
        let vectors: WycheproofFile = read_json(&file);
        let groups = &vectors.groups;
        let total: usize = groups.iter().map(|group| group.tests.len()).sum();
        assert_eq!((total, total == 0), (vectors.count, false), "{}", file.display());
        match vectors.algorithm.as_str() {
            "AES-GCM" => aes_gcm(groups),
            "HMACSHA256" => hmac_sha256(groups),
            other => panic!("{} is for {other}, which nothing here tests", file.display()),
        }
    }
}

fn aes_gcm(groups: &[WycheproofGroup]) {
    let (mut run, mut refused) = (0, 0);
    // Other key sizes are other ciphers; keys here are `&[u8; 32]`.
    for group in groups.iter().filter(|group| group.key_size == 256) {
        for test in &group.tests {
            let case = GcmCase {
                key: bytes(&test.key),
                nonce: bytes(test.nonce.as_deref().unwrap()),
                associated_data: bytes(test.associated_data.as_deref().unwrap()),
                ciphertext: bytes(test.ciphertext.as_deref().unwrap()),
                tag: bytes(&test.tag),
                plaintext: (test.result == "valid").then(|| bytes(&test.message)),
            };
            match case.run() {
                Ok(()) => run += 1,
                Err(WrongLength) => refused += 1,
            }
            assert_eq!(case.nonce.len() == 12, case.run().is_ok(), "test {}", test.id);
        }
    }
    assert!(run >= 66 && refused > 0, "{run} run, {refused} refused");
}

fn hmac_sha256(groups: &[WycheproofGroup]) {
    for group in groups {
        for test in &group.tests {
            let (message, tag) = (bytes(&test.message), bytes(&test.tag));
            let key = MacKey::new(&bytes(&test.key));
            // A truncated tag is refused even where it is right.
            let accepted = test.result == "valid" && group.tag_size == 256;
            assert_eq!(key.verify(&[&message], &tag), accepted, "test {}", test.id);
            let right = key.tag(&[&message])[..tag.len()] == tag[..];
            assert_eq!(right, test.result == "valid", "test {}", test.id);
        }
    }
}

/// One AES-256-GCM vector; without a plaintext it must not open.
struct GcmCase {
    key: Vec<u8>,
    nonce: Vec<u8>,
    associated_data: Vec<u8>,
    ciphertext: Vec<u8>,
    tag: Vec<u8>,
    plaintext: Option<Vec<u8>>,
}

impl GcmCase {
    fn run(&self) -> Result<(), WrongLength> {
        let nonce = GcmNonce::try_from(&self.nonce[..])?;
        let tag = GcmTag::try_from(&self.tag[..])?;
        let key: [u8; 32] = self.key[..].try_into().unwrap();
        for backend in Backend::all() {
            let mut buffer = self.ciphertext.clone();
            let opened = backend.open(&key, nonce, &self.associated_data, &mut buffer, &tag);
            let Some(plaintext) = &self.plaintext else {
                assert!(opened.is_err() && buffer.iter().all(|byte| *byte == 0), "{backend:?}");
                continue;
            };
            assert_eq!((opened, &buffer), (Ok(()), plaintext), "{backend:?}");
            let sealed = backend.seal(&key, nonce, &self.associated_data, &mut buffer).unwrap();
            assert_eq!((&buffer, sealed.as_bytes()), (&self.ciphertext, tag.as_bytes()), "{backend:?}");
        }
        Ok(())
    }
}

/// The digest over so many random messages, as the C2SP specification describes it. Every backend seals every message.
fn accumulated(iterations: u32) -> String {
    let mut source = Shake128::default().finalize_xof();
    let mut digest = Shake128::default();
    for _ in 0..iterations {
        let (mut key, mut nonce) = ([0; 32], [0; 24]);
        source.read(&mut key);
        source.read(&mut nonce);
        let mut sized = || {
            let mut len = [0];
            source.read(&mut len);
            let mut bytes = vec![0; len[0].into()];
            source.read(&mut bytes);
            bytes
        };
        let (plaintext, associated_data) = (sized(), sized());
        let root = XaesKey::new(&key);
        let mut sealed = Backend::all().map(|backend| {
            let mut buffer = plaintext.clone();
            let tag = root.seal(backend, &nonce, &associated_data, &mut buffer).unwrap();
            buffer.extend_from_slice(tag.as_bytes());
            buffer
        });
        let first = sealed.next().unwrap();
        assert!(sealed.all(|other| other == first), "the backends differ");
        digest.update(&first);
    }
    let mut out = [0; 32];
    digest.finalize_xof().read(&mut out);
    hex::encode(out)
}

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors");

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let found: Vec<_> = entries(&Path::new(ROOT).join(folder))
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    assert!(!found.is_empty(), "vectors/{folder} has no {ending} file");
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn read_json<T: for<'de> Deserialize<'de>>(file: &Path) -> T {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    bytes(text).try_into().unwrap()
}

#[derive(Deserialize)]
struct XaesFile {
    tests: Vec<XaesTest>,
    accumulated: HashMap<String, String>,
}

#[derive(Deserialize)]
struct XaesTest {
    #[serde(rename = "K")]
    key: String,
    #[serde(rename = "N")]
    nonce: String,
    #[serde(rename = "pt")]
    plaintext: String,
    #[serde(rename = "aad")]
    associated_data: String,
    #[serde(rename = "ct")]
    ciphertext: String,
}

#[derive(Deserialize)]
struct CavpFile {
    count: usize,
    tests: Vec<CavpTest>,
}

#[derive(Deserialize)]
struct CavpTest {
    key: String,
    #[serde(rename = "iv")]
    nonce: String,
    #[serde(rename = "aad")]
    associated_data: String,
    #[serde(rename = "pt")]
    plaintext: Option<String>,
    #[serde(rename = "ct")]
    ciphertext: String,
    tag: String,
    result: String,
}

#[derive(Deserialize)]
struct WycheproofFile {
    algorithm: String,
    #[serde(rename = "numberOfTests")]
    count: usize,
    #[serde(rename = "testGroups")]
    groups: Vec<WycheproofGroup>,
}

#[derive(Deserialize)]
struct WycheproofGroup {
    #[serde(rename = "keySize")]
    key_size: u32,
    #[serde(rename = "tagSize")]
    tag_size: u32,
    tests: Vec<WycheproofTest>,
}

#[derive(Deserialize)]
struct WycheproofTest {
    #[serde(rename = "tcId")]
    id: u32,
    key: String,
    #[serde(rename = "iv")]
    nonce: Option<String>,
    #[serde(rename = "aad")]
    associated_data: Option<String>,
    #[serde(rename = "msg")]
    message: String,
    #[serde(rename = "ct")]
    ciphertext: Option<String>,
    tag: String,
    result: String,
}
