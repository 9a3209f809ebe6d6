//! Bytes that must never change: what was sealed once has to open for ever.
//!
//! `golden.txt` shows every format field by field; `docs/envelope.md` shows one message and its associated data. Run the tests
//! with `GOLDEN=overwrite` to write `golden.txt` anew, which a change of format calls for and nothing else.

use crate::seeded::{Counting, Seeded};
use kms_crypto::{
    Ciphertext, EncryptionContext, Header, KeyMaterial, Keyring, KeyringDescription, RootKey, WrappedKeyring,
    associated_data as encode_associated_data,
};
use kms_types::{KeyId, MaterialVersion};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

#[test]
fn formats_are_those_of_the_golden_file() {
    let text = [messages(), record_and_keyring()].concat();
    if std::env::var_os("GOLDEN").is_some_and(|mode| mode == "overwrite") {
        fs::write(GOLDEN, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(GOLDEN).unwrap(), text);
}

#[test]
fn golden_bytes_still_open() {
    let material = KeyMaterial::from_bytes(&MATERIAL);
    let map = example_map();
    for (title, context) in contexts(&map) {
        let opened = material.open(&Ciphertext::parse(&golden(title)).unwrap(), context);
        assert_eq!(opened.unwrap().expose(), b"hello", "{title}");
    }
    let keyring = Keyring::unwrap(&root(), &golden("keyring file")).unwrap();
    assert_eq!(keyring.open_record(PLACE, 5, &golden("record")).unwrap().expose(), b"a record");
    assert_eq!(keyring.epochs().count(), 2);
    let described = golden("described keyring file");
    let described = WrappedKeyring::parse(&described).unwrap();
    assert_eq!(described.description(), Some(&description()));
    assert_eq!(described.open(&root()).unwrap().store_id(), keyring.store_id());
}

fn description() -> KeyringDescription {
    KeyringDescription::new(7, 1_800_000_000, b"descriptor".to_vec()).unwrap()
}

#[test]
fn the_specifications_example_is_right() {
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/envelope.md")).unwrap();
    let block = |name: &str| {
        let (_, rest) = document.split_once(&format!("<!-- example: {name} -->\n\n```text\n")).unwrap();
        let (block, _) = rest.split_once("```").unwrap();
        hex::decode(block.lines().map(|line| line.split("  ").next().unwrap()).collect::<String>().replace(' ', ""))
            .unwrap()
    };
    let map = example_map();
    let context = EncryptionContext::from_map(&map);
    let material = KeyMaterial::from_bytes(&MATERIAL);
    let sealed = material.seal(key_id(), version(), context, b"hello", &Counting).unwrap();
    let header = sealed[..45].try_into().unwrap();
    assert_eq!(hex::encode(block("associated data")), hex::encode(encode_associated_data(header, context)));
    assert_eq!(hex::encode(block("ciphertext")), hex::encode(&sealed));
    assert_eq!(hex::encode(block("check value")), hex::encode(material.check_value(key_id(), version()).as_bytes()));
    assert_eq!(Header::new(key_id(), version(), *b"@ABCDEFGHIJKLMNOPQRSTUVW").to_bytes(), *header);
}

fn messages() -> String {
    let material = KeyMaterial::from_bytes(&MATERIAL);
    let map = example_map();
    let mut text = String::new();
    for (title, context) in contexts(&map) {
        let sealed = material.seal(key_id(), version(), context, b"hello", &Seeded::new(title)).unwrap();
        let fields =
            [("format", 1), ("key id", 16), ("material version", 4), ("nonce", 24), ("ciphertext", 5), ("tag", 16)];
        text += &section(title, &sealed, &fields);
    }
    let check_value = material.check_value(key_id(), version());
    text + &section("check value", check_value.as_bytes(), &[("value", 16)])
}

fn record_and_keyring() -> String {
    let mut keyring = Keyring::generate(&Seeded::new("keyring")).unwrap();
    keyring.add_epoch(&Seeded::new("second epoch")).unwrap();
    let record = keyring.seal_record(PLACE, 5, b"a record", &Seeded::new("record")).unwrap();
    let file = keyring.wrap(&root(), &Seeded::new("wrap")).unwrap();
    let described = keyring.wrap_described(&root(), &description(), &Seeded::new("wrap described")).unwrap();
    let manifest = keyring.manifest_key().tag(&[b"a manifest"]);
    let record_fields = [("format", 1), ("epoch", 8), ("nonce", 24), ("ciphertext", 8), ("tag", 16)];
    let described_fields = [
        ("magic", 8),
        ("format", 1),
        ("root key fingerprint", 8),
        ("nonce", 24),
        ("generation", 8),
        ("root key since", 8),
        ("descriptor length", 4),
        ("descriptor", 10),
        ("sealed store id", 16),
        ("sealed manifest key", 32),
        ("sealed epoch number", 8),
        ("sealed epoch key", 32),
        ("sealed epoch number", 8),
        ("sealed epoch key", 32),
        ("tag", 16),
    ];
    let file_fields = [
        ("magic", 8),
        ("format", 1),
        ("root key fingerprint", 8),
        ("nonce", 24),
        ("sealed store id", 16),
        ("sealed manifest key", 32),
        ("sealed epoch number", 8),
        ("sealed epoch key", 32),
        ("sealed epoch number", 8),
        ("sealed epoch key", 32),
        ("tag", 16),
    ];
    [
        section("record", &record, &record_fields),
        section("keyring file", &file, &file_fields),
        section("described keyring file", &described, &described_fields),
        section("manifest tag", &manifest, &[("tag", 32)]),
    ]
    .concat()
}

fn section(title: &str, bytes: &[u8], fields: &[(&str, usize)]) -> String {
    let mut text = format!("[{title}]\n");
    let mut rest = bytes;
    for (name, len) in fields {
        let (field, after) = rest.split_at(*len);
        writeln!(text, "{name:20} {}", hex::encode(field)).unwrap();
        rest = after;
    }
    assert!(rest.is_empty(), "{title} has more fields");
    text + "\n"
}

fn golden(title: &str) -> Vec<u8> {
    let text = fs::read_to_string(GOLDEN).unwrap();
    let (_, rest) = text.split_once(&format!("[{title}]\n")).unwrap();
    let (section, _) = rest.split_once("\n\n").unwrap();
    hex::decode(section.lines().map(|line| line.rsplit(' ').next().unwrap()).collect::<String>()).unwrap()
}

fn contexts(map: &BTreeMap<String, String>) -> [(&'static str, EncryptionContext<'_>); 3] {
    [
        ("ciphertext without context", EncryptionContext::None),
        ("ciphertext with bytes", EncryptionContext::from_bytes(b"context")),
        ("ciphertext with map", EncryptionContext::from_map(map)),
    ]
}

fn example_map() -> BTreeMap<String, String> {
    [("zone", "ch-gva-2"), ("app", "billing")].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn key_id() -> KeyId {
    "019eef19-73ef-7ce3-9ea1-fcaa367ebd8d".parse().unwrap()
}

fn version() -> MaterialVersion {
    MaterialVersion::new(3).unwrap()
}

fn root() -> RootKey {
    RootKey::from_bytes(&MATERIAL).unwrap()
}

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kms-crypto/golden.txt");
const PLACE: &str = "key/acme/019eef19-73ef-7ce3-9ea1-fcaa367ebd8d";
/// 00, 01, 02 ... 1f.
const MATERIAL: [u8; 32] = {
    let mut bytes = [0; 32];
    let mut number: u8 = 0;
    while number < 32 {
        bytes[number as usize] = number;
        number += 1;
    }
    bytes
};
