//! `zonekms verify-backup`: proves a backup without restoring it.

use std::fmt::Write;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use kms_backup::ReadError;
use kms_service::{BackupContent, verify_backup};

use super::locks::unlock;
use super::progress::Progress;
use crate::cli::VerifyBackupArguments;
use crate::failure::Failure;

/// Verifies, and says what the backup holds.
pub(crate) fn verify(arguments: &VerifyBackupArguments) -> Result<String, Failure> {
    let VerifyBackupArguments { file, unlock: opened_with } = arguments;
    let unlock = unlock(opened_with)?;
    let mut progress = Progress::new("verified");
    let verified = verify_backup(&unlock, open(file)?, &mut |records| progress.show(records, None));
    drop(progress);
    let verified = verified.map_err(|error| Failure::run(format!("{}: {error}", file.display())))?;
    Ok(format!("{}: ok\n\n{}", file.display(), describe(verified.content())))
}

/// The file from its beginning.
pub(super) fn open(file: &Path) -> Result<BufReader<File>, Failure> {
    let opened = File::open(file).map_err(ReadError::Input);
    opened.map(BufReader::new).map_err(|error| Failure::input(format!("{}: {error}", file.display())))
}

pub(super) fn describe(content: &BackupContent) -> String {
    let BackupContent { header, trailer, keys, versions, deleted } = content;
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "zone      {}", header.zone);
    let _ = writeln!(text, "taken at  {}", header.taken_at);
    let _ = writeln!(text, "as of     revision {} of store {}", trailer.as_of, hex::encode(header.store_id));
    let _ = writeln!(text, "keys      {keys}, with {versions} material versions; {deleted} deleted");
    let _ = writeln!(text, "content   {}", hex::encode(trailer.digest));
    text
}
