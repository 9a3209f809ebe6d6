//! The keys of one log, derived from the keyring of its zone: nothing more to keep, to back up or to lose.

use crate::note::{InvalidVerifier, NoteSigner};
use kms_crypto::{EncryptionContext, Keyring, MacKey};
use kms_types::ZoneName;
use zeroize::Zeroizing;

// The manifest's own labels begin with "ZoneKMS": no message of it is one of these.
const SIGNING_LABEL: &[u8] = b"zonekms audit signing key v1";
const CONTEXT_LABEL: &[u8] = b"zonekms audit context key v1";

/// What signs the checkpoints of one zone's log and hashes the contexts in it.
pub struct LogKeys {
    zone: ZoneName,
    signer: NoteSigner,
    contexts: ContextKey,
}

/// Hashes encryption contexts, so that who reads the log sees which are the same and cannot guess what they are.
pub struct ContextKey(MacKey);

impl LogKeys {
    /// The keys of the log of `zone`, whose keyring is given. The same keyring always gives the same.
    ///
    /// # Errors
    ///
    /// When the zone's name cannot be part of an origin, which no valid name is.
    pub fn derive(keyring: &Keyring, zone: &ZoneName) -> Result<Self, InvalidVerifier> {
        let derive = |label: &[u8]| Zeroizing::new(keyring.manifest_key().tag(&[label]));
        let origin = format!("zonekms/{zone}/{}", hex::encode(keyring.store_id()));
        let signer = NoteSigner::new(&origin, &derive(SIGNING_LABEL))?;
        let contexts = ContextKey(MacKey::new(derive(CONTEXT_LABEL).as_ref()));
        Ok(Self { zone: zone.clone(), signer, contexts })
    }

    /// The zone whose log it is.
    #[must_use]
    pub const fn zone(&self) -> &ZoneName {
        &self.zone
    }

    /// What signs its checkpoints.
    #[must_use]
    pub const fn signer(&self) -> &NoteSigner {
        &self.signer
    }

    /// What hashes contexts.
    #[must_use]
    pub const fn contexts(&self) -> &ContextKey {
        &self.contexts
    }
}

impl ContextKey {
    /// The hash of `context` as the log shows it: 16 bytes of an HMAC-SHA-256. `None` for no context, which is not hidden.
    #[must_use]
    pub fn hash(&self, context: EncryptionContext<'_>) -> Option<[u8; 16]> {
        let tag = match context {
            EncryptionContext::None | EncryptionContext::Bytes([]) => return None,
            EncryptionContext::Bytes(bytes) => self.0.tag(&[b"\x01", bytes]),
            EncryptionContext::Map(map) if map.is_empty() => return None,
            EncryptionContext::Map(map) => {
                let mut message = Zeroizing::new(vec![2]);
                for text in map.iter().flat_map(|(name, value)| [name, value]) {
                    message.extend_from_slice(&(text.len() as u64).to_be_bytes());
                    message.extend_from_slice(text.as_bytes());
                }
                self.0.tag(&[&message])
            }
        };
        let mut hash = [0; 16];
        hash.copy_from_slice(&tag[..16]);
        Some(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_crypto::OsEntropy;
    use std::collections::BTreeMap;

    #[test]
    fn a_keyring_always_gives_the_same_keys_and_another_gives_others() {
        let zone: ZoneName = "ch-gva-2".parse().unwrap();
        let (one, two) = (Keyring::generate(&OsEntropy).unwrap(), Keyring::generate(&OsEntropy).unwrap());
        let keys = |keyring| LogKeys::derive(keyring, &zone).unwrap_or_else(|_| panic!("the zone has a name"));
        let context = EncryptionContext::Bytes(b"tenant 7");
        let shown = |keys: &LogKeys| (keys.signer().verifier().to_string(), keys.contexts().hash(context));
        assert_eq!(shown(&keys(&one)), shown(&keys(&one)));
        assert_ne!(shown(&keys(&one)).0, shown(&keys(&two)).0);
        assert_ne!(shown(&keys(&one)).1, shown(&keys(&two)).1);
        let origin = format!("zonekms/ch-gva-2/{}", hex::encode(one.store_id()));
        assert_eq!(keys(&one).signer().verifier().name(), origin);
    }

    #[test]
    fn different_contexts_have_different_hashes() {
        let key = ContextKey(MacKey::new(b"key"));
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let maps = [map(&[("a", "bc")]), map(&[("ab", "c")]), map(&[("a", "b"), ("c", "d")]), map(&[])];
        let contexts = [
            EncryptionContext::None,
            EncryptionContext::Bytes(b"a"),
            EncryptionContext::Bytes(b"b"),
            EncryptionContext::Map(&maps[0]),
            EncryptionContext::Map(&maps[1]),
            EncryptionContext::Map(&maps[2]),
        ];
        let hashes: std::collections::HashSet<_> = contexts.iter().map(|context| key.hash(*context)).collect();
        assert_eq!(hashes.len(), contexts.len());
        assert_eq!(key.hash(EncryptionContext::Bytes(b"")), None);
        assert_eq!(key.hash(EncryptionContext::Map(&maps[3])), None);
    }
}
