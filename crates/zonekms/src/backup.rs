//! Backups: taken of a zone that is served or stopped, verified, and restored into an empty place.

mod locks;
mod progress;
mod restore;
mod stretch;
mod take;
mod target_file;
mod verify;

pub(crate) use locks::LockText;
pub(crate) use restore::restore;
pub(crate) use stretch::Stretch;
pub(crate) use take::take;
pub(crate) use verify::verify;

use std::path::Path;

use kms_backup::NewBackupKey;

use crate::failure::Failure;
use crate::private_files::write_new_private_file;

/// `zonekms backup-key new`: makes the private key in a new file, and says its public one.
pub(crate) fn new_key(file: &Path) -> Result<String, Failure> {
    let key = NewBackupKey::generate();
    write_new_private_file(file, &key.file_content())
        .map_err(|error| Failure::run(format!("{}: {error}", file.display())))?;
    Ok(format!(
        "wrote {}; keep it away from the server: whoever has it can open every backup made with\n\n    --recipient {}\n",
        file.display(),
        key.recipient()
    ))
}
