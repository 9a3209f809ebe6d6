//! Where an earlier run left off: the last file is read and checked, and what a crash tore off its end is put aside.

use crate::checkpoint::SignedCheckpoint;
use crate::header::{Account, read_header};
use crate::keys::LogKeys;
use crate::line::read_place;
use crate::segment::{Line, Segment, private_file, sync_directory};
use crate::tree::{Frontier, TreeHash};
use kms_service::Accounted;
use kms_storage::StoreRevision;
use kms_types::Revision;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Why a log cannot be gone on with. The messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its files cannot be read or written.
    #[error("the audit log in {directory}: {source}")]
    Io {
        /// Where.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its writer could not be started.
    #[error("the audit log's writer could not be started: {0}")]
    Thread(io::Error),
    /// It is the log of another zone or store.
    #[error("{file} is a log of {found}, not of {own}: give each zone a directory of its own")]
    OtherLog {
        /// The file.
        file: PathBuf,
        /// Whose log it is.
        found: String,
        /// Whose it should be.
        own: String,
    },
    /// A line that a checkpoint covers is not as it was written.
    #[error(
        "{file}: line {line} is not as it was written; see what `zonekms audit verify` says, keep the directory, and name \
         an empty one to go on with"
    )]
    Altered {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: u64,
    },
    /// There are fewer lines than a checkpoint says.
    #[error(
        "{file}: ends at entry {found}, but a checkpoint covers {signed}: it was cut or put back; keep the directory, and \
         name an empty one to go on with"
    )]
    Truncated {
        /// The file.
        file: PathBuf,
        /// How many entries there are.
        found: u64,
        /// How many the checkpoint covers.
        signed: u64,
    },
    /// There are checkpoints of a file, but its lines are not there.
    #[error(
        "{file}: it is missing or empty, but a checkpoint covers entries up to {signed}: it was removed or put back; put it \
         back as it was, or keep the directory and name an empty one to go on with"
    )]
    Missing {
        /// The file.
        file: PathBuf,
        /// How many entries the newest of its checkpoints covers.
        signed: u64,
    },
    /// A checkpoint is not as it was written.
    #[error("{file}: checkpoint {number} is not as it was written; see what `zonekms audit verify` says")]
    Checkpoint {
        /// The file.
        file: PathBuf,
        /// The checkpoint, from 1.
        number: usize,
    },
}

/// Where an earlier run left off.
#[derive(Default)]
pub(crate) struct Resumed {
    pub(crate) tree: Frontier,
    pub(crate) link: [u8; 8],
    pub(crate) accounted: Accounted,
    /// Bytes that were cut from the end of the last file.
    pub(crate) cut: u64,
    /// The last file, and the size at its newest checkpoint.
    pub(crate) last: Option<(Segment, u64)>,
}

/// Reads the last file in `directory`.
pub(crate) fn resume(directory: &Path, keys: &LogKeys) -> Result<Resumed, OpenError> {
    let io_error = |source| OpenError::Io { directory: directory.to_owned(), source };
    let mut segments = Segment::list(directory).map_err(io_error)?;
    let mut resumed = Resumed::default();
    refuse_missing_lines(directory, &segments, keys)?;
    while let Some(segment) = segments.pop() {
        if resume_from(&segment, keys, &mut resumed)? {
            return Ok(resumed);
        }
        // Not even its first line was written whole: nothing in it was ever durable, unless more than that was signed.
        refuse_signed(&segment, keys)?;
        segment.remove();
        sync_directory(directory).map_err(io_error)?;
    }
    Ok(resumed)
}

/// Refuses checkpoints without lines behind `segments`. Older lines may have been moved away.
fn refuse_missing_lines(directory: &Path, segments: &[Segment], keys: &LogKeys) -> Result<(), OpenError> {
    let io_error = |source| OpenError::Io { directory: directory.to_owned(), source };
    let orphans = Segment::list_checkpoints(directory).map_err(io_error)?;
    orphans.iter().filter(|orphan| segments.last().is_none_or(|last| *orphan > last)).try_for_each(|orphan| {
        // One that a crash left when its lines were not made yet has only its first checkpoint.
        refuse_signed(orphan, keys)
    })
}

/// Refuses a segment without lines of which a checkpoint covers some.
fn refuse_signed(segment: &Segment, keys: &LogKeys) -> Result<(), OpenError> {
    let checkpoints = own_checkpoints(segment, keys)?;
    match checkpoints.last().map(|newest| newest.checkpoint().size()) {
        Some(signed) if signed > segment.first => Err(OpenError::Missing { file: segment.lines_path(), signed }),
        Some(_) | None => Ok(()),
    }
}

