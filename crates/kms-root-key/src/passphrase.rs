//! A root key derived from a passphrase by Argon2id (RFC 9106).

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use async_trait::async_trait;
use kms_crypto::{Entropy, RootKey, RootKeyError, RootKeyFingerprint, Secret, SecretBytes};
use zeroize::Zeroize;

use crate::descriptor::{Binding, Descriptor, PassphraseDescriptor};
use crate::provider::{NewRootKey, ProviderFault, ProviderKind, RootKeyProvider};

/// The shortest passphrase that a keyring is wrapped under, in bytes. Shorter ones still open what they once wrapped.
pub const MIN_PASSPHRASE_LEN: usize = 16;

/// The second recommended choice of RFC 9106, section 4: 64 MiB, three passes, four lanes.
const MEMORY_KIB: u32 = 65_536;
const PASSES: u32 = 3;
const LANES: u32 = 4;

/// The most that a descriptor may ask for, because it is read before it can be verified: 4 GiB and 64 passes.
const MOST_MEMORY_KIB: u32 = 4 * 1_024 * 1_024;
const MOST_PASSES: u32 = 64;
const MOST_LANES: u32 = 64;

/// A passphrase, and where it came from.
pub struct Passphrase {
    place: String,
    text: Arc<SecretBytes>,
}

/// Why a passphrase gives no root key.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseFault {
    /// There is nothing before the line break.
    #[error("the passphrase is empty")]
    Empty,
    /// Too short to protect a keyring that somebody may carry away.
    #[error(
        "the passphrase has {len} bytes; at least {MIN_PASSPHRASE_LEN} are needed, such as six random words: whoever has the \
         keyring file can try passphrases for as long as he likes"
    )]
    TooShort {
        /// Its length in bytes.
        len: usize,
    },
    /// The keyring is under another kind of provider.
    #[error("the keyring is not under a passphrase, but under: {0}")]
    OtherKind(ProviderKind),
    /// Nobody would have chosen them.
    #[error("the keyring's Argon2id parameters are out of bounds: the file is damaged, put it back from your backup")]
    Parameters,
    /// The memory that the parameters ask for is not there.
    #[error("Argon2id needs {mebibytes} MiB of memory for a moment, and did not get them")]
    Memory {
        /// How much it needs.
        mebibytes: u32,
    },
    /// The derivation was cut short.
    #[error("the derivation of the root key was interrupted")]
    Interrupted,
    /// Practically impossible.
    #[error(transparent)]
    Key(#[from] RootKeyError),
}

impl Passphrase {
    /// The passphrase in `content`, without line breaks at its end. `place` says where it came from.
    ///
    /// # Errors
    /// When nothing is left.
    pub fn new(place: String, content: &SecretBytes) -> Result<Self, PassphraseFault> {
        let content = content.expose();
        let length = content.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
        if length == 0 {
            return Err(PassphraseFault::Empty);
        }
        Ok(Self { place, text: Arc::new(SecretBytes::copy_from(&content[..length])) })
    }

    async fn derive(&self, how: PassphraseDescriptor) -> Result<RootKey, ProviderFault> {
        let text = Arc::clone(&self.text);
        let derived = tokio::task::spawn_blocking(move || derive(text.expose(), &how)).await;
        derived.unwrap_or(Err(PassphraseFault::Interrupted)).map_err(ProviderFault::refused)
    }
}

#[async_trait]
impl RootKeyProvider for Passphrase {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Passphrase
    }

    fn place(&self) -> String {
        self.place.clone()
    }

    async fn obtain(&self, descriptor: &Descriptor, _: RootKeyFingerprint) -> Result<RootKey, ProviderFault> {
        let how = match descriptor {
            Descriptor::Passphrase(how) => how.clone(),
            Descriptor::Given | Descriptor::Pkcs11(_) | Descriptor::OtherKms(_) => {
                return Err(ProviderFault::refused(PassphraseFault::OtherKind(descriptor.kind())));
            }
        };
        self.derive(how).await
    }

    async fn create(&self, _: &Binding, entropy: &dyn Entropy) -> Result<NewRootKey, ProviderFault> {
        let len = self.text.len();
        if len < MIN_PASSPHRASE_LEN {
            return Err(ProviderFault::refused(PassphraseFault::TooShort { len }));
        }
        let mut salt = [0; 16];
        entropy.fill(&mut salt)?;
        let how = PassphraseDescriptor { salt, memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES };
        let key = self.derive(how.clone()).await?;
        Ok(NewRootKey { key, descriptor: Descriptor::Passphrase(how) })
    }
}

