//! What a server says while it makes a backup: `kind (1) | records (8) | length (4) | bytes`, integers big-endian.

use kms_service::{BackupPart, BackupSummary};
use kms_storage::StoreRevision;

const HEAD: usize = 1 + 8 + 4;
const PART: u8 = 0;
const DONE: u8 = 1;
const FAILED: u8 = 2;

/// The longest stretch that is believed: a page of the largest records is far shorter.
const LONGEST: usize = 1 << 30;

/// One stretch of the answer.
pub(crate) enum Stretch {
    /// Bytes of the file.
    Part(BackupPart),
    /// The file is whole.
    Done(BackupSummary),
    /// There is no backup, and why.
    Failed(String),
}

impl Stretch {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Part(part) => encode(PART, part.records, &part.sealed),
            Self::Done(summary) => {
                let body = [&summary.as_of.get().to_be_bytes()[..], &summary.digest].concat();
                encode(DONE, summary.records, &body)
            }
            Self::Failed(why) => encode(FAILED, 0, why.as_bytes()),
        }
    }

    /// Takes the first stretch off `bytes`; `None` while it is not all there.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn take(bytes: &mut Vec<u8>) -> Result<Option<Self>, Unreadable> {
        let Some(([kind, rest @ ..], body)) = bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
        if ![PART, DONE, FAILED].contains(kind) {
            return Err(Unreadable);
        }
        let (records, len) = rest.split_first_chunk::<8>().ok_or(Unreadable)?;
        let (len, records) = (len.try_into().map_err(|_| Unreadable)?, u64::from_be_bytes(*records));
        let len = usize::try_from(u32::from_be_bytes(len)).ok().filter(|len| *len <= LONGEST).ok_or(Unreadable)?;
        let Some(body) = body.get(..len) else { return Ok(None) };
        let stretch = match *kind {
            PART => Self::Part(BackupPart { sealed: body.to_vec(), records }),
            DONE => {
                let (as_of, digest) = body.split_first_chunk::<8>().ok_or(Unreadable)?;
                let as_of = StoreRevision::new(u64::from_be_bytes(*as_of));
                Self::Done(BackupSummary { records, as_of, digest: digest.try_into().map_err(|_| Unreadable)? })
            }
            FAILED => Self::Failed(String::from_utf8_lossy(body).into_owned()),
            _ => return Err(Unreadable),
        };
        bytes.drain(..HEAD + len);
        Ok(Some(stretch))
    }
}

/// Bytes that no server of this version sends.
#[derive(Debug, thiserror::Error)]
#[error("the server's answer cannot be read: is it of another version?")]
pub(super) struct Unreadable;

fn encode(kind: u8, records: u64, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).expect("a page of records is shorter than 4 GiB");
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.push(kind);
    bytes.extend_from_slice(&records.to_be_bytes());
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_read_however_they_arrive() {
        let summary = BackupSummary { records: 7, as_of: StoreRevision::new(9), digest: [3; 32] };
        let part = BackupPart { sealed: b"sealed".to_vec(), records: 5 };
        let all = [Stretch::Part(part), Stretch::Failed("why".into()), Stretch::Done(summary)];
        let sent: Vec<u8> = all.iter().flat_map(Stretch::encode).collect();
        let (mut arrived, mut read) = (Vec::new(), Vec::new());
        for byte in sent {
            arrived.push(byte);
            while let Some(stretch) = Stretch::take(&mut arrived).unwrap() {
                read.push(stretch);
            }
        }
        let [Stretch::Part(part), Stretch::Failed(why), Stretch::Done(done)] = &read[..] else { panic!("other kinds") };
        assert_eq!((part.sealed.as_slice(), part.records, why.as_str(), *done), (&b"sealed"[..], 5, "why", summary));
        assert!(arrived.is_empty());
        assert!(Stretch::take(&mut vec![9; HEAD]).is_err());
        assert!(Stretch::take(&mut encode(DONE, 1, b"short")).is_err());
    }
}
