//! Who can open a backup, from the command line and the files it names.

use std::path::Path;

use kms_backup::{InvalidLock, Lock, Unlock};
use kms_crypto::SecretBytes;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::{LockArguments, UnlockArguments};
use crate::failure::Failure;
use crate::private_files::{Guard, UnreadableSecret, read_secret};

/// The largest file of a passphrase, of keys or of recipients, in bytes.
const FILE_LIMIT: usize = 65_536;

/// What a backup is encrypted to, as text: how it reaches the server that encrypts.
pub(crate) enum LockText {
    Recipients(Vec<String>),
    Passphrase(Zeroizing<String>),
}

impl LockText {
    /// What the arguments name; files are read.
    pub(crate) fn find(arguments: &LockArguments) -> Result<Self, Failure> {
        let LockArguments { recipients, recipients_file, passphrase_file } = arguments;
        if let Some(file) = passphrase_file {
            let content = secret(file)?;
            let text = std::str::from_utf8(content.expose()).map_err(|error| at(file, error))?;
            return Ok(Self::Passphrase(Zeroizing::new(text.to_owned())));
        }
        let mut texts = recipients.clone();
        if let Some(file) = recipients_file {
            let content = std::fs::read_to_string(file).map_err(|error| at(file, error))?;
            let lines = content.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            texts.extend(lines.map(str::to_owned));
        }
        Ok(Self::Recipients(texts))
    }

    /// Checked, and ready to encrypt with.
    pub(crate) fn into_lock(self) -> Result<Lock, InvalidLock> {
        match self {
            Self::Recipients(texts) => Lock::to_recipients(texts.iter().map(String::as_str)),
            Self::Passphrase(text) => Lock::to_passphrase(&SecretBytes::copy_from(text.as_bytes())),
        }
    }

    /// What the control socket is asked with.
    pub(super) fn request(&self) -> Value {
        match self {
            Self::Recipients(texts) => json!({ "recipients": texts }),
            Self::Passphrase(text) => json!({ "passphrase": text.as_str() }),
        }
    }
}

/// What opens a backup, read from the file that the arguments name.
pub(super) fn unlock(arguments: &UnlockArguments) -> Result<Unlock, Failure> {
    let UnlockArguments { identity, passphrase_file } = arguments;
    match (identity, passphrase_file) {
        (Some(file), _) => Unlock::with_key_file(&secret(file)?).map_err(|fault| at(file, fault)),
        (None, Some(file)) => Unlock::with_passphrase(&secret(file)?).map_err(|fault| at(file, fault)),
        (None, None) => Err(Failure::input("give --identity FILE or --passphrase-file FILE")),
    }
}

fn secret(file: &Path) -> Result<SecretBytes, Failure> {
    read_secret(file, FILE_LIMIT, Guard::Owner).map_err(|error| match error {
        UnreadableSecret::NotOpened(error) => at(file, error),
        UnreadableSecret::Unfit(unfit) => Failure::input(unfit),
    })
}

fn at(file: &Path, fault: impl std::fmt::Display) -> Failure {
    Failure::input(format!("{}: {fault}", file.display()))
}
