//! A passphrase that a person types when it is needed.

use std::io;

use async_trait::async_trait;
use kms_crypto::{Entropy, RootKey, RootKeyFingerprint, SecretBytes};
use kms_root_key::{
    Binding, Descriptor, NewRootKey, Passphrase, PassphraseFault, ProviderFault, ProviderKind, RootKeyProvider,
};
use zeroize::Zeroizing;

/// The passphrase that is typed at the terminal.
pub(crate) struct Prompt;

/// Why nothing was typed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PromptFault {
    #[error(
        "the passphrase must be typed, and there is no terminal ({0}): use passphrase-file or passphrase-credential, or stop \
         the server and run this at a terminal"
    )]
    NoTerminal(io::Error),
    #[error("the two passphrases differ")]
    Different,
    #[error(transparent)]
    Passphrase(#[from] PassphraseFault),
}

#[async_trait]
impl RootKeyProvider for Prompt {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Passphrase
    }

    fn place(&self) -> String {
        "passphrase typed at the terminal".to_owned()
    }

    async fn obtain(&self, descriptor: &Descriptor, wanted: RootKeyFingerprint) -> Result<RootKey, ProviderFault> {
        let passphrase = ask(&["Passphrase: "]).await?;
        passphrase.obtain(descriptor, wanted).await
    }

    async fn create(&self, binding: &Binding, entropy: &dyn Entropy) -> Result<NewRootKey, ProviderFault> {
        let passphrase = ask(&["New passphrase: ", "The same again: "]).await?;
        passphrase.create(binding, entropy).await
    }
}

/// Asks in a thread that may wait for a person. All answers must be the same.
async fn ask(prompts: &'static [&'static str]) -> Result<Passphrase, ProviderFault> {
    let asked = tokio::task::spawn_blocking(move || {
        let mut typed: Option<Zeroizing<String>> = None;
        for prompt in prompts {
            let answer = rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(PromptFault::NoTerminal)?;
            if typed.as_ref().is_some_and(|typed| *typed != answer) {
                return Err(PromptFault::Different);
            }
            typed = Some(answer);
        }
        let typed = typed.ok_or(PassphraseFault::Empty)?;
        Ok(Passphrase::new(Prompt.place(), &SecretBytes::copy_from(typed.as_bytes()))?)
    });
    let asked = asked.await.unwrap_or(Err(PromptFault::Passphrase(PassphraseFault::Interrupted)));
    asked.map_err(ProviderFault::refused)
}
