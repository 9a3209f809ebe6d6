//! A root key encrypted by another key management service that speaks Exoscale's API: Exoscale's own, or a ZoneKMS.

mod call;
mod endpoint;

pub use call::{OtherKmsFault, UnixSeconds};
pub use endpoint::{Endpoint, InvalidEndpoint};

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kms_crypto::{Entropy, RootKey, RootKeyFingerprint, SecretBytes};
use zeroize::Zeroizing;

use crate::descriptor::{Binding, Descriptor, OtherKmsDescriptor};
use crate::provider::{NewRootKey, ProviderFault, ProviderKind, RootKeyProvider};
use call::Caller;

/// How the other service is reached.
pub struct OtherKmsSettings {
    /// Where it is.
    pub endpoint: Endpoint,
    /// The id of the key there that encrypts the root key.
    pub key_id: String,
    /// The id of the API key.
    pub api_key: String,
    /// The secret of the API key: text.
    pub api_secret: SecretBytes,
    /// The time, for signatures.
    pub now: UnixSeconds,
}

/// A key of another key management service.
pub struct OtherKms {
    key_id: String,
    caller: Caller,
}

impl OtherKms {
    /// The service is called when a root key is needed, and not before.
    #[must_use]
    pub fn new(settings: OtherKmsSettings) -> Self {
        let OtherKmsSettings { endpoint, key_id, api_key, api_secret, now } = settings;
        Self { key_id, caller: Caller { endpoint, api_key, api_secret, now } }
    }

    async fn encrypt(&self, key: &RootKey, context: &[u8]) -> Result<Vec<u8>, OtherKmsFault> {
        let plaintext = Zeroizing::new(BASE64_STANDARD.encode(key.expose()));
        let answer = self.call("encrypt", "plaintext", &plaintext, context, "ciphertext").await?;
        BASE64_STANDARD.decode(answer.as_bytes()).map_err(|_| self.caller.unintelligible("no ciphertext in base64"))
    }

    async fn decrypt(&self, ciphertext: &[u8], context: &[u8]) -> Result<RootKey, OtherKmsFault> {
        let ciphertext = BASE64_STANDARD.encode(ciphertext);
        let answer = self.call("decrypt", "ciphertext", &ciphertext, context, "plaintext").await?;
        let plaintext = BASE64_STANDARD.decode(answer.as_bytes()).map(Zeroizing::new);
        let plaintext = plaintext.map_err(|_| self.caller.unintelligible("no plaintext in base64"))?;
        RootKey::from_bytes(&plaintext).map_err(|error| self.caller.unintelligible(&error.to_string()))
    }

    async fn call(
        &self,
        operation: &str,
        input: &str,
        text: &str,
        context: &[u8],
        output: &str,
    ) -> Result<Zeroizing<String>, OtherKmsFault> {
        let path = format!("/kms-key/{}/{operation}", self.key_id);
        // Both texts are base64, which needs no escapes. Written once, into memory of the right size that is wiped.
        let context = BASE64_STANDARD.encode(context);
        let mut body = Zeroizing::new(String::with_capacity(64 + input.len() + text.len() + context.len()));
        for part in ["{\"", input, "\":\"", text, "\",\"encryption-context\":\"", &context, "\"}"] {
            body.push_str(part);
        }
        self.caller.post(&path, &body, output).await
    }
}

#[async_trait]
impl RootKeyProvider for OtherKms {
    fn kind(&self) -> ProviderKind {
        ProviderKind::OtherKms
    }

    fn place(&self) -> String {
        format!("key {} of {}", self.key_id, self.caller.endpoint)
    }

    async fn obtain(&self, descriptor: &Descriptor, _: RootKeyFingerprint) -> Result<RootKey, ProviderFault> {
        let wrapped = match descriptor {
            Descriptor::OtherKms(wrapped) => wrapped,
            Descriptor::Given | Descriptor::Passphrase(_) | Descriptor::Pkcs11(_) => {
                return Err(ProviderFault::refused(OtherKmsFault::OtherKind(descriptor.kind())));
            }
        };
        if wrapped.key_id != self.key_id {
            let (encrypted_by, configured) = (wrapped.key_id.clone(), self.key_id.clone());
            return Err(ProviderFault::refused(OtherKmsFault::OtherKey { encrypted_by, configured }));
        }
        Ok(self.decrypt(&wrapped.ciphertext, &wrapped.binding.to_context()).await?)
    }

    async fn create(&self, binding: &Binding, entropy: &dyn Entropy) -> Result<NewRootKey, ProviderFault> {
        let key = RootKey::generate(entropy)?;
        let context = binding.to_context();
        let ciphertext = self.encrypt(&key, &context).await?;
        // What the other service cannot open again must not come into use.
        let opened = self.decrypt(&ciphertext, &context).await?;
        if opened.fingerprint() != key.fingerprint() {
            return Err(self.caller.unintelligible("another plaintext than was encrypted").into());
        }
        let wrapped = OtherKmsDescriptor { key_id: self.key_id.clone(), ciphertext, binding: binding.clone() };
        Ok(NewRootKey { key, descriptor: Descriptor::OtherKms(wrapped) })
    }
}
