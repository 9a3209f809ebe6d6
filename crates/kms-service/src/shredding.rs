//! Shredding: when a deletion is final, the material is to be unrecoverable from the data directory, whatever the engine keeps.
//!
//! An engine and its file system keep old bytes for as long as they like, and the bytes of a deleted key's record are among
//! them. So the storage epoch that opens them is given up: a *pass* seals every other record anew under the next epoch, and
//! when nothing is left under the earlier ones they go from the keyring. Several deletions share a pass.
//!
//! What is to be done is told by the keyring alone. Before a deletion becomes final, the keyring has an epoch later than the
//! one that the key's record is sealed under; so as long as it has several, a pass is due, whenever the process was killed.

use kms_crypto::{EntropyError, EpochId, Keyring};
use kms_storage::{Body, RecordKey, StoreError};
use kms_types::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

use crate::audit::{Actor, NotRecorded};
use crate::create::unreadable;
use crate::epochs::{KeyringNotStored, Succession};
use crate::error::KmsError;
use crate::kms::{Kms, Zone};

/// How long after the first final deletion a pass begins, unless the configuration says otherwise.
pub const SHRED_AFTER: Duration = Duration::from_secs(600);

/// How long after a pass that failed the next one begins, at least.
const RETRY: Duration = Duration::from_secs(60);

/// A pass that was completed: what had been deleted for good before it began cannot be recovered from the live directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShredReport {
    /// When it ended.
    pub at: Timestamp,
    /// Records sealed anew.
    pub resealed: u64,
    /// Records that did not open and so could not be sealed anew: they were damaged before, and are lost with the epoch.
    pub unreadable: u64,
    /// Epochs that were given up.
    pub retired: usize,
}

/// How things stand with final deletions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShredStatus {
    /// How long after the first final deletion a pass begins.
    pub after: Duration,
    /// Epochs of the keyring; with several, a pass is due.
    pub epochs: usize,
    /// Final deletions that wait for a pass.
    pub waiting: Option<ShredWaiting>,
    /// The pass under way.
    pub under_way: Option<ShredProgress>,
    /// The last pass completed since the service started.
    pub last: Option<ShredReport>,
}

/// Final deletions whose material is still under an epoch of the keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShredWaiting {
    /// When the first of them became final; when the service started, if it was before that.
    pub since: Timestamp,
    /// How many became final since the service started.
    pub deletions: u64,
}

/// How far a pass has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShredProgress {
    /// Records looked at; a pass looks at every record at least twice.
    pub examined: u64,
    /// Records sealed anew.
    pub resealed: u64,
    /// Records that did not open.
    pub unreadable: u64,
}

