//! A provider that the configuration describes, but whose file, variable, module or the like is not there now.
//!
//! Most starts do not need `[root-key-next]`: its absence counts only once somebody asks for its root key.

use async_trait::async_trait;
use kms_crypto::{Entropy, RootKey, RootKeyFingerprint};
use kms_root_key::{Binding, Descriptor, NewRootKey, ProviderFault, ProviderKind, RootKeyProvider};

/// It refuses everything with the faults found when the configuration was read.
pub(crate) struct AbsentProvider {
    kind: ProviderKind,
    faults: String,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Absent(String);

impl AbsentProvider {
    /// Of the kind that the configuration says, with what is wrong: never a secret.
    pub(crate) const fn new(kind: ProviderKind, faults: String) -> Self {
        Self { kind, faults }
    }

    fn refusal(&self) -> ProviderFault {
        ProviderFault::refused(Absent(self.faults.clone()))
    }
}

#[async_trait]
impl RootKeyProvider for AbsentProvider {
    fn kind(&self) -> ProviderKind {
        self.kind
    }

    fn place(&self) -> String {
        "not to be had now".to_owned()
    }

    async fn obtain(&self, _: &Descriptor, _: RootKeyFingerprint) -> Result<RootKey, ProviderFault> {
        Err(self.refusal())
    }

    async fn create(&self, _: &Binding, _: &dyn Entropy) -> Result<NewRootKey, ProviderFault> {
        Err(self.refusal())
    }
}
