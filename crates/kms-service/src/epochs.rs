//! The keyring in use, and how its epochs change while records are sealed under them.
//!
//! Two orders are kept. A keyring with a new epoch is durable before anything is sealed under that epoch. And whatever was
//! sealed under the epoch before is durable, or will never be, before any step that follows the change: a sealed record holds
//! the gate from its making until its commit is answered.

use arc_swap::ArcSwap;
use kms_crypto::{Entropy, EntropyError, EpochId, Keyring, RecordError, SecretBytes};
use kms_storage::{Commit, CommitError, Durable, RecordKey, RecordVersion, Store};
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedRwLockReadGuard, RwLock};
use tokio::task::spawn_blocking;

/// Where the keyring is kept between runs. One process at a time keeps a zone's keyring, as one process has its store.
pub trait KeyringVault: Send + Sync {
    /// Keeps `keyring` in the place of the one before. When this returns `Ok`, it outlives a power cut, and no other
    /// keyring is left in its place. The calling thread may wait for disks and devices.
    ///
    /// # Errors
    ///
    /// [`KeyringNotStored`]: then the one before or this one is kept, whole.
    fn store(&self, keyring: &Keyring) -> Result<(), KeyringNotStored>;
}

/// The keyring could not be stored; the text is fit for a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keyring could not be stored: {0}")]
pub struct KeyringNotStored(String);

impl KeyringNotStored {
    /// For that reason.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Keeps nothing: for work in which the keyring does not change, and for benches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoKeyringVault;

impl KeyringVault for NoKeyringVault {
    fn store(&self, _: &Keyring) -> Result<(), KeyringNotStored> {
        Err(KeyringNotStored::new("there is no place for a keyring here"))
    }
}

/// The keyring of one store.
pub(crate) struct Epochs {
    keyring: ArcSwap<Keyring>,
    gate: Arc<RwLock<()>>,
    vault: Arc<dyn KeyringVault>,
    entropy: Arc<dyn Entropy>,
    /// Held while the keyring is replaced: one replacement at a time.
    replacing: Mutex<()>,
}

/// What became of the wish for a later epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Succession {
    /// A new epoch has begun.
    Begun,
    /// A later one was in use already.
    NotNeeded,
}

/// The right to seal records under the epoch of this moment, and to commit them.
pub(crate) struct Sealing {
    keyring: Arc<Keyring>,
    entropy: Arc<dyn Entropy>,
    _gate: OwnedRwLockReadGuard<()>,
}

impl Epochs {
    pub(crate) fn new(keyring: Keyring, vault: Arc<dyn KeyringVault>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            keyring: ArcSwap::from_pointee(keyring),
            gate: Arc::default(),
            vault,
            entropy,
            replacing: Mutex::default(),
        }
    }

    /// Opens a record that was found at `place`.
    pub(crate) fn open(
        &self,
        place: &RecordKey,
        version: RecordVersion,
        sealed: &[u8],
    ) -> Result<SecretBytes, RecordError> {
        self.keyring.load().open_record(place.as_str(), version.get(), sealed)
    }

    /// Seals what is no record of the store, under the current epoch.
    pub(crate) fn seal_text(&self, place: &str, version: u64, plain: &[u8]) -> Result<Vec<u8>, EntropyError> {
        self.keyring.load().seal_record(place, version, plain, self.entropy.as_ref())
    }

    /// Opens what [`Epochs::seal_text`] made.
    pub(crate) fn open_text(&self, place: &str, version: u64, sealed: &[u8]) -> Result<SecretBytes, RecordError> {
        self.keyring.load().open_record(place, version, sealed)
    }

    /// To seal records with. Not to be asked for by who holds one: that might wait for ever.
    pub(crate) async fn sealing(&self) -> Sealing {
        let gate = Arc::clone(&self.gate).read_owned().await;
        Sealing { keyring: self.keyring.load_full(), entropy: Arc::clone(&self.entropy), _gate: gate }
    }

    /// The id of the store that the keyring belongs to.
    pub(crate) fn store_id(&self) -> [u8; 16] {
        *self.keyring.load().store_id()
    }

    /// The epoch that new records are sealed under.
    pub(crate) fn current(&self) -> EpochId {
        self.keyring.load().current_epoch()
    }

    /// How many epochs can be opened.
    pub(crate) fn count(&self) -> usize {
        self.keyring.load().epochs().count()
    }

    /// Returns once new records are sealed under a later epoch than `epoch`, and nothing more will be written under it.
    pub(crate) async fn succeed(&self, epoch: EpochId) -> Result<Succession, KeyringNotStored> {
        let _replacing = self.replacing.lock().await;
        let keyring = self.keyring.load_full();
        if keyring.current_epoch() > epoch {
            return Ok(Succession::NotNeeded);
        }
        let next = keyring.with_new_epoch(self.entropy.as_ref());
        let next = Arc::new(next.map_err(|cause| KeyringNotStored::new(cause.to_string()))?);
        self.keep(&next).await?;
        kms_crashpoint::passed("epoch:kept");
        let _all_answered = self.gate.write().await;
        self.keyring.store(next);
        Ok(Succession::Begun)
    }

    /// Gives up every epoch before `first`, under which nothing is sealed any more. Answers how many there were.
    pub(crate) async fn retire_before(&self, first: EpochId) -> Result<usize, KeyringNotStored> {
        let _replacing = self.replacing.lock().await;
        let keyring = self.keyring.load_full();
        let gone: Vec<EpochId> = keyring.epochs().filter(|epoch| *epoch < first).collect();
        let mut next = keyring;
        for epoch in &gone {
            let without = next.without_epoch(*epoch);
            next = Arc::new(without.map_err(|cause| KeyringNotStored::new(cause.to_string()))?);
        }
        if !gone.is_empty() {
            self.keep(&next).await?;
            kms_crashpoint::passed("epoch:retired");
            self.keyring.store(next);
        }
        Ok(gone.len())
    }

    /// Has the vault store the keyring as it is, for a vault that wraps it differently from now on.
    pub(crate) async fn keep_again(&self) -> Result<(), KeyringNotStored> {
        let _replacing = self.replacing.lock().await;
        self.keep(&self.keyring.load_full()).await
    }

    async fn keep(&self, keyring: &Arc<Keyring>) -> Result<(), KeyringNotStored> {
        let (vault, keyring) = (Arc::clone(&self.vault), Arc::clone(keyring));
        let kept = spawn_blocking(move || vault.store(&keyring)).await;
        kept.unwrap_or_else(|fault| Err(KeyringNotStored::new(fault.to_string())))
    }
}

impl Sealing {
    /// The sealed record of `plain` as version `version` of `place`.
    pub(crate) fn seal(
        &self,
        place: &RecordKey,
        version: RecordVersion,
        plain: &[u8],
    ) -> Result<Vec<u8>, EntropyError> {
        self.keyring.seal_record(place.as_str(), version.get(), plain, self.entropy.as_ref())
    }

    /// Commits what was sealed with this.
    pub(crate) async fn commit(self, store: &dyn Store, commit: Commit) -> Result<Durable, CommitError> {
        store.commit(commit).await
    }
}
