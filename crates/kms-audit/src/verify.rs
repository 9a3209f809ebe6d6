//! Verifies a log from its first line to its last, in bounded memory and without any key of the zone.

use crate::checkpoint::SignedCheckpoint;
use crate::header::read_header;
use crate::line::read_place;
use crate::note::NoteVerifier;
use crate::segment::{Line, Segment};
use crate::tree::{Frontier, TreeHash};
use serde::de::IgnoredAny;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What is known about a log before it is looked at.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The log's public key. Without it, the one that the log itself names is taken, which whoever rewrote it chose.
    pub public_key: Option<NoteVerifier>,
    /// A checkpoint kept elsewhere, as a note: the log has to be an extension of it.
    pub since: Option<String>,
    /// The entry that the oldest file begins with, when older files were moved away.
    pub first: u64,
}

/// A log in which nothing is wrong.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The first entry.
    pub first: u64,
    /// How many entries there are, those moved away included.
    pub size: u64,
    /// How many files there are.
    pub files: usize,
    /// How many checkpoints were verified.
    pub checkpoints: u64,
    /// The newest of them.
    pub newest: SignedCheckpoint,
    /// The key that signed them.
    pub public_key: NoteVerifier,
    /// Whether the log's last line has not been written to its end.
    pub is_torn: bool,
}

/// Why a log was not found to be in order.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It could not be read.
    #[error("{path}: {source}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no log.
    #[error("{0}: there is no audit log")]
    Nothing(PathBuf),
    /// The checkpoint given to compare with is not one of this log.
    #[error("the checkpoint to compare with cannot be used: {0}")]
    Since(&'static str),
    /// It is not as it was written.
    #[error("{0}")]
    Fault(Box<Fault>),
}

/// The first thing in a log that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// The line in it, from 1; in a file of checkpoints, the checkpoint.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