/// Whether `segment` has a first line at all.
fn resume_from(segment: &Segment, keys: &LogKeys, resumed: &mut Resumed) -> Result<bool, OpenError> {
    let path = segment.lines_path();
    let io_error = |source| OpenError::Io { directory: path.clone(), source };
    let own = keys.signer().verifier();
    let mut reader = segment.lines().map_err(io_error)?;
    let mut accounted = Accounted::default();
    let (header, link) = match reader.next().map_err(io_error)? {
        Line::Whole(line) => {
            let place = read_place(line).filter(|(seq, _)| *seq == segment.first);
            let header = read_header(line, segment.first).zip(place);
            let (header, _) = header.ok_or_else(|| OpenError::Altered { file: path.clone(), line: 1 })?;
            if let Ok(account) = serde_json::from_slice(line) {
                note(&account, &mut accounted);
            }
            (header, TreeHash::of_leaf(line))
        }
        Line::Torn | Line::End => return Ok(false),
    };
    if header.verifier != *own {
        let (found, own) = (header.verifier.name().to_owned(), own.name().to_owned());
        return Err(OpenError::OtherLog { file: path, found, own });
    }
    let checkpoints = own_checkpoints(segment, keys)?;
    let newest = checkpoints.last().map_or(0, |newest| newest.checkpoint().size());
    let mut tree = header.tree;
    let mut expected = checkpoints.iter().map(SignedCheckpoint::checkpoint).peekable();
    let mut matches = |tree: &Frontier| {
        while let Some(checkpoint) = expected.next_if(|next| next.size() == tree.size()) {
            if checkpoint.root() != tree.root() {
                return false;
            }
        }
        true
    };
    // The first checkpoint covers what came before: the tree in the header has to be that one.
    if !matches(&tree) || (segment.first > 0 && newest < segment.first) {
        return Err(OpenError::Altered { file: path, line: 1 });
    }
    tree.append(link);
    let mut last_link = link.link();
    let mut good = matches(&tree);
    let mut whole = reader.taken;
    while good {
        let Line::Whole(line) = reader.next().map_err(io_error)? else { break };
        let leaf = TreeHash::of_leaf(line);
        let follows =
            read_place(line).is_some_and(|(seq, link)| seq == tree.size() && link == hex::encode(last_link).as_bytes());
        let Some(account) = serde_json::from_slice(line).ok().filter(|_| follows) else { break };
        note(&account, &mut accounted);
        tree.append(leaf);
        last_link = leaf.link();
        good = matches(&tree);
        whole = reader.taken;
    }
    let lines = tree.size() - segment.first;
    if !good {
        return Err(OpenError::Altered { file: path, line: lines });
    }
    let length = fs::metadata(&path).map_err(io_error)?.len();
    if tree.size() < newest {
        if whole < length {
            return Err(OpenError::Altered { file: path, line: lines + 1 });
        }
        return Err(OpenError::Truncated { file: path, found: tree.size(), signed: newest });
    }
    if whole < length {
        put_aside(segment, whole).map_err(io_error)?;
    }
    *resumed = Resumed { tree, link: last_link, accounted, cut: length - whole, last: Some((segment.clone(), newest)) };
    Ok(true)
}

/// The checkpoints of a segment; one that a crash tore is cut off.
fn own_checkpoints(segment: &Segment, keys: &LogKeys) -> Result<Vec<SignedCheckpoint>, OpenError> {
    let file = segment.checkpoints_path();
    let io_error = |source| OpenError::Io { directory: file.clone(), source };
    let (notes, taken, torn) = segment.notes().map_err(io_error)?;
    if torn {
        let open = private_file(&file, false).map_err(io_error)?;
        open.set_len(taken as u64).and_then(|()| open.sync_all()).map_err(io_error)?;
    }
    let mut opened: Vec<SignedCheckpoint> = Vec::with_capacity(notes.len());
    for (place, note) in notes.iter().enumerate() {
        let bad = || OpenError::Checkpoint { file: file.clone(), number: place + 1 };
        let signed = SignedCheckpoint::open(note, keys.signer().verifier()).map_err(|_| bad())?;
        let size = signed.checkpoint().size();
        if size < segment.first || opened.last().is_some_and(|last| last.checkpoint().size() > size) {
            return Err(bad());
        }
        opened.push(signed);
    }
    Ok(opened)
}

/// Takes note of a change that has its entry.
fn note(account: &Account<'_>, accounted: &mut Accounted) {
    if let Some(settled) = account.settled() {
        // The last one counts: a store that was set back has fewer commits than before.
        accounted.settled = Some(settled);
    }
    if let Some(commit) = account.commit {
        accounted.commits.insert(StoreRevision::new(commit));
        let revision = account.revision.and_then(Revision::new);
        if let (Some(Ok(key)), Some(revision)) = (account.key.map(str::parse), revision) {
            accounted.keys.insert((key, revision));
        }
    }
}

/// Keeps the bytes from `length` on in a file of their own, and cuts them off.
fn put_aside(segment: &Segment, length: u64) -> io::Result<()> {
    let path = segment.lines_path();
    let mut tail = Vec::new();
    let mut file = File::open(&path)?;
    file.seek(SeekFrom::Start(length))?;
    file.read_to_end(&mut tail)?;
    let mut aside = private_file(&segment.cut_path(length), false)?;
    aside.write_all(&tail)?;
    aside.sync_all()?;
    let file = private_file(&path, false)?;
    file.set_len(length)?;
    file.sync_all()?;
    path.parent().map_or(Ok(()), sync_directory)
}
