//! Who can open a backup.

use age::secrecy::{ExposeSecret, SecretString};
use age::{Encryptor, Identity, Recipient, scrypt, x25519};
use kms_crypto::SecretBytes;
use zeroize::Zeroizing;

/// scrypt's work factor for passphrases, as a power of two: about a second and 256 MiB, as `age` itself takes it.
const WORK_FACTOR: u8 = 18;

/// The most work a file may ask for: what an operator would wait for, and not all memory.
const MOST_WORK: u8 = 20;

/// What a backup is encrypted to. It shows nothing of a passphrase.
pub enum Lock {
    /// X25519 public keys: whoever has one of their private keys can open the backup. At least one.
    Recipients(Vec<x25519::Recipient>),
    /// A passphrase.
    Passphrase(SecretString),
}

/// What opens a backup. It shows nothing.
pub enum Unlock {
    /// X25519 private keys.
    Keys(Vec<x25519::Identity>),
    /// A passphrase.
    Passphrase(SecretString),
}

/// A new private key for backups.
pub struct NewBackupKey(x25519::Identity);

/// A text that names no recipient, key or passphrase. It does not repeat the text: that may be a secret in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLock {
    /// Not a public key of age.
    #[error("is not a recipient: one begins with age1, as `zonekms backup-key new` prints it")]
    Recipient,
    /// A private key was given where a public one is due.
    #[error("is a private key: give its public key, which begins with age1, and keep the private one elsewhere")]
    PrivateKey,
    /// Not a private key of age.
    #[error("holds no backup key: a line that begins with AGE-SECRET-KEY-1")]
    Key,
    /// No text, or too little of it to protect anything.
    #[error("holds no passphrase of at least {} characters", Lock::SHORTEST_PASSPHRASE)]
    Passphrase,
    /// There is nothing to encrypt to.
    #[error("names no recipient")]
    Nobody,
}

impl Lock {
    /// The fewest characters of a passphrase.
    pub const SHORTEST_PASSPHRASE: usize = 12;

    /// To the recipients of those texts, each `age1...`.
    ///
    /// # Errors
    /// [`InvalidLock`] for the first text that is none, or when there are no texts.
    pub fn to_recipients<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidLock> {
        let recipients: Vec<_> = texts.into_iter().map(recipient).collect::<Result<_, _>>()?;
        if recipients.is_empty() { Err(InvalidLock::Nobody) } else { Ok(Self::Recipients(recipients)) }
    }

    /// To the recipients of a file: one on each line, empty lines and those that begin with `#` left out.
    ///
    /// # Errors
    /// As [`Lock::to_recipients`].
    pub fn to_recipients_file(text: &str) -> Result<Self, InvalidLock> {
        Self::to_recipients(meaningful_lines(text))
    }

    /// To the passphrase in `file`: its content without the white space around it.
    ///
    /// # Errors
    /// [`InvalidLock::Passphrase`].
    pub fn to_passphrase(file: &SecretBytes) -> Result<Self, InvalidLock> {
        passphrase(file).map(Self::Passphrase)
    }

    pub(crate) fn encryptor(&self) -> Result<Encryptor, age::EncryptError> {
        match self {
            Self::Recipients(recipients) => {
                Encryptor::with_recipients(recipients.iter().map(|recipient| recipient as &dyn Recipient))
            }
            Self::Passphrase(passphrase) => {
                let mut recipient = scrypt::Recipient::new(passphrase.clone());
                recipient.set_work_factor(WORK_FACTOR);
                Encryptor::with_recipients([&recipient as &dyn Recipient].into_iter())
            }
        }
    }
}

