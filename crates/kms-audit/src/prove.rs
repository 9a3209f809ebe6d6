//! Proofs as files, for people who do not have the log: that an entry is in it (C2SP tlog-proof), and that it was only ever
//! added to.

use crate::checkpoint::{BadCheckpoint, SignedCheckpoint, split_notes};
use crate::note::NoteVerifier;
use crate::proof::{ProofBuilder, includes, is_beginning};
use crate::segment::{Line, Segment};
use crate::tree::{Frontier, TreeHash};
use crate::verify::{VerifyError, newest_checkpoint};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;
use std::path::Path;

const INCLUSION: &str = "c2sp.org/tlog-proof@v1";
const CONSISTENCY: &str = "zonekms/tlog-consistency-proof@v1";

/// The most hashes of a proof: there are fewer than 2⁶⁴ entries.
const MOST_HASHES: usize = 64;

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The log could not be read, or is not in order.
    #[error(transparent)]
    Log(#[from] VerifyError),
    /// Files are missing.
    #[error("a proof needs every file of the log, from entry 0 on; entry {0} is missing")]
    Incomplete(u64),
    /// No checkpoint covers the entry yet.
    #[error("the newest checkpoint covers {covered} entries; entry {wanted} is not among them")]
    NotCovered {
        /// What was asked for.
        wanted: u64,
        /// What is covered.
        covered: u64,
    },
    /// The older checkpoint is not one of this log.
    #[error("the older checkpoint: {0}")]
    Older(#[from] BadCheckpoint),
    /// The lines are not those of the checkpoint.
    #[error("the entries are not those that were signed; see what `zonekms audit verify` says")]
    Altered,
}

/// Why a proof shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    /// It is not a proof.
    #[error("it is not a proof")]
    Malformed,
    /// Its checkpoint is not good.
    #[error("its checkpoint: {0}")]
    Checkpoint(#[from] BadCheckpoint),
    /// Its entry or hashes do not lead to the root that was signed.
    #[error("it does not lead to the root that was signed")]
    Wrong,
}

/// What a proof shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proven {
    /// This line is in the log.
    Entry {
        /// Its sequence number.
        index: u64,
        /// The line, without its line feed.
        line: Vec<u8>,
        /// How many entries the checkpoint covers.
        size: u64,
    },
    /// The log of the newer checkpoint begins with all that the older one covers.
    Extension {
        /// How many entries the older checkpoint covers.
        old: u64,
        /// How many the newer one covers.
        new: u64,
    },
}

/// A proof that entry `seq` is in the log in `directory`, against its newest checkpoint. The line itself is in it, as extra
/// data.
///
/// # Errors
///
/// [`ProofError`].
pub fn prove_inclusion(directory: &Path, seq: u64) -> Result<String, ProofError> {
    let (signed, _) = newest_checkpoint(directory)?;
    let covered = signed.checkpoint().size();
    let builder = ProofBuilder::inclusion(seq, covered).ok_or(ProofError::NotCovered { wanted: seq, covered })?;
    let mut wanted = Vec::new();
    let hashes = build(directory, builder, &signed, |index, line| {
        if index == seq {
            wanted = line.to_owned();
        }
    })?;
    let mut proof = format!("{INCLUSION}\nextra {}\nindex {seq}\n", STANDARD.encode(wanted));
    append(&mut proof, &hashes);
    Ok(proof + "\n" + signed.note())
}

/// A proof that the log in `directory` is an extension of the one that the checkpoint `older` (a note) covers.
///
/// # Errors
///
/// [`ProofError`].
pub fn prove_consistency(directory: &Path, older: &str) -> Result<String, ProofError> {
    let (newer, verifier) = newest_checkpoint(directory)?;
    let older = SignedCheckpoint::open(older, &verifier)?;
    let (old, covered) = (older.checkpoint().size(), newer.checkpoint().size());
    let builder = ProofBuilder::consistency(old, covered).ok_or(ProofError::NotCovered { wanted: old, covered })?;
    let hashes = build(directory, builder, &newer, |_, _| {})?;
    let heads = [&older, &newer].map(|signed| (signed.checkpoint().size(), signed.checkpoint().root()));
    if !is_beginning(heads[0], heads[1], &hashes) {
        return Err(ProofError::Altered);
    }
    let mut proof = format!("{CONSISTENCY}\n");
    append(&mut proof, &hashes);
    Ok(format!("{proof}\n{}\n{}", older.note(), newer.note()))
}

