//! A root key sealed by an AES key in a PKCS#11 token: an HSM, a smart card, SoftHSM.
//!
//! The module is a shared library of the token's maker, loaded when it is needed and let go of afterwards. Its code then runs in
//! this process, with the rights of this process: it is to be trusted like this program.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error as CryptokiError, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::{AuthPin, Ulong};
use kms_crypto::{Entropy, RootKey, RootKeyError, RootKeyFingerprint, SecretBytes};
use zeroize::Zeroizing;

use crate::descriptor::{Binding, Descriptor, TokenDescriptor};
use crate::provider::{NewRootKey, ProviderFault, ProviderKind, RootKeyProvider};

/// Where a token is, and how it is opened.
pub struct TokenSettings {
    /// The PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// The label of the token.
    pub token: String,
    /// The label of the AES-256 key in it.
    pub key: String,
    /// The user's PIN.
    pub pin: SecretBytes,
}

/// A key in a PKCS#11 token.
pub struct Token(Arc<TokenSettings>);

/// Why a token gives no root key.
#[derive(Debug, thiserror::Error)]
pub enum TokenFault {
    /// The keyring is under another kind of provider.
    #[error("the keyring is not under a PKCS#11 token, but under: {0}")]
    OtherKind(ProviderKind),
    /// The root key was sealed by another key than the one configured.
    #[error("the keyring's root key was sealed by the key {sealed_by:?} of a token, and {configured:?} is configured")]
    OtherKey {
        /// The label in the keyring's descriptor.
        sealed_by: String,
        /// The label in the configuration.
        configured: String,
    },
    /// The module is no PKCS#11 library.
    #[error("PKCS#11 module {module}: {cause}", module = module.display())]
    Module {
        /// Its path.
        module: PathBuf,
        /// What the loader says.
        cause: CryptokiError,
    },
    /// No token has that label.
    #[error("PKCS#11 module {module} has no token with label {token:?}; it has {found}", module = module.display())]
    NoToken {
        /// The module's path.
        module: PathBuf,
        /// The label looked for.
        token: String,
        /// The labels that are there.
        found: String,
    },
    /// The PIN is no text.
    #[error("the PIN must be text without line breaks")]
    PinText,
    /// The token refused the PIN.
    #[error(
        "token {token:?} refuses the PIN ({cause}). Do not try again with the same PIN: a token locks itself after a few wrong \
         ones"
    )]
    Pin {
        /// The token's label.
        token: String,
        /// What the token says.
        cause: CryptokiError,
    },
    /// There is not exactly one such key.
    #[error("token {token:?} has {count} AES keys with label {key:?}, and must have exactly one")]
    Keys {
        /// The token's label.
        token: String,
        /// The key's label.
        key: String,
        /// How many there are.
        count: usize,
    },
    /// The key exists and was to be made.
    #[error("token {token:?} has a key with label {key:?} already; it is never replaced")]
    KeyExists {
        /// The token's label.
        token: String,
        /// The key's label.
        key: String,
    },
    /// The token does not open what is sealed for this store.
    #[error(
        "the key {key:?} of token {token:?} does not open the keyring's root key ({cause}): is it the token that sealed it?"
    )]
    NotOpened {
        /// The token's label.
        token: String,
        /// The key's label.
        key: String,
        /// What the token says.
        cause: CryptokiError,
    },
    /// Anything else that a token says.
    #[error("token {token:?}: {cause}")]
    Token {
        /// The token's label.
        token: String,
        /// What it says.
        cause: CryptokiError,
    },
    /// What the token opened is no root key.
    #[error(transparent)]
    Key(#[from] RootKeyError),
    /// The work was cut short.
    #[error("the work with the token was interrupted")]
    Interrupted,
}

impl Token {
    /// A token that is looked for when it is needed.
    #[must_use]
    pub fn new(settings: TokenSettings) -> Self {
        Self(Arc::new(settings))
    }

