//! A key after its zone was restored from a backup.
//!
//! What happened to the key between the backup and the restore is not known here, and other zones and old ciphertexts may
//! know of it. So no number of that time may be used again: the revision is taken to the microseconds since 1970, which no
//! count of changes comes up to, and which every later restore exceeds; the next material version follows from it.

use crate::key::{Key, RevisionStamp};
use crate::place::Place;
use crate::status::Status;
use crate::versions::Made;
use kms_types::{DeletionDelay, MaterialVersion, Revision, Timestamp};

/// A key after a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredKey {
    /// The key.
    pub key: Key,
    /// The version for which the caller must make new material, stored together with the key.
    pub new_version: Option<MaterialVersion>,
}

/// The key has no revision or material version left, or the time of the restore is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key has no number left for a restore")]
pub struct NotRestorable;

impl Key {
    /// The key as it goes on after a restore at `now`: above every revision and material version it can have had.
    ///
    /// * A key of several zones begins a new material version at its origin. Replicas may have versions that the origin lost;
    ///   they keep them to decrypt with, and all zones encrypt with the new one.
    /// * A pending deletion comes no sooner than the shortest notice from `now`: its users cannot have known that the key would
    ///   be back. A replica's deletion is its origin's to decide.
    ///
    /// Nothing else changes.
    ///
    /// # Errors
    /// [`NotRestorable`].
    pub fn restored(&self, now: Timestamp) -> Result<RestoredKey, NotRestorable> {
        let micros = u64::try_from(now.as_nanos() / 1_000).ok().and_then(Revision::new).ok_or(NotRestorable)?;
        let seq = self.revision.seq.next().ok_or(NotRestorable)?.max(micros);
        seq.next().ok_or(NotRestorable)?;
        let at = self.revision.at.max(now);
        let mut key = Self { revision: RevisionStamp { seq, at }, ..self.clone() };
        let new_version = match self.place {
            Place::SingleZone | Place::Replica { .. } => None,
            Place::Origin { .. } => {
                let version = self.versions.following(seq, at, Made::Automatically).ok_or(NotRestorable)?;
                key.versions = self.versions.with(version);
                Some(version.version)
            }
        };
        key.status = match (&self.place, self.status) {
            (Place::SingleZone | Place::Origin { .. }, Status::PendingDeletion { since, delete_at }) => {
                let delete_at = delete_at.max(now.plus_days(DeletionDelay::MIN));
                Status::PendingDeletion { since, delete_at }
            }
            (Place::SingleZone | Place::Origin { .. } | Place::Replica { .. }, status) => status,
        };
        Ok(RestoredKey { key, new_version })
    }
}
