//! The file of a backup: what is written is read back, and whatever else is in its place is refused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damage;
mod round_trip;

use kms_backup::{BackupReader, BackupWriter, Event, Header, Lock, NewBackupKey, ReadError, Trailer, Unlock};
use kms_crypto::SecretBytes;
use kms_types::Timestamp;

pub(crate) struct Pair {
    pub(crate) lock: Lock,
    pub(crate) unlock: Unlock,
}

pub(crate) fn new_pair() -> Pair {
    let key = NewBackupKey::generate();
    Pair {
        lock: Lock::to_recipients([key.recipient().as_str()]).unwrap(),
        unlock: Unlock::with_key_file(&SecretBytes::copy_from(&key.file_content())).unwrap(),
    }
}

pub(crate) fn header() -> Header {
    Header {
        zone: "ch-gva-2".parse().unwrap(),
        store_id: [7; 16],
        begun_at: 41,
        taken_at: Timestamp::EPOCH.plus_days(20_000),
        program: "0.1.0".to_owned(),
    }
}

/// Two records, and a catch-up that replaces one and removes the other.
pub(crate) fn small_backup(lock: &Lock) -> Vec<u8> {
    let mut writer = BackupWriter::begin(lock, &header(), Vec::new()).unwrap();
    writer.record("key/acme/1", b"one").unwrap();
    writer.record("name/acme/1", b"").unwrap();
    writer.catch_up().unwrap();
    writer.record("key/acme/1", b"another one").unwrap();
    writer.removed("name/acme/1").unwrap();
    writer.finish(43).unwrap().0
}

pub(crate) fn read_all(unlock: &Unlock, bytes: &[u8]) -> Result<(Header, Vec<String>, Trailer), ReadError> {
    let mut reader = BackupReader::open(unlock, bytes)?;
    let mut told = Vec::new();
    loop {
        match reader.next_event()? {
            Event::Record { path, content } => {
                told.push(format!("{path} = {:?}", String::from_utf8_lossy(content.expose())));
            }
            Event::Removed { path } => told.push(format!("{path} removed")),
            Event::CatchUp => told.push("catch-up".to_owned()),
            Event::End(trailer) => {
                assert!(reader.next_event().is_err(), "nothing comes after the end");
                return Ok((reader.header().clone(), told, trailer));
            }
        }
    }
}