    /// Makes the AES-256 key that the settings name, in the token: it can be used there and never leaves it.
    ///
    /// # Errors
    /// When the token is out of reach, has such a key already, or cannot make one.
    pub async fn create_wrapping_key(&self) -> Result<(), ProviderFault> {
        self.work(|settings, session| {
            let count = wrapping_keys(settings, session)?.len();
            if count > 0 {
                return Err(TokenFault::KeyExists { token: settings.token.clone(), key: settings.key.clone() });
            }
            let template = [
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
                Attribute::ValueLen(Ulong::new(32)),
                Attribute::Label(settings.key.clone().into_bytes()),
            ];
            session.generate_key(&Mechanism::AesKeyGen, &template).map_err(settings.told())?;
            Ok(())
        })
        .await
    }

    async fn seal(&self, key: Secret32, nonce: [u8; 12], context: Vec<u8>) -> Result<Vec<u8>, ProviderFault> {
        self.work(move |settings, session| {
            let wrapping_key = wrapping_key(settings, session)?;
            let mut nonce = nonce;
            let mechanism = gcm(&mut nonce, &context).map_err(settings.told())?;
            session.encrypt(&mechanism, wrapping_key, &key[..]).map_err(settings.told())
        })
        .await
    }

    async fn open(&self, descriptor: TokenDescriptor) -> Result<RootKey, ProviderFault> {
        self.work(move |settings, session| {
            if descriptor.key_label != settings.key {
                let (sealed_by, configured) = (descriptor.key_label, settings.key.clone());
                return Err(TokenFault::OtherKey { sealed_by, configured });
            }
            let wrapping_key = wrapping_key(settings, session)?;
            let (mut nonce, context) = (descriptor.nonce, descriptor.binding.to_context());
            let mechanism = gcm(&mut nonce, &context).map_err(settings.told())?;
            let opened = session.decrypt(&mechanism, wrapping_key, &descriptor.sealed).map(Zeroizing::new);
            let opened = opened.map_err(|cause| {
                let (token, key) = (settings.token.clone(), settings.key.clone());
                if is_passing(&cause) {
                    TokenFault::Token { token, cause }
                } else {
                    TokenFault::NotOpened { token, key, cause }
                }
            })?;
            Ok(RootKey::from_bytes(&opened)?)
        })
        .await
    }

    /// Calls into the module, in a thread that may wait for it.
    async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce(&TokenSettings, &Session) -> Result<T, TokenFault> + Send + 'static,
    ) -> Result<T, ProviderFault> {
        let settings = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            // A module is initialised once per process: one at a time.
            let _alone = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
            settings.with_session(job)
        });
        match done.await.unwrap_or(Err(TokenFault::Interrupted)) {
            Ok(done) => Ok(done),
            Err(TokenFault::Token { cause, token }) if is_passing(&cause) => {
                Err(ProviderFault::Unavailable(Box::new(TokenFault::Token { token, cause })))
            }
            Err(fault) => Err(ProviderFault::refused(fault)),
        }
    }
}

#[async_trait]
impl RootKeyProvider for Token {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Pkcs11
    }

    fn place(&self) -> String {
        let TokenSettings { module, token, key, .. } = &*self.0;
        format!("key {key:?} of token {token:?} ({})", module.display())
    }

    async fn obtain(&self, descriptor: &Descriptor, _: RootKeyFingerprint) -> Result<RootKey, ProviderFault> {
        match descriptor {
            Descriptor::Pkcs11(sealed) => self.open(sealed.clone()).await,
            Descriptor::Given | Descriptor::Passphrase(_) | Descriptor::OtherKms(_) => {
                Err(ProviderFault::refused(TokenFault::OtherKind(descriptor.kind())))
            }
        }
    }

    async fn create(&self, binding: &Binding, entropy: &dyn Entropy) -> Result<NewRootKey, ProviderFault> {
        let key = RootKey::generate(entropy)?;
        let mut nonce = [0; 12];
        entropy.fill(&mut nonce)?;
        let sealed = self.seal(Zeroizing::new(*key.expose()), nonce, binding.to_context()).await?;
        let sealed = TokenDescriptor { key_label: self.0.key.clone(), nonce, sealed, binding: binding.clone() };
        // What the token cannot open again must not come into use.
        let opened = self.open(sealed.clone()).await?;
        if opened.fingerprint() != key.fingerprint() {
            return Err(ProviderFault::refused(TokenFault::Interrupted));
        }
        Ok(NewRootKey { key, descriptor: Descriptor::Pkcs11(sealed) })
    }
}

