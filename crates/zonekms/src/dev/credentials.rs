//! The lab's one API key, made on first start and kept.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use kms_crypto::{Entropy, EntropyError, Secret, SecretBytes};
use kms_service::{CredentialConfig, InvalidCredential, OrganisationConfig};
use kms_types::{KeyName, OrganisationName};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::private_files::{Guard, UnfitSecret, UnreadableSecret, read_secret, write_new_private_file};

/// The organisation that the lab's API key acts for.
const ORGANISATION: &str = "dev";

/// The longest file, in bytes.
const FILE_LIMIT: usize = 4_096;

/// An API key whose secret is text that needs no quoting in a shell.
pub(super) struct ApiKey {
    id: String,
    secret: Zeroizing<String>,
}

/// Why there is no API key.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiKeyFault {
    #[error(transparent)]
    Unfit(UnfitSecret),
    #[error("{0} is not a file of `id` and `secret`: put it back, or remove it to get a new API key")]
    NotAnApiKey(PathBuf),
    #[error("{path}: {reason}")]
    Invalid { path: PathBuf, reason: InvalidCredential },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<'a> {
    id: &'a str,
    secret: &'a str,
}

impl ApiKey {
    /// The API key kept in `path`; a new one, kept there, when there is no such file.
    pub(super) fn find_or_make(path: &Path, entropy: &dyn Entropy) -> Result<Self, ApiKeyFault> {
        if path.exists() {
            return Self::read(path);
        }
        let api_key = Self::make(entropy)?;
        let content = Zeroizing::new(format!(
            "# The API key of organisation {ORGANISATION} in this lab.\nid = \"{}\"\nsecret = \"{}\"\n",
            api_key.id,
            api_key.secret.as_str()
        ));
        write_new_private_file(path, content.as_bytes())
            .map_err(|source| ApiKeyFault::Io { path: path.to_owned(), source })?;
        Ok(api_key)
    }

    /// The public part.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The secret part, for the env file.
    pub(super) fn expose_secret(&self) -> &str {
        &self.secret
    }

    /// The lab's organisation, with this API key good in every zone.
    pub(super) fn organisation(&self, default_key: Option<KeyName>) -> Result<OrganisationConfig, Failure> {
        let name: OrganisationName = ORGANISATION.parse().map_err(Failure::run)?;
        let credential = self.credential().map_err(Failure::run)?;
        Ok(OrganisationConfig { name, default_key, credentials: vec![credential] })
    }

    fn credential(&self) -> Result<CredentialConfig, InvalidCredential> {
        CredentialConfig::new(&self.id, SecretBytes::copy_from(self.secret.as_bytes()), None)
    }

    /// An API key in the form of Exoscale's: `EXO` and 24 hexadecimal digits, 43 characters of secret (256 bits).
    fn make(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut id = [0_u8; 12];
        entropy.fill(&mut id)?;
        let secret = Secret::<32>::random(entropy)?;
        Ok(Self {
            id: format!("EXO{}", hex::encode(id)),
            secret: Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(secret.expose())),
        })
    }

    fn read(path: &Path) -> Result<Self, ApiKeyFault> {
        let content = read_secret(path, FILE_LIMIT, Guard::Owner).map_err(|error| match error {
            UnreadableSecret::NotOpened(source) => ApiKeyFault::Io { path: path.to_owned(), source },
            UnreadableSecret::Unfit(unfit) => ApiKeyFault::Unfit(unfit),
        })?;
        let not_an_api_key = || ApiKeyFault::NotAnApiKey(path.to_owned());
        let text = std::str::from_utf8(content.expose()).map_err(|_| not_an_api_key())?;
        // The parser's message would repeat the line, and with it the secret.
        let stored: Stored<'_> = toml::from_str(text).map_err(|_| not_an_api_key())?;
        if !stored.secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return Err(not_an_api_key());
        }
        let api_key = Self { id: stored.id.to_owned(), secret: Zeroizing::new(stored.secret.to_owned()) };
        match api_key.credential() {
            Ok(_) => Ok(api_key),
            Err(reason) => Err(ApiKeyFault::Invalid { path: path.to_owned(), reason }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_crypto::OsEntropy;
    use std::fs;

    #[test]
    fn made_once_and_found_again() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("credentials.toml");
        let made = ApiKey::find_or_make(&path, &OsEntropy).unwrap();
        assert!(made.id.starts_with("EXO") && made.id.len() == 27, "{}", made.id);
        assert_eq!(made.secret.len(), 43);
        let found = ApiKey::find_or_make(&path, &OsEntropy).unwrap();
        assert_eq!((found.id(), found.expose_secret()), (made.id(), made.expose_secret()));
    }

    #[test]
    fn a_damaged_file_is_refused_without_showing_it() {
        let scratch = tempfile::tempdir().unwrap();
        for (at, content) in
            ["", "id = \"EXO1\"", "id = \"EXO1\"\nsecret = \"$(reboot)reboot\"", "id=\"E\"\nsecret = \"s3cret"]
                .iter()
                .enumerate()
        {
            let path = scratch.path().join(at.to_string());
            write_new_private_file(&path, content.as_bytes()).unwrap();
            let Err(error) = ApiKey::find_or_make(&path, &OsEntropy) else { panic!("accepted {content}") };
            assert!(!error.to_string().contains("s3cret"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), *content);
        }
    }
}
