//! The bytes of stored records, kept for ever in a file that a person can read.

use kms_storage::record::{
    self, AutomaticRecord, KeyRecord, KindRecord, MadeRecord, NameRecord, PlaceRecord, Record, RecordFormatError,
    RotationRecord, StatusRecord, TombstoneRecord, Transfer, UsageRecord, VersionRecord,
};
use kms_types::{KeyId, MaterialVersion, Revision, RotationPeriod, Timestamp};
use proptest::prelude::*;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const ID: &str = "019eef19-73ef-7ce3-9ea1-fcaa367ebd8d";

fn nanos(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn id() -> KeyId {
    ID.parse().unwrap()
}

fn version(number: u32, made: MadeRecord) -> VersionRecord {
    VersionRecord {
        version: MaterialVersion::new(number).unwrap(),
        created_at: nanos("2026-06-22T11:31:23.248010627Z"),
        made,
        check_value: [0xc0 + u8::try_from(number).unwrap(); 16],
    }
}

fn simple_key() -> KeyRecord {
    KeyRecord {
        id: id(),
        organisation: "acme".parse().unwrap(),
        name: "k1".parse().unwrap(),
        description: "".parse().unwrap(),
        usage: UsageRecord::EncryptDecrypt,
        kind: KindRecord::Ordinary,
        place: PlaceRecord::SingleZone,
        origin_zone: "ch-gva-2".parse().unwrap(),
        created_at: nanos("2026-06-22T11:31:23.248010627Z"),
        status: StatusRecord::Enabled { since: nanos("2026-06-22T11:31:23.248010627Z") },
        rotation: RotationRecord {
            automatic: AutomaticRecord::On,
            period: RotationPeriod::DEFAULT,
            next_at: nanos("2027-06-22T11:31:23.248010627Z"),
            manual_count: 0,
        },
        versions: vec![version(1, MadeRecord::Created)],
        revision: Revision::FIRST,
        revised_at: nanos("2026-06-22T11:31:23.248010627Z"),
        cancelled: None,
    }
}

fn full_key() -> KeyRecord {
    KeyRecord {
        name: "clé-ключ".parse().unwrap(),
        description: "two\nlines".parse().unwrap(),
        kind: KindRecord::Default,
        place: PlaceRecord::Origin { replicas: ["de-fra-1", "ch-dk-2"].map(|zone| zone.parse().unwrap()).into() },
        status: StatusRecord::PendingDeletion {
            since: nanos("2026-07-01T00:00:00.000000000Z"),
            delete_at: nanos("2026-07-31T00:00:00.000000000Z"),
        },
        rotation: RotationRecord {
            automatic: AutomaticRecord::Off,
            period: RotationPeriod::try_from(90).unwrap(),
            next_at: nanos("2026-09-20T11:31:23.248010627Z"),
            manual_count: 1,
        },
        versions: vec![
            version(1, MadeRecord::Created),
            version(2, MadeRecord::Manually),
            version(3, MadeRecord::Automatically),
        ],
        revision: Revision::new(300).unwrap(),
        cancelled: Revision::new(299),
        ..simple_key()
    }
}

fn replica_key() -> KeyRecord {
    KeyRecord {
        place: PlaceRecord::Replica { applied: Revision::new(12).unwrap() },
        status: StatusRecord::Disabled { since: nanos("2026-07-01T00:00:00.000000000Z") },
        ..simple_key()
    }
}

fn tombstone() -> TombstoneRecord {
    TombstoneRecord {
        id: id(),
        organisation: "acme".parse().unwrap(),
        name: "k1".parse().unwrap(),
        origin_zone: "ch-gva-2".parse().unwrap(),
        deleted_at: nanos("2026-07-31T00:00:00.000000000Z"),
        revision: Revision::new(7).unwrap(),
        replicas: ["de-fra-1"].map(|zone| zone.parse().unwrap()).into(),
    }
}

fn materials(record: &KeyRecord) -> Vec<[u8; 32]> {
    (1..).map(|number| [0xa0 + number; 32]).take(record.versions.len()).collect()
}

fn encoded(record: &KeyRecord) -> Vec<u8> {
    let materials = materials(record);
    record::encode_key(record, &materials.iter().collect::<Vec<_>>()).unwrap().to_vec()
}

fn samples() -> Vec<(&'static str, String, Vec<u8>)> {
    let key = |record: KeyRecord| (format!("{record:#?}"), encoded(&record));
    let (simple, simple_bytes) = key(simple_key());
    let (full, full_bytes) = key(full_key());
    let (replica, replica_bytes) = key(replica_key());
    let name = NameRecord { key_id: id() };
    vec![
        ("a new key", simple, simple_bytes),
        ("a key with everything", full, full_bytes),
        ("a replica", replica, replica_bytes),
        ("a deleted key", format!("{:#?}", tombstone()), record::encode_tombstone(&tombstone()).unwrap()),
        ("a name", format!("{name:#?}"), record::encode_name(name).unwrap()),
    ]
}

fn transfers() -> Vec<(&'static str, String, Vec<u8>)> {
    let (full, materials) = (full_key(), materials(&full_key()));
    let key = record::encode_transfer(&full, &materials.iter().collect::<Vec<_>>()).unwrap().to_vec();
    let deletion = record::encode_tombstone_transfer(&tombstone()).unwrap();
    vec![("the state of a key", format!("{full:#?}"), key), ("a deletion", format!("{:#?}", tombstone()), deletion)]
}

fn hexdump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (row, bytes) in bytes.chunks(16).enumerate() {
        let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let ascii: String = bytes
            .iter()
            .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' })
            .collect();
        writeln!(text, "{:04x}  {:<47}  |{ascii}|", row * 16, hex.join(" ")).unwrap();
    }
    text
}