type Secret32 = Zeroizing<[u8; 32]>;

static MODULES: Mutex<()> = Mutex::new(());

impl TokenSettings {
    fn with_session<T>(&self, job: impl FnOnce(&Self, &Session) -> Result<T, TokenFault>) -> Result<T, TokenFault> {
        let fault = |cause| TokenFault::Module { module: self.module.clone(), cause };
        let module = Pkcs11::new(&self.module).map_err(fault)?;
        module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(fault)?;
        let done = self.in_session(&module, job);
        // The module forgets the login, and can be initialised again.
        let ended = module.finalize().map_err(fault);
        done.and_then(|done| ended.map(|()| done))
    }

    fn in_session<T>(
        &self,
        module: &Pkcs11,
        job: impl FnOnce(&Self, &Session) -> Result<T, TokenFault>,
    ) -> Result<T, TokenFault> {
        let slot = self.slot(module)?;
        let session = module.open_rw_session(slot).map_err(self.told())?;
        let pin = str::from_utf8(self.pin.expose()).map_err(|_| TokenFault::PinText)?.trim_end_matches(['\r', '\n']);
        if pin.is_empty() || pin.contains(['\r', '\n']) {
            return Err(TokenFault::PinText);
        }
        session.login(UserType::User, Some(&AuthPin::from(pin))).map_err(|cause| {
            if is_passing(&cause) {
                TokenFault::Token { token: self.token.clone(), cause }
            } else {
                TokenFault::Pin { token: self.token.clone(), cause }
            }
        })?;
        job(self, &session)
    }

    fn slot(&self, module: &Pkcs11) -> Result<Slot, TokenFault> {
        let mut found = Vec::new();
        for slot in module.get_slots_with_initialized_token().map_err(self.told())? {
            let label = module.get_token_info(slot).map_err(self.told())?.label().to_owned();
            if label == self.token {
                return Ok(slot);
            }
            found.push(format!("{label:?}"));
        }
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        Err(TokenFault::NoToken { module: self.module.clone(), token: self.token.clone(), found })
    }

    fn told(&self) -> impl Fn(CryptokiError) -> TokenFault {
        |cause| TokenFault::Token { token: self.token.clone(), cause }
    }
}

fn wrapping_key(settings: &TokenSettings, session: &Session) -> Result<ObjectHandle, TokenFault> {
    match wrapping_keys(settings, session)?.as_slice() {
        [key] => Ok(*key),
        keys => {
            let (token, key) = (settings.token.clone(), settings.key.clone());
            Err(TokenFault::Keys { token, key, count: keys.len() })
        }
    }
}

fn wrapping_keys(settings: &TokenSettings, session: &Session) -> Result<Vec<ObjectHandle>, TokenFault> {
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Label(settings.key.clone().into_bytes()),
    ];
    session.find_objects(&template).map_err(settings.told())
}

fn gcm<'a>(nonce: &'a mut [u8; 12], context: &'a [u8]) -> Result<Mechanism<'a>, CryptokiError> {
    Ok(Mechanism::AesGcm(GcmParams::new(nonce, context, Ulong::new(128))?))
}

/// Whether the token may answer another time: it was unplugged, or its network is away.
fn is_passing(cause: &CryptokiError) -> bool {
    matches!(
        cause,
        CryptokiError::Pkcs11(
            RvError::DeviceError | RvError::DeviceRemoved | RvError::TokenNotPresent | RvError::SessionHandleInvalid,
            Function::CloseSession
                | Function::Decrypt
                | Function::DecryptInit
                | Function::Encrypt
                | Function::EncryptInit
                | Function::FindObjects
                | Function::FindObjectsInit
                | Function::GetSlotList
                | Function::GetTokenInfo
                | Function::Login
                | Function::OpenSession
        )
    )
}
