//! The end of a deletion: when no other zone holds the key any more, its tombstone says so, and no later start asks again.

use kms_storage::record::TombstoneRecord;
use kms_storage::{Body, Commit, RecordKey, Write};
use kms_types::KeyId;
use std::collections::BTreeSet;

use crate::kms::Zone;
use crate::records::Opened;
use crate::sight::{Deleted, Sight};

impl Zone {
    /// Notes in the tombstone of `key` that all zones have confirmed it. When that fails, they are asked again after the
    /// next start.
    pub(super) async fn retire(&self, key: KeyId) {
        match self.try_retire(key).await {
            Ok(()) => tracing::info!(%key, "a deleted key is gone from all zones"),
            Err(why) => tracing::warn!(%key, why, "it was not noted that a deleted key is gone from all zones"),
        }
    }

    async fn try_retire(&self, key: KeyId) -> Result<(), String> {
        let deleted = match self.directory.sight(key) {
            Sight::Deleted(deleted) => deleted,
            Sight::Live(_) | Sight::Damaged | Sight::Nothing => return Err("it is not deleted".into()),
        };
        let place = RecordKey::key(&deleted.organisation, key);
        let stored = self.store.get(&place).await.map_err(|cause| cause.to_string())?;
        let Body::Live(sealed) = stored.body else { return Err("the tombstone is missing".into()) };
        let tombstone = match self.records.open_key(&place, stored.version, &sealed) {
            Ok(Opened::Tombstone(tombstone)) => tombstone,
            Ok(Opened::Key(_)) => return Err("the tombstone is missing".into()),
            Err(cause) => return Err(cause.to_string()),
        };
        let tombstone = TombstoneRecord { replicas: BTreeSet::new(), ..tombstone };
        let version = stored.version.next().ok_or("the record has no further version")?;
        let sealing = self.records.sealing().await;
        let record = sealing.seal_tombstone(&tombstone, version).map_err(|cause| cause.to_string())?;
        let commit = Commit::new(vec![Write::live(place, stored.version, record)]);
        let durable = sealing.commit(self.store.as_ref(), commit).await.map_err(|cause| cause.to_string())?;
        self.directory.note_tombstone(key, Deleted::from(&tombstone), &durable);
        Ok(())
    }
}
