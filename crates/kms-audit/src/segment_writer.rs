//! Appends to one file of lines and its checkpoints. What is said to be written is durable; what failed is taken back.

use crate::checkpoint::SignedCheckpoint;
use crate::segment::{Segment, private_file, sync_directory};
use kms_types::Timestamp;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The files that are being written.
pub(crate) struct SegmentWriter {
    lines: Appended,
    checkpoints: Appended,
    /// The sequence number of the first line.
    pub(crate) first: u64,
    pub(crate) begun: Timestamp,
}

/// A file that is written at its end only.
struct Appended {
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
        now: Timestamp,
    ) -> io::Result<Self> {
        let segment = Segment::new(directory, first);
        let begun = Self::begin_in(&segment, before, header, now);
        if begun.is_err() {
            // The segment before goes on, and a file without lines in the middle would be a fault.
            segment.remove();
            return begun;
        }
        sync_directory(directory)?;
        begun
    }

    fn begin_in(segment: &Segment, before: &SignedCheckpoint, header: &[u8], now: Timestamp) -> io::Result<Self> {
        // An earlier attempt may have left it; without lines it is nothing.
        let mut checkpoints = Appended::at(private_file(&segment.checkpoints_path(), false)?, 0);
        checkpoints.uncertain = true;
        append_checkpoint(&mut checkpoints, before)?;
        let mut lines = Appended::at(private_file(&segment.lines_path(), false)?, 0);
        lines.uncertain = true;
        lines.append(header)?;
        Ok(Self { lines, checkpoints, first: segment.first, begun: now })
    }

    /// Bytes in the file of lines.
    pub(crate) const fn length(&self) -> u64 {
        self.lines.length
    }

    /// Appends whole lines.
    pub(crate) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.lines.append(lines)
    }

    /// Appends a checkpoint.
    pub(crate) fn checkpoint(&mut self, checkpoint: &SignedCheckpoint) -> io::Result<()> {
        append_checkpoint(&mut self.checkpoints, checkpoint)
    }
}

/// Appends a checkpoint to a segment that is not written any more.
pub(crate) fn close_segment(segment: &Segment, checkpoint: &SignedCheckpoint) -> io::Result<()> {
    let file = private_file(&segment.checkpoints_path(), false)?;
    let length = file.metadata()?.len();
    append_checkpoint(&mut Appended::at(file, length), checkpoint)
}

fn append_checkpoint(file: &mut Appended, checkpoint: &SignedCheckpoint) -> io::Result<()> {
    file.append(format!("{}\n", checkpoint.note()).as_bytes())
}

impl Appended {
    const fn at(file: File, length: u64) -> Self {
        Self { file, length, uncertain: false }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.uncertain {
            self.file.set_len(self.length)?;
            self.uncertain = false;
        }
        // After a failed sync the kernel may call the same pages clean. They are written again, so the next sync is about them.
        let written = self.file.write_all_at(bytes, self.length).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.uncertain = self.file.set_len(self.length).is_err();
            return Err(error);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }
}