/// Why a pass was not completed. Nothing is lost by it, and a later pass goes on where it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShredError {
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopping,
    /// The store could not be read, or did not take a record.
    #[error("the store does not take records: {0}")]
    Store(String),
    /// The keyring could not be stored.
    #[error(transparent)]
    Keyring(#[from] KeyringNotStored),
    /// A change is neither made nor not made, as far as the store tells.
    #[error("it is not known how some keys stand")]
    Unsettled,
    /// Records were found under earlier epochs again and again.
    #[error("{left} records were still sealed under earlier epochs after the last sweep")]
    NotAllResealed {
        /// How many.
        left: u64,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    NoEntropy,
    /// The pass did not begin, because it could not be recorded.
    #[error(transparent)]
    NotRecorded(#[from] NotRecorded),
}

impl ShredError {
    /// The reason as the audit log has it.
    pub(crate) const fn in_few_words(&self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::Store(_) => "store",
            Self::Keyring(_) => "keyring-not-stored",
            Self::Unsettled => "unsettled-keys",
            Self::NotAllResealed { .. } => "not-all-resealed",
            Self::NoEntropy => "no-entropy",
            Self::NotRecorded(_) => "not-recorded",
        }
    }
}

impl From<StoreError> for ShredError {
    fn from(cause: StoreError) -> Self {
        Self::Store(cause.to_string())
    }
}

impl From<EntropyError> for ShredError {
    fn from(_: EntropyError) -> Self {
        Self::NoEntropy
    }
}

/// The passes of one zone.
pub(crate) struct Shredder {
    after: Duration,
    state: Mutex<State>,
    wanted: Notify,
    /// Held by the pass under way.
    pub(crate) pass: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    waiting: Option<ShredWaiting>,
    under_way: Option<ShredProgress>,
    last: Option<ShredReport>,
}

impl Kms {
    /// Makes a pass now, and answers when everything deleted for good before this call is shredded. Without any such deletion
    /// the store comes under a new epoch all the same.
    ///
    /// # Errors
    ///
    /// [`ShredError`]; a later pass goes on where this one ended.
    pub async fn shred_now(&self) -> Result<ShredReport, ShredError> {
        let zone = Arc::clone(self.zone());
        if zone.stopping.is_cancelled() {
            return Err(ShredError::Stopping);
        }
        let pass = self.zone().tasks.spawn(async move { zone.shred(Actor::Operator).await });
        pass.await.unwrap_or_else(|fault| {
            tracing::error!(%fault, "a shredding pass ended in a panic");
            Err(ShredError::Store("the pass ended in a panic".into()))
        })
    }

    /// What waits to be shredded, the pass under way, and the last one.
    #[must_use]
    pub fn shred_status(&self) -> ShredStatus {
        let (after, epochs) = (self.zone().shredder.after, self.zone().records.epochs().count());
        let state = self.zone().shredder.state();
        ShredStatus { after, epochs, waiting: state.waiting, under_way: state.under_way, last: state.last.clone() }
    }

    /// Has the vault store the keyring as it is: to be called when the vault wraps it under another root key from now on.
    ///
    /// # Errors
    ///
    /// [`KeyringNotStored`]: then it is kept as it was, or as it is to be, whole.
    pub async fn store_keyring_again(&self) -> Result<(), KeyringNotStored> {
        self.zone().records.epochs().keep_again().await
    }
}

impl Shredder {
    pub(crate) fn new(after: Duration) -> Self {
        Self { after, state: Mutex::default(), wanted: Notify::new(), pass: tokio::sync::Mutex::default() }
    }

    /// A deletion has become final at `now`.
    pub(crate) fn note_deletion(&self, now: Timestamp) {
        self.wait(now, 1);
    }

    /// Earlier epochs were found at start: a pass was due, or under way, when the process ended.
    pub(crate) fn note_leftover(&self, now: Timestamp) {
        self.wait(now, 0);
    }

    pub(crate) fn began(&self) {
        self.state().under_way = Some(ShredProgress::default());
    }

    pub(crate) fn came_to(&self, progress: ShredProgress) {
        self.state().under_way = Some(progress);
    }

    /// The pass has ended; `due` says whether the keyring has earlier epochs still.
    pub(crate) fn ended(&self, outcome: &Result<ShredReport, ShredError>, due: Due) {
        let mut state = self.state();
        state.under_way = None;
        if let Ok(report) = outcome {
            state.last = Some(report.clone());
        }
        match due {
            Due::Nothing => state.waiting = None,
            Due::APass => {}
        }
    }

    fn wait(&self, now: Timestamp, deletions: u64) {
        let mut state = self.state();
        let waiting = state.waiting.get_or_insert(ShredWaiting { since: now, deletions: 0 });
        waiting.deletions += deletions;
        drop(state);
        self.wanted.notify_one();
    }

    fn is_waited_for(&self) -> bool {
        self.state().waiting.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left to do after a pass.
#[derive(Clone, Copy)]
pub(crate) enum Due {
    Nothing,
    APass,
}

impl Zone {
    /// To be called before a key's deletion becomes final, in its turn: sees to it that the record at `place` is under an
    /// epoch that a pass will give up.
    pub(crate) async fn make_shreddable(&self, place: &RecordKey) -> Result<(), KmsError> {
        let stored = self.store.get(place).await.map_err(unreadable)?;
        let epochs = self.records.epochs();
        let epoch = match &stored.body {
            Body::Live(sealed) => Keyring::epoch_of(sealed).unwrap_or_else(|_damaged| epochs.current()),
            Body::Absent | Body::Tombstone => return Ok(()),
        };
        self.succeed_epoch(epoch).await.map_err(|cause| {
            tracing::error!(record = %place, %cause, "a deletion waits until the keyring can be stored");
            KmsError::ReadOnly
        })
    }

    /// Returns once new records are sealed under a later epoch than `epoch`, and nothing more will be written under it.
    pub(crate) async fn succeed_epoch(&self, epoch: EpochId) -> Result<(), KeyringNotStored> {
        let epochs = self.records.epochs();
        match epochs.succeed(epoch).await? {
            Succession::Begun => self.record_done("begin-epoch", Actor::Server, as_count(epochs.count())).await,
            Succession::NotNeeded => {}
        }
        Ok(())
    }

    /// Makes passes after final deletions, until the service stops.
    pub(crate) async fn drive_shredding(self: Arc<Self>) {
        if self.records.epochs().count() > 1 {
            self.shredder.note_leftover(self.clock.now());
        }
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = self.shredder.wanted.notified() => {}
            }
            let mut pause = self.shredder.after;
            while self.shredder.is_waited_for() {
                tokio::select! {
                    () = self.stopping.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                // Somebody may have asked for a pass meanwhile.
                if !self.shredder.is_waited_for() {
                    break;
                }
                match self.shred(Actor::Scheduler).await {
                    Ok(_report) => pause = self.shredder.after,
                    Err(ShredError::Stopping) => return,
                    Err(cause) => {
                        tracing::error!(zone = %self.name, %cause, "a shredding pass failed and will be tried again");
                        pause = self.shredder.after.max(RETRY);
                    }
                }
            }
        }
    }
}

/// For the audit log.
pub(crate) fn as_count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