impl Unlock {
    /// With the private keys in `file`, as `zonekms backup-key new` and `age-keygen` write it.
    ///
    /// # Errors
    /// [`InvalidLock::Key`].
    pub fn with_key_file(file: &SecretBytes) -> Result<Self, InvalidLock> {
        let text = std::str::from_utf8(file.expose()).map_err(|_| InvalidLock::Key)?;
        let keys: Vec<_> = meaningful_lines(text)
            .map(|line| line.parse::<x25519::Identity>().map_err(|_| InvalidLock::Key))
            .collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(InvalidLock::Key) } else { Ok(Self::Keys(keys)) }
    }

    /// With the passphrase in `file`: its content without the white space around it.
    ///
    /// # Errors
    /// [`InvalidLock::Passphrase`].
    pub fn with_passphrase(file: &SecretBytes) -> Result<Self, InvalidLock> {
        passphrase(file).map(Self::Passphrase)
    }

    pub(crate) fn identities(&self) -> Vec<Box<dyn Identity + '_>> {
        match self {
            Self::Keys(keys) => keys.iter().map(|key| Box::new(key.clone()) as Box<dyn Identity>).collect(),
            Self::Passphrase(passphrase) => {
                let mut identity = scrypt::Identity::new(passphrase.clone());
                identity.set_max_work_factor(MOST_WORK);
                vec![Box::new(identity)]
            }
        }
    }
}

impl NewBackupKey {
    /// A new random key, of age's own source of randomness: the operating system.
    #[must_use]
    pub fn generate() -> Self {
        Self(x25519::Identity::generate())
    }

    /// The public key: what to give to `zonekms backup --recipient`.
    #[must_use]
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    /// The content of the key's file, as `age-keygen` writes it.
    #[must_use]
    pub fn file_content(&self) -> Zeroizing<Vec<u8>> {
        let secret = self.0.to_string();
        let (recipient, secret) = (self.recipient(), secret.expose_secret());
        let head = format!("# public key: {recipient}\n");
        let mut content = Zeroizing::new(Vec::with_capacity(head.len() + secret.len() + 1));
        content.extend_from_slice(head.as_bytes());
        content.extend_from_slice(secret.as_bytes());
        content.push(b'\n');
        content
    }
}

fn recipient(text: &str) -> Result<x25519::Recipient, InvalidLock> {
    text.trim().parse().map_err(|_| {
        if text.trim().starts_with("AGE-SECRET-KEY-") { InvalidLock::PrivateKey } else { InvalidLock::Recipient }
    })
}

fn passphrase(file: &SecretBytes) -> Result<SecretString, InvalidLock> {
    let text = std::str::from_utf8(file.expose()).map_err(|_| InvalidLock::Passphrase)?.trim();
    if text.chars().count() < Lock::SHORTEST_PASSPHRASE {
        return Err(InvalidLock::Passphrase);
    }
    Ok(SecretString::from(text.to_owned()))
}

fn meaningful_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_read_back_and_its_public_half_is_a_recipient() {
        let key = NewBackupKey::generate();
        assert!(key.recipient().starts_with("age1"));
        assert!(Lock::to_recipients([key.recipient().as_str()]).is_ok());
        let file = SecretBytes::copy_from(&key.file_content());
        let Ok(Unlock::Keys(keys)) = Unlock::with_key_file(&file) else { panic!("no key in its own file") };
        assert_eq!(keys.iter().map(|key| key.to_public().to_string()).collect::<Vec<_>>(), [key.recipient()]);
    }

    #[test]
    fn what_names_nobody_is_told_apart() {
        let refused = |text: &str| Lock::to_recipients_file(text).err();
        assert_eq!(refused("# nobody\n\n"), Some(InvalidLock::Nobody));
        assert_eq!(refused("age1nobody"), Some(InvalidLock::Recipient));
        let secret = NewBackupKey::generate();
        let text = String::from_utf8(secret.file_content().to_vec()).unwrap();
        assert_eq!(refused(&text), Some(InvalidLock::PrivateKey));
        for short in ["", "   \n", "elevenchars"] {
            let file = SecretBytes::copy_from(short.as_bytes());
            assert_eq!(Lock::to_passphrase(&file).err(), Some(InvalidLock::Passphrase), "{short:?}");
        }
        assert_eq!(Unlock::with_key_file(&SecretBytes::copy_from(b"\xff")).err(), Some(InvalidLock::Key));
        assert_eq!(Unlock::with_key_file(&SecretBytes::copy_from(b"# none\n")).err(), Some(InvalidLock::Key));
    }
}
