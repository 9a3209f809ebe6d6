//! Appends to one file of lines and its checkpoints. What is said to be written is durable; what failed is taken back.

use crate::checkpoint::SignedCheckpoint;
use crate::segment::{Segment, private_file, sync_directory};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The files that are being written.
pub(crate) struct SegmentWriter {
    lines: Appended,
    checkpoints: Appended,
    /// The sequence number of the first line.
    pub(crate) first: u64,
    /// When it was begun, by the elapsed clock.
    pub(crate) begun: Duration,
    /// The segment after this one, of which a failed beginning may have left files.
    stray: Option<Segment>,
}

/// A file that is written at its end only.
struct Appended {
    path: PathBuf,
    file: File,
    /// Bytes that are durable.
    length: u64,
    /// Whether there may be more than these, of which nothing is known.
    uncertain: bool,
}

impl SegmentWriter {
    /// Begins a segment: its first checkpoint, which covers everything before it, and then its first line.
    pub(crate) fn begin(
        directory: &Path,
        first: u64,
        before: &SignedCheckpoint,
        header: &[u8],
        elapsed: Duration,
    ) -> io::Result<Self> {
        let segment = Segment::new(directory, first);
        refuse_to_replace(&segment)?;
        let begun = Self::begin_in(&segment, before, header, elapsed);
        let begun = begun.and_then(|begun| sync_directory(directory).map(|()| begun));
        if begun.is_err() {
            // The segment before goes on, and a file without lines in the middle would be a fault.
            segment.remove();
        }
        begun
    }

    fn begin_in(segment: &Segment, before: &SignedCheckpoint, header: &[u8], elapsed: Duration) -> io::Result<Self> {
        // An earlier attempt may have left it; without lines it is nothing.
        let mut checkpoints = Appended::open(segment.checkpoints_path(), 0)?;
        checkpoints.uncertain = true;
        append_checkpoint(&mut checkpoints, before)?;
        let mut lines = Appended::open(segment.lines_path(), 0)?;
        lines.uncertain = true;
        lines.append(header)?;
        Ok(Self { lines, checkpoints, first: segment.first, begun: elapsed, stray: None })
    }

    /// Takes note that the segment that begins with line `first` could not be begun, so that this one goes on.
    pub(crate) fn goes_on(&mut self, directory: &Path, first: u64) {
        self.stray = Some(Segment::new(directory, first));
    }

    /// Bytes in the file of lines.
    pub(crate) const fn length(&self) -> u64 {
        self.lines.length
    }

    /// Appends whole lines.
    pub(crate) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if let Some(stray) = &self.stray {
            // Its first line may be whole, with the number that the next line has here: the next run would go on from there.
            discard(stray)?;
            self.stray = None;
        }
        self.lines.append(lines)
    }

    /// Appends a checkpoint, which covers more than the newest one in its file.
    pub(crate) fn checkpoint(&mut self, checkpoint: &SignedCheckpoint) -> io::Result<()> {
        self.lines.check_place()?;
        append_checkpoint(&mut self.checkpoints, checkpoint)
    }
}

/// Removes what a failed beginning left of `segment`, and makes sure that it stays removed.
fn discard(segment: &Segment) -> io::Result<()> {
    refuse_to_replace(segment)?;
    for path in [segment.lines_path(), segment.checkpoints_path()] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    segment.lines_path().parent().map_or(Ok(()), sync_directory)
}

/// More than its first checkpoint is signed only over lines that were there.
fn refuse_to_replace(segment: &Segment) -> io::Result<()> {
    let (notes, ..) = segment.notes()?;
    if notes.len() > 1 {
        let file = segment.checkpoints_path();
        let what = format!(
            "{} holds checkpoints over entries that are not here: keep the directory, and name an empty one to go on with",
            file.display()
        );
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    Ok(())
}

/// Appends a checkpoint to a segment that is not written any more.
pub(crate) fn close_segment(segment: &Segment, checkpoint: &SignedCheckpoint) -> io::Result<()> {
    let mut checkpoints = Appended::open(segment.checkpoints_path(), 0)?;
    checkpoints.length = checkpoints.file.metadata()?.len();
    append_checkpoint(&mut checkpoints, checkpoint)
}

fn append_checkpoint(file: &mut Appended, checkpoint: &SignedCheckpoint) -> io::Result<()> {
    file.append(format!("{}\n", checkpoint.note()).as_bytes())
}

impl Appended {
    /// Opens or makes the file at `path`, of which `length` bytes are durable.
    fn open(path: PathBuf, length: u64) -> io::Result<Self> {
        let file = private_file(&path, false)?;
        Ok(Self { path, file, length, uncertain: false })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.uncertain {
            self.file.set_len(self.length)?;
            self.uncertain = false;
        }
        // After a failed sync the kernel may call the same pages clean. They are written again, so the next sync is about them.
        let written = self.file.write_all_at(bytes, self.length).and_then(|()| self.file.sync_data());
        // What went into a file that nobody finds any more is not written.
        let written = written.and_then(|()| self.check_place());
        if let Err(error) = written {
            self.uncertain = self.file.set_len(self.length).is_err();
            return Err(error);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// An error unless the open file is still the one at its path.
    fn check_place(&self) -> io::Result<()> {
        let own = self.file.metadata()?;
        let found = match fs::metadata(&self.path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if found.is_some_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino())) {
            return Ok(());
        }
        let what = format!(
            "{} was removed or replaced while it was being written: put back the very file (move it, a copy is another one); if \
             it is lost, restart the server, which then says what is missing",
            self.path.display()
        );
        Err(io::Error::new(io::ErrorKind::NotFound, what))
    }
}
