//! What an embedded engine must do, and how records lie in it.
//!
//! Two system entries sort before all records: `!meta` (`"ZoneKMS store" | format (1) | store id (16)`) and `!manifest`. A
//! record's entry is its path and `01 | kind (1) | version (8) | revision (8) | body`, integers big-endian.

use crate::open_error::OpenError;
use crate::reader::RecordReader;
use crate::record_key::RecordKey;
use crate::stored::{RecordVersion, StoreRevision};
use crate::view::{Content, Entry};
use std::path::Path;

/// The format of the store as a whole, told by its first entry.
pub(crate) const STORE_FORMAT: u8 = 1;

/// The path of the entry that tells the format and the store's id.
pub(crate) const META_PATH: &str = "!meta";

/// The path of the entry with the store's account of itself.
pub(crate) const MANIFEST_PATH: &str = "!manifest";

const MAGIC: &[u8] = b"ZoneKMS store";
const RECORD_FORMAT: u8 = 1;
const HEADER: usize = 18;
const LIVE: u8 = 0;
const TOMBSTONE: u8 = 1;

/// Takes one entry: its path and its value.
pub(crate) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), OpenError> + 'a;

/// An ordered map of bytes on disk.
pub(crate) trait Engine: Send + 'static {
    /// Hands every entry to `visit`, in order.
    fn read_all(&self, visit: &mut Visit<'_>) -> Result<(), OpenError>;

    /// Reads records while the engine writes.
    fn reader(&self) -> Box<dyn RecordReader>;

    /// Puts all entries in place of what was there, wholly or not at all. When it returns `Ok`, they outlive a power cut.
    /// After an error it is not known whether they are there.
    fn write(&mut self, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), String>;

    /// Makes everything read so far outlive a power cut.
    fn sync(&mut self) -> Result<(), String>;
}

/// Whether the entry at `path` is one of the store's own, and no record.
pub(crate) fn is_system(path: &[u8]) -> bool {
    path == META_PATH.as_bytes() || path == MANIFEST_PATH.as_bytes()
}

pub(crate) fn encode_meta(store_id: &[u8; 16]) -> Vec<u8> {
    [MAGIC, &[STORE_FORMAT], store_id].concat()
}

pub(crate) fn check_meta(bytes: &[u8], store_id: &[u8; 16], path: &Path) -> Result<(), OpenError> {
    let unreadable = || OpenError::Damaged { what: "its first entry cannot be read".to_owned() };
    let (&found, id) = bytes.strip_prefix(MAGIC).and_then(<[u8]>::split_first).ok_or_else(unreadable)?;
    if found > STORE_FORMAT {
        return Err(OpenError::NewerFormat { found, known: STORE_FORMAT });
    }
    if found != STORE_FORMAT || id.len() != store_id.len() {
        return Err(unreadable());
    }
    if id == store_id { Ok(()) } else { Err(OpenError::WrongStore { path: path.to_owned() }) }
}

pub(crate) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let (kind, body): (u8, &[u8]) = match &entry.content {
        Content::Live(bytes) => (LIVE, bytes),
        Content::Tombstone => (TOMBSTONE, &[]),
    };
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(&[RECORD_FORMAT, kind]);
    bytes.extend_from_slice(&entry.version.get().to_be_bytes());
    bytes.extend_from_slice(&entry.revision.get().to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) fn decode_entry(path: &[u8], value: &[u8]) -> Result<(RecordKey, Entry), OpenError> {
    let name = String::from_utf8_lossy(path);
    let key = RecordKey::parse(&name)
        .ok_or_else(|| OpenError::Damaged { what: format!("an entry {:?} is no record", name.as_ref()) })?;
    let unreadable = || OpenError::Damaged { what: format!("record {key} cannot be read") };
    let (header, body) = value.split_first_chunk::<HEADER>().ok_or_else(unreadable)?;
    let [format, kind, counters @ ..] = header;
    if *format > RECORD_FORMAT {
        return Err(OpenError::NewerFormat { found: *format, known: RECORD_FORMAT });
    }
    let content = match (*format, *kind) {
        (RECORD_FORMAT, LIVE) => Content::Live(body.into()),
        (RECORD_FORMAT, TOMBSTONE) if body.is_empty() => Content::Tombstone,
        _ => return Err(unreadable()),
    };
    let mut version = [0; 8];
    let mut revision = [0; 8];
    version.copy_from_slice(&counters[..8]);
    revision.copy_from_slice(&counters[8..]);
    let entry = Entry {
        version: RecordVersion::new(u64::from_be_bytes(version)),
        revision: StoreRevision::new(u64::from_be_bytes(revision)),
        content,
    };
    Ok((key, entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "key/acme/019eef19-73ef-7ce3-9ea1-fcaa367ebd8d";

    #[test]
    fn entries_have_one_spelling() {
        for content in [Content::Live(b"body".as_slice().into()), Content::Live([].into()), Content::Tombstone] {
            let entry = Entry { version: RecordVersion::new(3), revision: StoreRevision::new(4), content };
            let bytes = encode_entry(&entry);
            let (key, read) = decode_entry(PATH.as_bytes(), &bytes).unwrap();
            assert_eq!(key.as_str(), PATH);
            assert_eq!(encode_entry(&read), bytes);
        }
        let tombstone = encode_entry(&Entry {
            version: RecordVersion::new(1),
            revision: StoreRevision::new(1),
            content: Content::Tombstone,
        });
        assert!(decode_entry(PATH.as_bytes(), &[&tombstone[..], b"x"].concat()).is_err());
        assert!(decode_entry(PATH.as_bytes(), &tombstone[..17]).is_err());
        assert!(decode_entry(b"audit/acme/1", &tombstone).is_err());
        let newer = [&[2], &tombstone[1..]].concat();
        assert!(matches!(
            decode_entry(PATH.as_bytes(), &newer),
            Err(OpenError::NewerFormat { found: 2, known: RECORD_FORMAT })
        ));
    }

    #[test]
    fn the_first_entry_tells_format_and_store() {
        let path = Path::new("store");
        let meta = encode_meta(&[1; 16]);
        check_meta(&meta, &[1; 16], path).unwrap();
        assert!(matches!(check_meta(&meta, &[2; 16], path), Err(OpenError::WrongStore { .. })));
        let mut newer = meta.clone();
        newer[MAGIC.len()] = 2;
        assert!(matches!(check_meta(&newer, &[1; 16], path), Err(OpenError::NewerFormat { found: 2, known: 1 })));
        assert!(matches!(check_meta(&meta[..20], &[1; 16], path), Err(OpenError::Damaged { .. })));
        assert!(matches!(check_meta(b"", &[1; 16], path), Err(OpenError::Damaged { .. })));
    }
}
