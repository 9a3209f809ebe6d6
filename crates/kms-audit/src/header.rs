//! The first line of every file: it carries the tree over all lines before it, so that a file can be gone on with, and
//! verified, without those before it.

use crate::line::{begin_body, end_body, number, text};
use crate::note::NoteVerifier;
use crate::stamp::StampWriter;
use crate::tree::{Frontier, TreeHash};
use kms_service::Settled;
use kms_storage::StoreRevision;
use kms_types::Timestamp;
use serde::Deserialize;

/// What the first line of a file is called.
pub(crate) const OPERATION: &str = "audit-file-begun";

/// What a first line says.
pub(crate) struct Header {
    pub(crate) tree: Frontier,
    pub(crate) verifier: NoteVerifier,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Members<'l> {
    operation: &'l str,
    public_key: &'l str,
    peaks: Vec<&'l str>,
}

/// The members of any line that say which changes have entries.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Account<'l> {
    pub(crate) key: Option<&'l str>,
    pub(crate) revision: Option<u64>,
    pub(crate) commit: Option<u64>,
    settled: Option<u64>,
    settled_at: Option<&'l str>,
}

/// Writes the body of a first line.
pub(crate) fn write_header(
    out: &mut Vec<u8>,
    time: Timestamp,
    zone: &str,
    verifier: &NoteVerifier,
    tree: &Frontier,
    settled: Option<Settled>,
    stamps: &mut StampWriter,
) {
    begin_body(out, time, zone, OPERATION, stamps);
    text(out, "result", "ok");
    text(out, "by", "server");
    text(out, "public-key", &verifier.to_string());
    out.extend_from_slice(b",\"peaks\":[");
    for (place, peak) in tree.peaks().iter().enumerate() {
        out.extend_from_slice(if place == 0 { b"\"" } else { b",\"" });
        out.extend_from_slice(peak.to_string().as_bytes());
        out.push(b'"');
    }
    out.push(b']');
    if let Some(settled) = settled {
        number(out, "settled", settled.revision.get());
        text(out, "settled-at", &settled.at.to_string());
    }
    end_body(out);
}

/// What the first line `line` of the file that begins with line number `first` says; `None` when it is no such line.
pub(crate) fn read_header(line: &[u8], first: u64) -> Option<Header> {
    let members: Members<'_> = serde_json::from_slice(line).ok()?;
    let peaks = members.peaks.iter().map(|peak| peak.parse()).collect::<Result<Vec<TreeHash>, _>>().ok()?;
    let tree = Frontier::restore(first, peaks)?;
    (members.operation == OPERATION).then_some(())?;
    Some(Header { tree, verifier: members.public_key.parse().ok()? })
}

impl Account<'_> {
    pub(crate) fn settled(&self) -> Option<Settled> {
        Some(Settled { revision: StoreRevision::new(self.settled?), at: self.settled_at?.parse().ok()? })
    }
}