/// The bytes of the dumps in a golden file, in order.
fn bytes_of_dumps(text: &str) -> Vec<Vec<u8>> {
    let mut dumps = Vec::new();
    for line in text.lines() {
        if line.starts_with("## ") {
            dumps.push(Vec::new());
        } else if let (Some(dump), Some(hex)) = (dumps.last_mut(), line.get(6..53).filter(|_| line.ends_with('|'))) {
            dump.extend(hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()));
        }
    }
    dumps
}

#[test]
fn records_keep_their_bytes() {
    keep_their_bytes(
        "records-v1.txt",
        "Stored records of format 1 before they are sealed: 01 | kind and fields (postcard) | 32 bytes of material for each\n\
         version. Integers are varints (signed ones zigzag), texts and lists carry their length, a UUID its length 16,\n\
         variants their number. These bytes never change; a new format gets a file of its own.\n\
         Made by ZONEKMS_GOLDEN=write cargo test -p kms-storage records_keep_their_bytes\n",
        &samples(),
    );
}

#[test]
fn transfers_keep_their_bytes() {
    keep_their_bytes(
        "transfers-v1.txt",
        "What zones send each other before it is sealed to the target, format 1: 01 | kind and fields (postcard) | 32 bytes of\n\
         material for each version. The fields are those of stored records, the kinds 00 for a key and 01 for a deletion.\n\
         Made by ZONEKMS_GOLDEN=write cargo test -p kms-storage transfers_keep_their_bytes\n",
        &transfers(),
    );
}

