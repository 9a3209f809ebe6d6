//! The root keys of a configuration: the one in use, and during a change to another provider the next one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kms_crypto::{RootKey, RootKeyFingerprint};
use kms_root_key::{Descriptor, ProviderFault, ProviderKind, RootKeyProvider};

/// The longest pause between two tries, in seconds.
const LONGEST_PAUSE: u64 = 30;

/// Where the keyring's root key may come from. The keyring says which of the two it needs, so the configuration is right
/// before and after a change from the one to the other.
pub(crate) struct RootKeys {
    /// `[root-key]`.
    pub(crate) current: ConfiguredKey,
    /// `[root-key-next]`.
    pub(crate) next: Option<ConfiguredKey>,
}

/// A provider, and the section of the configuration that describes it.
#[derive(Clone)]
pub(crate) struct ConfiguredKey {
    pub(crate) section: Section,
    pub(crate) provider: Arc<dyn RootKeyProvider>,
}

/// The two sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    RootKey,
    RootKeyNext,
}

/// What to do while a provider is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Try again until it is there: for servers.
    Wait,
    /// Give up at once: for commands.
    Once,
}

/// Why none of the configured providers gives the root key that is wanted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoRootKey {
    #[error("the keyring's root key comes from: {needed}; configured is: {configured}")]
    OtherProvider { needed: ProviderKind, configured: String },
    #[error("the passphrase is wrong ({place}): it does not open the keyring")]
    WrongPassphrase { place: String },
    #[error("the root key is another one")]
    Wrong { given: RootKeyFingerprint },
    #[error("{section} ({place}): {fault}")]
    Provider { section: Section, place: String, fault: ProviderFault },
}

impl RootKeys {
    /// With one provider alone.
    pub(crate) fn only(provider: Arc<dyn RootKeyProvider>) -> Self {
        Self { current: ConfiguredKey { section: Section::RootKey, provider }, next: None }
    }

    /// The root key with fingerprint `wanted`, and whose it is.
    pub(crate) async fn obtain(
        &self,
        descriptor: &Descriptor,
        wanted: RootKeyFingerprint,
        patience: Patience,
    ) -> Result<(RootKey, &ConfiguredKey), NoRootKey> {
        let mut candidates: Vec<&ConfiguredKey> =
            self.all().filter(|candidate| candidate.provider.kind() == descriptor.kind()).collect();
        if candidates.is_empty() {
            let configured = self.all().map(|candidate| candidate.to_string()).collect::<Vec<_>>().join(", ");
            return Err(NoRootKey::OtherProvider { needed: descriptor.kind(), configured });
        }
        // A file may be the root key of the one section, and beside that of the other: who names it comes first.
        candidates.sort_by_key(|candidate| candidate.provider.fingerprint() != Some(wanted));
        let mut pause = Pause::first();
        let mut refusal: Option<NoRootKey> = None;
        loop {
            // Whoever refuses is not asked again: a token would count it as one more wrong PIN.
            let mut out_of_reach = Vec::new();
            for candidate in candidates {
                match candidate.provider.obtain(descriptor, wanted).await {
                    Ok(key) if key.fingerprint() == wanted => return Ok((key, candidate)),
                    Ok(key) => {
                        refusal.get_or_insert(candidate.wrong(key.fingerprint()));
                    }
                    Err(fault @ ProviderFault::Unavailable(_)) => out_of_reach.push((candidate, fault)),
                    Err(fault @ (ProviderFault::Refused(_) | ProviderFault::Entropy(_))) => {
                        refusal.get_or_insert(candidate.failed(fault));
                    }
                }
            }
            match (out_of_reach.pop(), patience) {
                (Some((candidate, fault)), Patience::Wait) => {
                    pause.wait(&fault).await;
                    candidates = out_of_reach.into_iter().map(|(candidate, _)| candidate).chain([candidate]).collect();
                }
                (Some((candidate, fault)), Patience::Once) => {
                    return Err(refusal.unwrap_or_else(|| candidate.failed(fault)));
                }
                (None, _) => return Err(refusal.unwrap_or_else(|| self.current.wrong(wanted))),
            }
        }
    }

    /// Tells every provider which root key is in use, so that it lets go of what it kept for safety.
    pub(crate) fn settle(&self, in_use: RootKeyFingerprint) {
        for key in self.all() {
            if let Err(fault) = key.provider.settle(in_use) {
                tracing::warn!(%fault, "the rest of a root key rotation is still there");
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &ConfiguredKey> {
        [&self.current].into_iter().chain(&self.next)
    }
}

impl ConfiguredKey {
    pub(crate) fn failed(&self, fault: ProviderFault) -> NoRootKey {
        NoRootKey::Provider { section: self.section, place: self.provider.place(), fault }
    }

    fn wrong(&self, given: RootKeyFingerprint) -> NoRootKey {
        match self.provider.kind() {
            ProviderKind::Passphrase => NoRootKey::WrongPassphrase { place: self.provider.place() },
            ProviderKind::Given | ProviderKind::Pkcs11 | ProviderKind::OtherKms => NoRootKey::Wrong { given },
        }
    }
}

/// Pauses that grow: 1, 2, 4 seconds and so on.
pub(crate) struct Pause(u64);

impl Pause {
    pub(crate) const fn first() -> Self {
        Self(1)
    }

    /// Says what is waited for, and waits.
    pub(crate) async fn wait(&mut self, fault: &ProviderFault) {
        let seconds = self.0;
        tracing::warn!(%fault, again_in_seconds = seconds, "waiting for the root key; no key is served until it is there");
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        self.0 = (seconds * 2).min(LONGEST_PAUSE);
    }
}

impl fmt::Display for ConfiguredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.section, self.provider.kind(), self.provider.place())
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RootKey => "[root-key]",
            Self::RootKeyNext => "[root-key-next]",
        })
    }
}
