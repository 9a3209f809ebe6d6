//! The files of a log: what they are called, and how their lines are read.

use crate::checkpoint::split_notes;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The longest line that is read, in bytes. Those written are far shorter: no text of a user is in them.
pub(crate) const MAX_LINE: usize = 64 * 1024;

/// The longest file of checkpoints that is read, in bytes.
const MAX_CHECKPOINTS: u64 = 256 * 1024 * 1024;

/// One file of lines and the file of its checkpoints, by the sequence number of its first line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Segment {
    pub(crate) first: u64,
    directory: PathBuf,
}

/// A line, or why there is none.
pub(crate) enum Line<'l> {
    /// Without its line feed.
    Whole(&'l [u8]),
    /// The file ends without a line feed, or the line is too long to be one.
    Torn,
    /// The end of the file.
    End,
}

/// Reads the lines of one file, one at a time.
pub(crate) struct LineReader {
    file: BufReader<File>,
    line: Vec<u8>,
    /// Bytes of the whole lines read so far.
    pub(crate) taken: u64,
}

impl Segment {
    pub(crate) fn new(directory: &Path, first: u64) -> Self {
        Self { first, directory: directory.to_owned() }
    }

    /// All segments in `directory`, in order. Other files are passed over.
    pub(crate) fn list(directory: &Path) -> io::Result<Vec<Self>> {
        Self::with_ending(directory, ".jsonl")
    }

    /// The segments of which there are checkpoints.
    pub(crate) fn list_checkpoints(directory: &Path) -> io::Result<Vec<Self>> {
        Self::with_ending(directory, ".checkpoints")
    }

    fn with_ending(directory: &Path, ending: &str) -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(ending));
            if let Some(first) = number.filter(|digits| digits.len() == 20).and_then(|digits| digits.parse().ok()) {
                found.push(Self::new(directory, first));
            }
        }
        found.sort();
        Ok(found)
    }

    /// The file of its lines.
    pub(crate) fn lines_path(&self) -> PathBuf {
        self.directory.join(format!("{:020}.jsonl", self.first))
    }

    /// The file of its checkpoints.
    pub(crate) fn checkpoints_path(&self) -> PathBuf {
        self.directory.join(format!("{:020}.checkpoints", self.first))
    }

    /// Where bytes that were cut from the end of its lines are kept.
    pub(crate) fn cut_path(&self, length: u64) -> PathBuf {
        self.directory.join(format!("{:020}.cut-at-{length}", self.first))
    }

    /// Removes both files, as far as they are there and can be removed.
    pub(crate) fn remove(&self) {
        for path in [self.lines_path(), self.checkpoints_path()] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(file = %path.display(), %error, "a file that holds nothing could not be removed");
            }
        }
    }

    /// Its lines, from the first.
    pub(crate) fn lines(&self) -> io::Result<LineReader> {
        self.lines_from(0)
    }

    /// Its lines, from the one that begins after so many bytes.
    pub(crate) fn lines_from(&self, begin: u64) -> io::Result<LineReader> {
        let mut file = File::open(self.lines_path())?;
        file.seek(SeekFrom::Start(begin))?;
        Ok(LineReader { file: BufReader::with_capacity(256 * 1024, file), line: Vec::new(), taken: 0 })
    }

    /// The notes in its file of checkpoints, the bytes that these take, and whether anything comes after them.
    pub(crate) fn notes(&self) -> io::Result<(Vec<String>, usize, bool)> {
        let mut text = Vec::new();
        match File::open(self.checkpoints_path()) {
            Ok(file) => file.take(MAX_CHECKPOINTS).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        // What is not UTF-8 is no note: it counts as left over.
        let valid = match str::from_utf8(&text) {
            Ok(valid) => valid,
            Err(error) => str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default(),
        };
        let (notes, taken) = split_notes(valid);
        Ok((notes.into_iter().map(str::to_owned).collect(), taken, taken < text.len()))
    }
}

impl LineReader {
    /// The next line.
    pub(crate) fn next(&mut self) -> io::Result<Line<'_>> {
        self.line.clear();
        let limit = MAX_LINE as u64 + 1;
        let read = self.file.by_ref().take(limit).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(Line::End);
        }
        match self.line.strip_suffix(b"\n") {
            Some(line) => {
                self.taken += read as u64;
                Ok(Line::Whole(line))
            }
            None => Ok(Line::Torn),
        }
    }
}

/// Opens a file for writing that only the owner can read; `new` if it must not exist.
pub(crate) fn private_file(path: &Path, new: bool) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).create_new(new).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Forces the entries of a directory to disk.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