fn keep_their_bytes(file: &str, head: &str, samples: &[(&str, String, Vec<u8>)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    let mut text = String::from(head);
    for (name, fields, bytes) in samples {
        write!(text, "\n## {name}: {} bytes\n{}\n{fields}\n", bytes.len(), hexdump(bytes)).unwrap();
    }
    if std::env::var("ZONEKMS_GOLDEN").is_ok_and(|mode| mode == "write") {
        fs::write(&path, &text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap();
    assert!(golden == text, "the bytes of stored records changed:\n{text}");
    let kept: Vec<_> = bytes_of_dumps(&golden);
    assert_eq!(kept, samples.iter().map(|(_, _, bytes)| bytes.clone()).collect::<Vec<_>>());
}

#[test]
fn transfers_come_back_and_nothing_else_does() {
    let bytes = transfers().swap_remove(0).2;
    match record::decode_transfer(&bytes).map_err(|error| error.to_string()).unwrap() {
        Transfer::Key(key, found) => {
            assert_eq!(key, full_key());
            assert!(found.iter().eq(&materials(&key)));
        }
        Transfer::Tombstone(_) => panic!("it was a key"),
    }
    for length in 0..bytes.len() {
        assert!(record::decode_transfer(&bytes[..length]).is_err(), "cut to {length}");
    }
    for extra in [1, 32] {
        assert!(record::decode_transfer(&[&bytes[..], &vec![0; extra]].concat()).is_err(), "{extra} more");
    }
    let newer = [&[2], &bytes[1..]].concat();
    assert_eq!(record::decode_transfer(&newer).err(), Some(RecordFormatError::Newer { found: 2 }));
    let deletion = transfers().swap_remove(1).2;
    assert!(matches!(record::decode_transfer(&deletion), Ok(Transfer::Tombstone(found)) if found == tombstone()));
    for record in [simple_key(), replica_key()] {
        let materials = materials(&record);
        let materials = materials.iter().collect::<Vec<_>>();
        assert_eq!(record::encode_transfer(&record, &materials).err(), Some(RecordFormatError::OtherKind));
        let stored = record::encode_key(&record, &materials).unwrap();
        assert_eq!(record::decode_transfer(&stored).err(), Some(RecordFormatError::OtherKind), "not at its origin");
    }
}

#[test]
fn keys_and_their_material_come_back() {
    for key in [simple_key(), full_key(), replica_key()] {
        let bytes = encoded(&key);
        let (read, found) = record::decode_key(&bytes).map_err(|error| error.to_string()).unwrap();
        assert_eq!(read, key);
        assert!(found.iter().eq(&materials(&key)));
    }
    let bytes = record::encode_tombstone(&tombstone()).unwrap();
    assert_eq!(record::decode_tombstone(&bytes), Ok(tombstone()));
    assert_eq!(record::decode_key(&bytes).err(), Some(RecordFormatError::OtherKind));
    let bytes = record::encode_name(NameRecord { key_id: id() }).unwrap();
    assert_eq!(record::decode_name(&bytes), Ok(NameRecord { key_id: id() }));
    assert_eq!(record::decode_tombstone(&bytes), Err(RecordFormatError::OtherKind));
    assert_eq!(record::decode_name(&encoded(&simple_key())), Err(RecordFormatError::OtherKind));
}

#[test]
fn the_buffer_of_a_key_does_not_grow() {
    let key = full_key();
    let materials = materials(&key);
    let bytes = record::encode_key(&key, &materials.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(bytes.capacity(), bytes.len());
    let one_short = &materials.iter().collect::<Vec<_>>()[1..];
    assert_eq!(record::encode_key(&key, one_short).err(), Some(RecordFormatError::Malformed));
}

#[test]
fn bytes_that_are_no_record_are_refused() {
    let good = encoded(&full_key());
    for length in 0..good.len() {
        assert!(record::decode(&good[..length]).is_err(), "cut to {length}");
    }
    for extra in [1, 31, 32, 33, 64] {
        assert!(record::decode(&[&good[..], &vec![0; extra]].concat()).is_err(), "{extra} more");
    }
    for (_, _, bytes) in samples() {
        for extra in [1, 32] {
            assert!(record::decode(&[&bytes[..], &vec![0; extra]].concat()).is_err());
        }
        let newer = [&[2], &bytes[1..]].concat();
        assert_eq!(record::decode(&newer).err(), Some(RecordFormatError::Newer { found: 2 }));
        let none = [&[0], &bytes[1..]].concat();
        assert_eq!(record::decode(&none).err(), Some(RecordFormatError::Malformed));
    }
    assert_eq!(record::decode(&[1, 3]).err(), Some(RecordFormatError::Malformed), "a kind that does not exist");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// Whatever is read is written back the same, or refused; nothing panics.
    #[test]
    fn altered_records_are_read_or_refused(sample in 0..5_usize, at: prop::sample::Index, byte: u8) {
        let mut bytes = samples().swap_remove(sample).2;
        let at = at.index(bytes.len());
        bytes[at] = byte;
        match record::decode(&bytes) {
            Ok(Record::Key(key, materials)) => {
                let again = record::encode_key(&key, &materials.iter().collect::<Vec<_>>()).unwrap();
                prop_assert!(record::decode_key(&again).is_ok_and(|(read, _)| read == key));
            }
            Ok(Record::Tombstone(tombstone)) => {
                prop_assert_eq!(record::decode_tombstone(&record::encode_tombstone(&tombstone).unwrap()), Ok(tombstone));
            }
            Ok(Record::Name(name)) => {
                prop_assert_eq!(record::decode_name(&record::encode_name(name).unwrap()), Ok(name));
            }
            Err(RecordFormatError::Newer { found }) => prop_assert!(at == 0 && found == byte),
            Err(RecordFormatError::Malformed | RecordFormatError::OtherKind) => {}
        }
    }
}
