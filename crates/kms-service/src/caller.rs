//! Who is calling: API keys, and the proof that one was used.

use kms_crypto::{MacKey, SecretBytes};
use kms_types::{OrganisationName, ZoneName};
use std::collections::HashMap;
use std::sync::Arc;

use crate::audit::RequestOrigin;
use crate::error::StartError;

/// The longest API key id taken, in bytes.
const MAX_ID: usize = 128;

/// An API key as configured: whose it is, its secret, and where it may be used.
pub struct CredentialConfig {
    id: Box<str>,
    secret: SecretBytes,
    zones: Option<Vec<ZoneName>>,
}

/// An API key's id or secret that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredential {
    /// The id is empty, too long, or has characters that a signature header cannot carry.
    #[error("an API key's id must be 1 to 128 characters of A-Z, a-z, 0-9, '-', '_' and '.'")]
    Id,
    /// The secret is too short to be one.
    #[error("an API key's secret must have at least 16 bytes")]
    Secret,
}

impl CredentialConfig {
    /// The API key `id` with `secret`, good in `zones`, or in every zone when that is `None`.
    ///
    /// # Errors
    ///
    /// When the id has other characters than `A-Z a-z 0-9 - _ .` or more than 128 of them, or the secret less than 16 bytes.
    pub fn new(id: &str, secret: SecretBytes, zones: Option<Vec<ZoneName>>) -> Result<Self, InvalidCredential> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(good) {
            return Err(InvalidCredential::Id);
        }
        if secret.len() < 16 {
            return Err(InvalidCredential::Secret);
        }
        Ok(Self { id: id.into(), secret, zones })
    }

    /// The API key's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// A caller whose request was verified. Only [`Kms::authenticate`](crate::Kms::authenticate) makes one.
#[derive(Clone, Debug)]
pub struct Caller {
    identity: Arc<Identity>,
    origin: RequestOrigin,
}

#[derive(Debug)]
struct Identity {
    organisation: OrganisationName,
    credential: Box<str>,
}

impl Caller {
    /// The organisation whose keys the caller may use.
    #[must_use]
    pub fn organisation(&self) -> &OrganisationName {
        &self.identity.organisation
    }

    /// The same caller, with where the request came from, for the audit log.
    #[must_use]
    pub fn with_origin(self, origin: RequestOrigin) -> Self {
        Self { origin, ..self }
    }

    /// Where the request came from.
    #[must_use]
    pub const fn origin(&self) -> RequestOrigin {
        self.origin
    }

    /// The id of the API key that was used.
    #[must_use]
    pub fn credential(&self) -> &str {
        &self.identity.credential
    }
}

/// The credential is unknown, not for this zone, or the signature is not its own: the caller is not told which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid request signature")]
pub struct Refused;

/// All API keys that are good in one zone.
pub(crate) struct Credentials {
    known: HashMap<Box<str>, Credential>,
    /// Verified against when the id is unknown, so that both cases cost the same.
    decoy: MacKey,
}

struct Credential {
    key: MacKey,
    caller: Caller,
}

impl Credentials {
    pub(crate) fn new(decoy: MacKey) -> Self {
        Self { known: HashMap::new(), decoy }
    }

    /// Adds an API key of `organisation`, unless it is restricted to other zones than `zone`.
    pub(crate) fn add(
        &mut self,
        organisation: &OrganisationName,
        config: CredentialConfig,
        zone: &ZoneName,
    ) -> Result<(), StartError> {
        if self.known.contains_key(&config.id) {
            return Err(StartError::RepeatedCredential { id: config.id.into_string() });
        }
        if config.zones.is_some_and(|zones| !zones.contains(zone)) {
            return Ok(());
        }
        let identity = Arc::new(Identity { organisation: organisation.clone(), credential: config.id.clone() });
        let caller = Caller { identity, origin: RequestOrigin::default() };
        self.known.insert(config.id, Credential { key: MacKey::new(config.secret.expose()), caller });
        Ok(())
    }

    /// The caller whose secret made `tag`, an HMAC-SHA-256 over the concatenation of `signed`.
    pub(crate) fn authenticate(&self, credential: &str, signed: &[&[u8]], tag: &[u8]) -> Result<Caller, Refused> {
        match self.known.get(credential) {
            Some(known) if known.key.verify(signed, tag) => Ok(known.caller.clone()),
            Some(_) => Err(Refused),
            None => {
                std::hint::black_box(self.decoy.verify(signed, tag));
                Err(Refused)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef";

    fn config(id: &str, zones: Option<&str>) -> CredentialConfig {
        let zones = zones.map(|zone| vec![zone.parse().unwrap()]);
        CredentialConfig::new(id, SecretBytes::copy_from(SECRET), zones).unwrap_or_else(|_| panic!("{id} is good"))
    }

    fn credentials(configs: Vec<CredentialConfig>) -> Result<Credentials, StartError> {
        let mut all = Credentials::new(MacKey::new(b"decoy"));
        for config in configs {
            all.add(&"acme".parse().unwrap(), config, &"ch-gva-2".parse().unwrap())?;
        }
        Ok(all)
    }

    #[test]
    fn only_the_right_secret_makes_a_caller() {
        let all = credentials(vec![config("EXO1", None)]).unwrap_or_else(|_| panic!("one key"));
        let tag = MacKey::new(SECRET).tag(&[b"GET ", b"/"]);
        assert_eq!(all.authenticate("EXO1", &[b"GET /"], &tag).unwrap().organisation().as_str(), "acme");
        assert_eq!(all.authenticate("EXO1", &[b"GET /x"], &tag).err(), Some(Refused));
        assert_eq!(all.authenticate("EXO1", &[b"GET /"], &tag[..31]).err(), Some(Refused));
        assert_eq!(all.authenticate("EXO2", &[b"GET /"], &tag).err(), Some(Refused));
        let decoy = MacKey::new(b"decoy").tag(&[b"GET /"]);
        assert_eq!(all.authenticate("EXO2", &[b"GET /"], &decoy).err(), Some(Refused));
    }

    #[test]
    fn a_key_for_another_zone_is_unknown_here() {
        let all = credentials(vec![config("here", Some("ch-gva-2")), config("there", Some("de-fra-1"))])
            .unwrap_or_else(|_| panic!("two keys"));
        let tag = MacKey::new(SECRET).tag(&[b"x"]);
        assert!(all.authenticate("here", &[b"x"], &tag).is_ok());
        assert!(all.authenticate("there", &[b"x"], &tag).is_err());
    }

    #[test]
    fn bad_and_repeated_keys_are_refused() {
        for (id, secret) in [("", SECRET), ("a,b", SECRET), ("a b", SECRET), ("ok", &SECRET[..15])] {
            assert!(CredentialConfig::new(id, SecretBytes::copy_from(secret), None).is_err(), "{id}");
        }
        assert!(matches!(
            credentials(vec![config("a", None), config("a", None)]),
            Err(StartError::RepeatedCredential { .. })
        ));
    }
}
