//! After a commit whose outcome is unknown: nothing is said about the key until the store has told how it stands.
//!
//! Crypto calls go on with the state that was answered last. An embedded store that failed stays read-only until it is opened
//! again, and then start-up tells; a store that recovers by itself is asked by the scheduler.

use kms_storage::{Body, Health, RecordKey};
use kms_types::KeyId;

use crate::directory::{Unsettled, UnsettledAttempt};
use crate::error::KmsError;
use crate::kms::Zone;
use crate::records::Opened;
use crate::sight::Deleted;

impl Zone {
    /// Returns once it is known how the key stands; the caller holds the key's turn.
    pub(crate) async fn settled(&self, id: KeyId) -> Result<(), KmsError> {
        if self.directory.unsettled(id).is_none() {
            return Ok(());
        }
        if self.store.health() != Health::Ready {
            return Err(KmsError::OutcomeUnknown);
        }
        let refreshed = self.refresh_from_store(id).await;
        match refreshed {
            Ok(()) | Err(KmsError::KeyNotFound) => self.directory.settle(id),
            Err(_) => {}
        }
        refreshed
    }

    /// Asks the store about every key whose state is not known, if it is in order again.
    pub(crate) async fn settle_what_can_be(&self) {
        for id in self.directory.all_unsettled() {
            if self.store.health() != Health::Ready {
                return;
            }
            let outcome = match (self.directory.shown(id), self.directory.unsettled(id)) {
                (Some(_), Some(_)) => {
                    let _turn = self.directory.turn(id).await;
                    self.settled(id).await
                }
                (None, Some(unsettled)) => self.settle_creation(id, &unsettled).await,
                (_, None) => Ok(()),
            };
            match outcome {
                Ok(()) | Err(KmsError::KeyNotFound) => {
                    tracing::info!(key = %id, "it is known again how the key stands");
                }
                Err(cause) => tracing::error!(key = %id, %cause, "it is still not known how the key stands"),
            }
        }
    }

    async fn settle_creation(&self, id: KeyId, unsettled: &Unsettled) -> Result<(), KmsError> {
        let Unsettled { organisation, attempt } = unsettled;
        let place = RecordKey::key(organisation, id);
        let stored = self.store.get(&place).await.map_err(|_| KmsError::OutcomeUnknown)?;
        match (stored.body, attempt) {
            (Body::Live(sealed), _) => match self.records.open_key(&place, stored.version, &sealed) {
                Ok(Opened::Key(snapshot)) => {
                    let key = snapshot.to_key();
                    self.directory.load(snapshot);
                    self.announce(&key);
                }
                Ok(Opened::Tombstone(tombstone)) => {
                    self.directory.load_tombstone(id, Deleted::from(&tombstone));
                    self.directory.release(organisation, &tombstone.name);
                }
                Err(_) => return Err(KmsError::RecordDamaged),
            },
            (Body::Absent | Body::Tombstone, UnsettledAttempt::Creation(name)) => {
                self.directory.release(organisation, name);
            }
            (Body::Absent | Body::Tombstone, UnsettledAttempt::Change) => {}
        }
        self.directory.settle(id);
        Ok(())
    }
}