fn derive(passphrase: &[u8], how: &PassphraseDescriptor) -> Result<RootKey, PassphraseFault> {
    let secret = argon2id(passphrase, how)?;
    Ok(RootKey::from_bytes(secret.expose())?)
}

fn argon2id(passphrase: &[u8], how: &PassphraseDescriptor) -> Result<Secret<32>, PassphraseFault> {
    let PassphraseDescriptor { salt, memory_kib, passes, lanes } = how;
    if *memory_kib > MOST_MEMORY_KIB || *passes > MOST_PASSES || *lanes > MOST_LANES {
        return Err(PassphraseFault::Parameters);
    }
    let params = Params::new(*memory_kib, *passes, *lanes, Some(32)).map_err(|_| PassphraseFault::Parameters)?;
    let mut memory = Memory(Vec::new());
    let blocks = params.block_count();
    memory.0.try_reserve_exact(blocks).map_err(|_| PassphraseFault::Memory { mebibytes: memory_kib / 1_024 })?;
    memory.0.resize(blocks, Block::new());
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Secret::fill_with(|out| argon2.hash_password_into_with_memory(passphrase, salt, out, memory.0.as_mut_slice()))
        .map_err(|_| PassphraseFault::Parameters)
}

/// Argon2's working memory, which the root key could be computed from.
struct Memory(Vec<Block>);

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_testkit::SeededEntropy;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new("test".to_owned(), &SecretBytes::copy_from(text.as_bytes())).unwrap()
    }

    fn binding() -> Binding {
        Binding::new(&"a".parse().unwrap(), [1; 16])
    }

    /// Computed with the reference implementation in C (argon2-cffi), whose own test suite has the first with a shorter salt.
    #[test]
    fn it_is_argon2id_as_others_compute_it() {
        for (passes, lanes, expected) in [
            (2, 1, "fc33b78139231d34b71626bd6245c1d72efa190ad605c3d8166a72adcedfa2c2"),
            (3, 4, "81db97a7e67a891784a2599bc879f957cb3512d273984bd97d8a18fc59ff01e2"),
        ] {
            let how = PassphraseDescriptor { salt: *b"somesaltsomesalt", memory_kib: 65_536, passes, lanes };
            assert_eq!(hex::encode(argon2id(b"password", &how).unwrap().expose()), expected);
        }
    }

    #[tokio::test]
    async fn the_same_passphrase_gives_the_same_root_key_again() {
        let made = passphrase("six random words are enough\r\n");
        let NewRootKey { key, descriptor } = made.create(&binding(), &SeededEntropy::new(1)).await.unwrap();
        let again = passphrase("six random words are enough").obtain(&descriptor, key.fingerprint()).await.unwrap();
        assert_eq!(again.fingerprint(), key.fingerprint());
        let wrong = passphrase("six random words are enough ").obtain(&descriptor, key.fingerprint()).await.unwrap();
        assert_ne!(wrong.fingerprint(), key.fingerprint());
        // Another salt, another root key.
        let renewed = made.renew(&binding(), &SeededEntropy::new(2)).await.unwrap();
        assert_ne!(renewed.key.fingerprint(), key.fingerprint());
    }

    #[tokio::test]
    async fn what_protects_nothing_is_refused() {
        for empty in ["", "\n", "\r\n\n"] {
            assert!(Passphrase::new("x".to_owned(), &SecretBytes::copy_from(empty.as_bytes())).is_err());
        }
        let refused = passphrase("fifteen bytes !").create(&binding(), &SeededEntropy::new(1)).await.err().unwrap();
        assert!(refused.to_string().starts_with("the passphrase has 15 bytes; at least 16"), "{refused}");
        let wanted = RootKeyFingerprint::from_bytes([0; 8]);
        let refused = passphrase("x").obtain(&Descriptor::Given, wanted).await.err().unwrap();
        assert!(refused.to_string().contains("not under a passphrase, but under: file"), "{refused}");
    }

    #[test]
    fn a_descriptor_cannot_ask_for_the_whole_machine() {
        let good = PassphraseDescriptor { salt: [0; 16], memory_kib: 64, passes: 1, lanes: 1 };
        assert!(argon2id(b"x", &good).is_ok());
        for bad in [
            PassphraseDescriptor { memory_kib: MOST_MEMORY_KIB + 1, ..good.clone() },
            PassphraseDescriptor { passes: MOST_PASSES + 1, ..good.clone() },
            PassphraseDescriptor { lanes: MOST_LANES + 1, ..good.clone() },
            PassphraseDescriptor { passes: 0, ..good.clone() },
            PassphraseDescriptor { memory_kib: 7, ..good.clone() },
        ] {
            assert!(matches!(argon2id(b"x", &bad), Err(PassphraseFault::Parameters)), "{bad:?}");
        }
    }
}
