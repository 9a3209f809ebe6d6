//! Where a zone's root key comes from: a file, an environment variable or a systemd credential.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kms_crypto::{Entropy, EntropyError, RootKey, RootKeyError, RootKeyFingerprint, Secret, SecretBytes};
use zeroize::Zeroizing;

use crate::private_files::{Guard, UnreadableSecret, read_secret, write_new_private_file};

mod absent;
mod given;
mod keys;
mod prompt;
mod reload;

pub(crate) use absent::AbsentProvider;
pub(crate) use given::{GivenKey, is_renewal_of};
pub(crate) use keys::{ConfiguredKey, NoRootKey, Patience, Pause, RootKeys, Section};
pub(crate) use prompt::Prompt;
pub(crate) use reload::RootKeysFrom;

/// A look-up of environment variables by name.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The environment of this process.
pub(crate) const PROCESS_ENVIRONMENT: Environment<'static> = &|name| std::env::var_os(name);

/// Where to find a root key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootKeySource {
    /// A file that only its owner may read: 32 raw bytes, or text.
    File(PathBuf),
    /// An environment variable with text.
    Environment(String),
    /// A file in the directory that systemd names in `CREDENTIALS_DIRECTORY` (`LoadCredential=` and its siblings).
    Credential(String),
}

/// Why there is no root key. Messages name the source, never its content.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyFault {
    /// The file cannot be opened. Its path is not repeated: it may be the key itself, put there by mistake.
    #[error("cannot be opened: {0}")]
    NotOpened(io::Error),
    /// The file cannot be read, or others can read or replace it too.
    #[error("{0}")]
    Unreadable(String),
    /// The environment variable is not set. Its name is not repeated: it may be the key itself, put there by mistake.
    #[error("there is no such environment variable")]
    NotSet,
    /// A credential was asked for, but systemd gave none.
    #[error("CREDENTIALS_DIRECTORY is not set: is the service started by systemd with LoadCredential=?")]
    NoCredentials,
    /// The content is not a root key.
    #[error("{0}: must be 64 hexadecimal digits, base64 of 32 bytes, or (in a file) 32 raw bytes")]
    Unknown(String),
    /// The content is 32 characters of text, where random bytes are expected.
    #[error("{0}: 32 characters of text are a password, not a root key; make one with: zonekms root-key new FILE")]
    Text(String),
    /// The bytes cannot be random.
    #[error("{name}: {reason}")]
    Weak {
        /// The source.
        name: String,
        /// What is wrong with the bytes.
        reason: RootKeyError,
    },
}

/// The longest file that can hold a root key as text.
const FILE_LIMIT: usize = 256;

impl RootKeySource {
    /// Reads the root key.
    ///
    /// # Errors
    /// When the source is missing, readable by others, or not a root key.
    pub(crate) fn load(&self, environment: Environment<'_>) -> Result<RootKey, RootKeyFault> {
        let content = match self {
            Self::File(path) => read_file(path, Guard::Owner)?,
            Self::Environment(name) => {
                let value = environment(name).ok_or(RootKeyFault::NotSet)?;
                SecretBytes::copy_from(&Zeroizing::new(value.into_vec()))
            }
            Self::Credential(name) => {
                let directory = environment("CREDENTIALS_DIRECTORY").ok_or(RootKeyFault::NoCredentials)?;
                read_file(&Path::new(&directory).join(name), Guard::Elsewhere)?
            }
        };
        decode(content.expose(), &self.to_string())
    }
}

impl std::fmt::Display for RootKeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Credential(name) => write!(f, "credential {name}"),
        }
    }
}

/// Why a new root key could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NewRootKeyError {
    /// The file exists: a root key is never overwritten, because everything it wraps would be lost with it.
    #[error("{0} exists; a root key is never overwritten")]
    Exists(PathBuf),
    /// The file could not be written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The random bytes were refused.
    #[error(transparent)]
    Weak(#[from] RootKeyError),
}

/// Makes a root key and writes it as 64 hexadecimal digits to a new file of mode 0600.
///
/// # Errors
/// When the file exists or cannot be written, or when there is no randomness.
pub(crate) fn create_root_key_file(path: &Path, entropy: &dyn Entropy) -> Result<RootKey, NewRootKeyError> {
    let secret = Secret::<32>::random(entropy)?;
    let key = RootKey::from_bytes(secret.expose())?;
    let mut text = Zeroizing::new([0_u8; 65]);
    let (digits, end) = text.split_at_mut(64);
    end.fill(b'\n');
    hex::encode_to_slice(secret.expose(), digits)
        .map_err(|error| NewRootKeyError::Io { path: path.to_owned(), source: io::Error::other(error) })?;
    write_new_private_file(path, &text[..]).map_err(|source| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::AlreadyExists {
            NewRootKeyError::Exists(path)
        } else {
            NewRootKeyError::Io { path, source }
        }
    })?;
    Ok(key)
}

