//! Writing a backup.

use crate::frame::{Head, Kind, PADDING};
use crate::lock::Lock;
use crate::output::{Fault, Output};
use crate::statement::{FORMAT, Header, MAGIC, Trailer};
use age::stream::StreamWriter;
use sha2::{Digest, Sha256};
use std::io::{self, Write};

/// A backup being written. It ends with [`BackupWriter::finish`]; what is dropped before is cut short, and every reader says
/// so.
pub struct BackupWriter<W: Write> {
    /// `None` once finished.
    stream: Option<StreamWriter<Output<W>>>,
    fault: Fault,
    digest: Sha256,
    records: u64,
    removed: u64,
}

/// Why a backup could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The output failed.
    #[error("the backup could not be written: {0}")]
    Output(#[from] io::Error),
    /// A path or record is longer than the format has room for.
    #[error("a record does not fit into a backup")]
    TooLong,
    /// Header or trailer could not be encoded.
    #[error("the backup's own statements could not be written")]
    Statement,
    /// The recipients are of kinds that do not go together.
    #[error("the backup cannot be encrypted to these recipients")]
    Recipients,
}

impl<W: Write> BackupWriter<W> {
    /// Begins a backup to whoever `lock` names. With a passphrase this takes about a second of one processor.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn begin(lock: &Lock, header: &Header, out: W) -> Result<Self, WriteError> {
        let fault = Fault::default();
        let encryptor = lock.encryptor().map_err(|_| WriteError::Recipients)?;
        let stream = encryptor.wrap_output(Output::new(out, fault.clone()))?;
        let mut writer = Self { stream: Some(stream), fault, digest: Sha256::new(), records: 0, removed: 0 };
        let mut body = MAGIC.to_vec();
        body.push(FORMAT);
        let body = postcard::to_extend(header, body).map_err(|_| WriteError::Statement)?;
        writer.frame(Kind::Header, "", &body)?;
        Ok(writer)
    }

    /// The record at `path`. Until [`BackupWriter::catch_up`], paths come in ascending order; readers check it.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn record(&mut self, path: &str, content: &[u8]) -> Result<(), WriteError> {
        self.frame(Kind::Record, path, content)?;
        self.records += 1;
        Ok(())
    }

    /// There is no record at `path` any more.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn removed(&mut self, path: &str) -> Result<(), WriteError> {
        self.frame(Kind::Removed, path, &[])?;
        self.removed += 1;
        Ok(())
    }

    /// From now on, what comes replaces what was written of its place before.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn catch_up(&mut self) -> Result<(), WriteError> {
        self.frame(Kind::CatchUp, "", &[])
    }

    /// How many records were written so far.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Ends a backup that stands as of revision `as_of` of its store.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn finish(mut self, as_of: u64) -> Result<(W, Trailer), WriteError> {
        // age frees its buffer as it is: let it hold zeros, and a trailer without secrets.
        self.frame(Kind::Padding, "", &[0; PADDING])?;
        let digest = self.digest.clone().finalize().into();
        let trailer = Trailer { records: self.records, removed: self.removed, as_of, digest };
        let body = postcard::to_stdvec(&trailer).map_err(|_| WriteError::Statement)?;
        self.frame(Kind::Trailer, "", &body)?;
        let stream = self.stream.take().ok_or(WriteError::Statement)?;
        let mut output = stream.finish()?;
        output.flush()?;
        self.fault.check()?;
        Ok((output.into_inner(), trailer))
    }

    fn frame(&mut self, kind: Kind, path: &str, body: &[u8]) -> Result<(), WriteError> {
        let stream = self.stream.as_mut().ok_or(WriteError::Statement)?;
        let head = Head { kind, path: path.len(), body: body.len() }.encode().ok_or(WriteError::TooLong)?;
        for part in [&head[..], path.as_bytes(), body] {
            self.digest.update(part);
            stream.write_all(part)?;
        }
        Ok(self.fault.check()?)
    }
}

impl<W: Write> Drop for BackupWriter<W> {
    /// Overwrites what age's buffer still holds of records.
    fn drop(&mut self) {
        if let Some(stream) = &mut self.stream {
            // The output takes everything; what it could not write was told before.
            let _ = stream.write_all(&[0; PADDING]);
        }
    }
}