/// Verifies a proof against the log's public key alone.
///
/// # Errors
///
/// [`BadProof`].
pub fn verify_proof(proof: &str, verifier: &NoteVerifier) -> Result<Proven, BadProof> {
    let (head, notes) = proof.split_once("\n\n").ok_or(BadProof::Malformed)?;
    let mut lines = head.split('\n');
    match lines.next() {
        Some(INCLUSION) => {
            let extra = lines.next().and_then(|line| line.strip_prefix("extra ")).ok_or(BadProof::Malformed)?;
            let line = STANDARD.decode(extra).map_err(|_| BadProof::Malformed)?;
            let digits = lines.next().and_then(|line| line.strip_prefix("index ")).ok_or(BadProof::Malformed)?;
            let index: u64 = digits.parse().map_err(|_| BadProof::Malformed)?;
            let hashes = hashes(lines)?;
            let signed = SignedCheckpoint::open(notes, verifier)?;
            let checkpoint = signed.checkpoint();
            let leaf = TreeHash::of_leaf(&line);
            if index.to_string() == digits && includes(leaf, index, checkpoint.size(), &hashes, checkpoint.root()) {
                Ok(Proven::Entry { index, line, size: checkpoint.size() })
            } else {
                Err(BadProof::Wrong)
            }
        }
        Some(CONSISTENCY) => {
            let hashes = hashes(lines)?;
            let whole = format!("{notes}\n");
            let (notes, taken) = split_notes(&whole);
            let [older, newer] = notes.as_slice() else { return Err(BadProof::Malformed) };
            if taken != whole.len() {
                return Err(BadProof::Malformed);
            }
            let (older, newer) = (SignedCheckpoint::open(older, verifier)?, SignedCheckpoint::open(newer, verifier)?);
            let (old, new) = (older.checkpoint(), newer.checkpoint());
            if is_beginning((old.size(), old.root()), (new.size(), new.root()), &hashes) {
                Ok(Proven::Extension { old: old.size(), new: new.size() })
            } else {
                Err(BadProof::Wrong)
            }
        }
        Some(_) | None => Err(BadProof::Malformed),
    }
}

/// Runs `builder` over the lines that `signed` covers, and shows each to `see`.
fn build(
    directory: &Path,
    mut builder: ProofBuilder,
    signed: &SignedCheckpoint,
    mut see: impl FnMut(u64, &[u8]),
) -> Result<Vec<TreeHash>, ProofError> {
    let io_error = |source| VerifyError::Io { path: directory.to_owned(), source };
    let mut tree = Frontier::default();
    let checkpoint = signed.checkpoint();
    for segment in Segment::list(directory).map_err(io_error)? {
        if segment.first != tree.size() {
            return Err(ProofError::Incomplete(tree.size()));
        }
        let mut reader = segment.lines().map_err(io_error)?;
        while tree.size() < checkpoint.size() {
            let Line::Whole(line) = reader.next().map_err(io_error)? else { break };
            see(tree.size(), line);
            let leaf = TreeHash::of_leaf(line);
            builder.take(leaf);
            tree.append(leaf);
        }
        if tree.size() == checkpoint.size() {
            break;
        }
    }
    if tree.size() < checkpoint.size() {
        return Err(ProofError::Incomplete(tree.size()));
    }
    if tree.root() != checkpoint.root() {
        return Err(ProofError::Altered);
    }
    builder.finish().ok_or(ProofError::Altered)
}

fn append(proof: &mut String, hashes: &[TreeHash]) {
    for hash in hashes {
        // A string takes everything.
        let _infallible = writeln!(proof, "{hash}");
    }
}

fn hashes<'l>(lines: impl Iterator<Item = &'l str>) -> Result<Vec<TreeHash>, BadProof> {
    let hashes: Result<Vec<TreeHash>, _> = lines.take(MOST_HASHES + 1).map(str::parse).collect();
    hashes.ok().filter(|hashes| hashes.len() <= MOST_HASHES).ok_or(BadProof::Malformed)
}