impl Verified {
    /// How many entries are not covered by a checkpoint yet.
    #[must_use]
    pub const fn unsigned(&self) -> u64 {
        self.size - self.newest.checkpoint().size()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

/// Reads the whole log in `directory` and says that it is in order, or the first thing that is not. The log may be written
/// meanwhile.
///
/// # Errors
///
/// [`VerifyError`].
pub fn verify_log(directory: &Path, expected: &Expected) -> Result<Verified, VerifyError> {
    let io_error = |source| VerifyError::Io { path: directory.to_owned(), source };
    let segments = Segment::list(directory).map_err(io_error)?;
    let mut verifying = Verifying::begin(&segments, directory, expected)?;
    for (place, segment) in segments.iter().enumerate() {
        verifying.segment(segment, place + 1 == segments.len())?;
    }
    // A file of checkpoints whose lines were removed. When the server is stopped between making the two, it has none of lines.
    for segment in Segment::list_checkpoints(directory).map_err(io_error)?.iter().filter(|one| !segments.contains(one))
    {
        let (notes, ..) = segment.notes().map_err(io_error)?;
        if notes.len() > 1 && segment.first >= expected.first && !segment.lines_path().exists() {
            return Err(fault(
                segment.lines_path(),
                1,
                "the file is missing, but its checkpoints are there".to_owned(),
            ));
        }
    }
    verifying.finish(segments.len())
}

/// The newest checkpoint of the log in `directory`, and the public key that the log names.
///
/// # Errors
///
/// [`VerifyError`], also when it is not signed with that key. The lines are not looked at.
pub fn newest_checkpoint(directory: &Path) -> Result<(SignedCheckpoint, NoteVerifier), VerifyError> {
    let io_error = |source| VerifyError::Io { path: directory.to_owned(), source };
    for segment in Segment::list(directory).map_err(io_error)?.iter().rev() {
        let (notes, ..) = segment.notes().map_err(io_error)?;
        if let (Some(note), Some(verifier)) = (notes.last(), named_key(segment)?) {
            let signed = SignedCheckpoint::open(note, &verifier);
            let file = segment.checkpoints_path();
            let signed = signed.map_err(|cause| fault(file, notes.len() as u64, cause.to_string()))?;
            return Ok((signed, verifier));
        }
    }
    Err(VerifyError::Nothing(directory.to_owned()))
}

struct Verifying {
    verifier: NoteVerifier,
    since: Option<SignedCheckpoint>,
    first: u64,
    /// All lines up to here; `None` before the first line.
    tree: Option<Frontier>,
    link: Option<[u8; 8]>,
    checkpoints: u64,
    newest: Option<SignedCheckpoint>,
    is_torn: bool,
}

impl Verifying {
    fn begin(segments: &[Segment], directory: &Path, expected: &Expected) -> Result<Self, VerifyError> {
        let oldest = segments.first().ok_or_else(|| VerifyError::Nothing(directory.to_owned()))?;
        if oldest.first != expected.first {
            let what = format!(
                "the log begins with entry {}, not with entry {}: older files are missing",
                oldest.first, expected.first
            );
            return Err(fault(oldest.lines_path(), 1, what));
        }
        let verifier = match &expected.public_key {
            Some(key) => key.clone(),
            None => named_key(oldest)?.ok_or_else(|| {
                fault(oldest.lines_path(), 1, "the file does not begin with the first line of a log".to_owned())
            })?,
        };
        let since = expected.since.as_ref().map(|note| SignedCheckpoint::open(note, &verifier)).transpose();
        let since = since.map_err(|_| VerifyError::Since("it is not a checkpoint that this log's key signed"))?;
        if since.as_ref().is_some_and(|since| since.checkpoint().size() < expected.first) {
            return Err(VerifyError::Since("it is older than the first file that is here"));
        }
        let first = expected.first;
        Ok(Self { verifier, since, first, tree: None, link: None, checkpoints: 0, newest: None, is_torn: false })
    }

    fn segment(&mut self, segment: &Segment, is_last: bool) -> Result<(), VerifyError> {
        let path = segment.lines_path();
        let io_error = |source| VerifyError::Io { path: path.clone(), source };
        if let Some(tree) = self.tree.as_ref().filter(|tree| tree.size() != segment.first) {
            let what = format!("entry {} should follow, but this file begins with {}", tree.size(), segment.first);
            return Err(fault(path, 1, what));
        }
        // Checkpoints first: the lines that they cover were there before them.
        let checkpoints = self.checkpoints_of(segment)?;
        let mut due = checkpoints.iter().peekable();
        let mut reader = segment.lines().map_err(io_error)?;
        let mut number = 0;
        loop {
            number += 1;
            let line = match reader.next().map_err(io_error)? {
                Line::Whole(line) => line,
                Line::End if number > 1 => break,
                Line::End => return Err(fault(path, 1, "the file has no lines".to_owned())),
                Line::Torn if is_last && number > 1 => {
                    self.is_torn = true;
                    break;
                }
                Line::Torn => return Err(fault(path, number, "the line is not whole".to_owned())),
            };
            let bad = |what: String| fault(path.clone(), number, what);
            if number == 1 {
                self.header(line, segment.first).map_err(|what| bad(what.to_owned()))?;
                self.matches(segment, &mut due)?;
            }
            self.line(line).map_err(bad)?;
            self.matches(segment, &mut due)?;
        }
        let size = self.tree.as_ref().map_or(0, Frontier::size);
        if let Some(ahead) = due.next() {
            let signed = ahead.checkpoint().size();
            let what = format!(
                "the file ends with {size} entries in all, but a checkpoint covers {signed}: its end is missing"
            );
            return Err(fault(path, number, what));
        }
        let closing = checkpoints.last().is_some_and(|newest| newest.checkpoint().size() == size);
        if !is_last && !closing {
            let what = format!("the checkpoint over all {size} entries up to the end of this file is missing");
            return Err(fault(segment.checkpoints_path(), checkpoints.len() as u64 + 1, what));
        }
        self.newest = checkpoints.into_iter().next_back().or(self.newest.take());
        Ok(())
    }

    fn checkpoints_of(&self, segment: &Segment) -> Result<Vec<SignedCheckpoint>, VerifyError> {
        let path = segment.checkpoints_path();
        let (notes, _, torn) = segment.notes().map_err(|source| VerifyError::Io { path: path.clone(), source })?;
        let mut opened: Vec<SignedCheckpoint> = Vec::with_capacity(notes.len());
        for (place, note) in notes.iter().enumerate() {
            let bad = |what: &dyn fmt::Display| {
                fault(path.clone(), place as u64 + 1, format!("the checkpoint cannot be believed: {what}"))
            };
            let signed = SignedCheckpoint::open(note, &self.verifier).map_err(|cause| bad(&cause))?;
            if opened.last() == Some(&signed) {
                // Earlier versions wrote it again when a file could not be begun after it. It says nothing else.
                continue;
            }
            let size = signed.checkpoint().size();
            let in_order = opened.last().map_or(size == segment.first, |last| last.checkpoint().size() < size);
            if !in_order {
                return Err(bad(&"it is not in its place"));
            }
            opened.push(signed);
        }
        if torn || opened.is_empty() {
            return Err(fault(path, notes.len() as u64 + 1, "the checkpoint is not whole".to_owned()));
        }
        Ok(opened)
    }

    fn header(&mut self, line: &[u8], first: u64) -> Result<(), &'static str> {
        let header = read_header(line, first).ok_or("the file does not begin with the first line of a file")?;
        if header.verifier != self.verifier {
            return Err("the file names another public key");
        }
        match &self.tree {
            Some(tree) if *tree != header.tree => Err("the file does not go on from the one before it"),
            Some(_) => Ok(()),
            None => {
                self.tree = Some(header.tree);
                Ok(())
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        let tree = self.tree.get_or_insert_default();
        let (seq, link) = read_place(line).ok_or("the line is not an entry")?;
        if seq != tree.size() {
            return Err(format!("entry {} should be here, but this is entry {seq}", tree.size()));
        }
        // What came before the first file here is known by its tree only.
        let before = self.link.or((seq == 0).then_some([0; 8]));
        if before.is_some_and(|before| link != hex::encode(before).as_bytes()) {
            return Err("the line does not follow the one before it: one of the two was altered".to_owned());
        }
        serde_json::from_slice::<IgnoredAny>(line).map_err(|_| "the line is not JSON")?;
        let leaf = TreeHash::of_leaf(line);
        tree.append(leaf);
        self.link = Some(leaf.link());
        Ok(())
    }

    /// Compares the tree with the checkpoints of its size.
    fn matches<'c>(
        &mut self,
        segment: &Segment,
        due: &mut std::iter::Peekable<impl Iterator<Item = &'c SignedCheckpoint>>,
    ) -> Result<(), VerifyError> {
        let tree = self.tree.get_or_insert_default();
        let size = tree.size();
        let is_due = |signed: &SignedCheckpoint| signed.checkpoint().size() == size;
        let own = due.next_if(|next| is_due(next));
        let remembered = self.since.as_ref().filter(|since| is_due(since));
        for signed in own.into_iter().chain(remembered) {
            if signed.checkpoint().root() != tree.root() {
                let what = format!(
                    "entries up to {size} are not those that were signed: one after the checkpoint before it was altered, \
                     and those behind made to fit"
                );
                return Err(fault(segment.lines_path(), size.saturating_sub(segment.first).max(1), what));
            }
        }
        self.checkpoints += u64::from(own.is_some());
        Ok(())
    }

    fn finish(self, files: usize) -> Result<Verified, VerifyError> {
        let size = self.tree.as_ref().map_or(0, Frontier::size);
        if self.since.as_ref().is_some_and(|since| since.checkpoint().size() > size) {
            return Err(VerifyError::Since("it covers more entries than there are: the end of the log was removed"));
        }
        let Self { first, checkpoints, newest, verifier, is_torn, .. } = self;
        let newest = newest.ok_or(VerifyError::Since("the log has no checkpoint"))?;
        Ok(Verified { first, size, files, checkpoints, newest, public_key: verifier, is_torn })
    }
}

/// The public key that the first line of `segment` names.
pub(crate) fn named_key(segment: &Segment) -> Result<Option<NoteVerifier>, VerifyError> {
    let io_error = |source| VerifyError::Io { path: segment.lines_path(), source };
    let mut reader = segment.lines().map_err(io_error)?;
    match reader.next().map_err(io_error)? {
        Line::Whole(line) => Ok(read_header(line, segment.first).map(|header| header.verifier)),
        Line::Torn | Line::End => Ok(None),
    }
}

fn fault(file: PathBuf, line: u64, what: String) -> VerifyError {
    VerifyError::Fault(Box::new(Fault { file, line, what }))
}