/// The line that `zonekms root-key new` prints.
pub(crate) fn describe_new_root_key(path: &Path, fingerprint: &RootKeyFingerprint) -> String {
    format!(
        "wrote {} (fingerprint {fingerprint}); keep a copy in a safe place: without it, every key it guards is lost",
        path.display()
    )
}

fn read_file(path: &Path, guard: Guard) -> Result<SecretBytes, RootKeyFault> {
    read_secret(path, FILE_LIMIT, guard).map_err(|error| match error {
        UnreadableSecret::NotOpened(error) => RootKeyFault::NotOpened(error),
        UnreadableSecret::Unfit(unfit) => RootKeyFault::Unreadable(unfit.to_string()),
    })
}

fn decode(content: &[u8], name: &str) -> Result<RootKey, RootKeyFault> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    if content.len() == 32 {
        // 32 random bytes are all printable once in 10^13 keys.
        if content.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
            return Err(RootKeyFault::Text(name.to_owned()));
        }
        bytes.copy_from_slice(content);
    } else {
        let text = content.trim_ascii();
        let decoded = match text.len() {
            64 => hex::decode_to_slice(text, &mut bytes[..]).is_ok(),
            44 => {
                // The decoder wants room for three bytes per four characters, also for the padding.
                let mut room = Zeroizing::new([0_u8; 33]);
                let length = BASE64_STANDARD.decode_slice(text, &mut room[..]);
                bytes.copy_from_slice(&room[..32]);
                length == Ok(32)
            }
            _ => false,
        };
        if !decoded {
            return Err(RootKeyFault::Unknown(name.to_owned()));
        }
    }
    RootKey::from_bytes(&bytes[..]).map_err(|reason| RootKeyFault::Weak { name: name.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_crypto::OsEntropy;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn from_file(content: &[u8]) -> Result<RootKey, RootKeyFault> {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("root.key");
        write_new_private_file(&path, content).unwrap();
        RootKeySource::File(path).load(&|_| None)
    }

    fn random_looking() -> [u8; 32] {
        std::array::from_fn(|at| u8::try_from(at).unwrap().wrapping_mul(37).wrapping_add(200))
    }

    #[test]
    fn three_forms_of_one_key() {
        let bytes = random_looking();
        let (hex, base64) = (hex::encode(bytes), BASE64_STANDARD.encode(bytes));
        for content in [
            bytes.to_vec(),
            hex.clone().into(),
            format!("{}\n", hex.to_uppercase()).into(),
            format!("{base64}\r\n").into(),
        ] {
            assert_eq!(from_file(&content).map(|key| *key.expose()).ok(), Some(bytes), "{content:?}");
        }
        let environment = |name: &str| (name == "KEY").then(|| OsString::from(&base64));
        let source = RootKeySource::Environment("KEY".to_owned());
        assert_eq!(source.load(&environment).map(|key| *key.expose()).ok(), Some(bytes));
    }

    #[test]
    fn what_is_no_root_key_is_refused() {
        let hex = hex::encode(random_looking());
        for content in
            ["", "x", &hex[..63], &format!("{hex}0"), &hex.replace('e', "g"), &"A".repeat(44), &"x".repeat(65)]
        {
            assert!(matches!(from_file(content.as_bytes()), Err(RootKeyFault::Unknown(_))), "{content}");
        }
        for bytes in [[0_u8; 32], [0xff; 32]] {
            assert!(matches!(from_file(&bytes), Err(RootKeyFault::Weak { .. })));
            assert!(matches!(from_file(hex::encode(bytes).as_bytes()), Err(RootKeyFault::Weak { .. })));
        }
        assert!(matches!(from_file(b"correct horse battery staple 12\n"), Err(RootKeyFault::Text(_))));
        for length in [31, 33, 64] {
            assert!(matches!(from_file(&vec![0x9d; length]), Err(RootKeyFault::Unknown(_))), "{length} bytes");
        }
    }

    #[test]
    fn a_root_key_for_all_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("root.key");
        let made = create_root_key_file(&path, &OsEntropy).unwrap();
        let source = RootKeySource::File(path.clone());
        assert_eq!(source.load(&|_| None).unwrap().fingerprint(), made.fingerprint());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let Err(RootKeyFault::Unreadable(message)) = source.load(&|_| None) else { panic!("accepted mode 0644") };
        assert!(message.ends_with(&format!("(mode 0644); run: chmod 600 {}", path.display())), "{message}");
    }

    #[test]
    fn a_root_key_is_never_overwritten() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("root.key");
        create_root_key_file(&path, &OsEntropy).unwrap();
        let before = fs::read(&path).unwrap();
        assert!(matches!(create_root_key_file(&path, &OsEntropy), Err(NewRootKeyError::Exists(_))));
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}
