//! The state of a key as one target zone is sent it.

use kms_crypto::TransferBinding;
use kms_replication::{Message, Payload, Request};
use kms_storage::{Body, RecordKey};
use kms_types::{KeyId, Revision, ZoneName};
use zeroize::Zeroizing;

use crate::kms::Zone;
use crate::records::Opened;
use crate::sight::{Deleted, Sight};

impl Zone {
    /// The message that brings `target` the state of `key` as it is now; `None` when there is none, which is reported.
    pub(super) async fn frame_of(&self, target: &ZoneName, key: KeyId) -> Option<Vec<u8>> {
        match self.try_frame_of(target, key).await {
            Ok(frame) => Some(frame),
            Err(why) => {
                tracing::error!(%target, %key, why, "a key could not be sent to a zone");
                self.replication.as_ref()?.outbox.ship_failed(target, key, &why, self.moment());
                None
            }
        }
    }

    async fn try_frame_of(&self, target: &ZoneName, key: KeyId) -> Result<Vec<u8>, String> {
        let replication = self.replication.as_ref().ok_or("this zone does not replicate")?;
        let recipient = replication.peers.get(target).ok_or("the target zone is not configured here")?;
        let (revision, plain) = self.current_state(key).await?;
        replication.outbox.shipping(target, key, revision, self.moment());
        let binding = TransferBinding { origin: &self.name, target, key, revision };
        let sealed = recipient.seal(&binding, &plain, self.entropy.as_ref()).map_err(|cause| cause.to_string())?;
        let payload = Payload::new(sealed).map_err(|cause| cause.to_string())?;
        Message::Request(Request::State { key, revision, payload }).encode().map_err(|cause| cause.to_string())
    }

    /// The durable state of `key`: what is shown of a key always is.
    async fn current_state(&self, key: KeyId) -> Result<(Revision, Zeroizing<Vec<u8>>), String> {
        match self.directory.sight(key) {
            Sight::Live(snapshot) => {
                let plain = self.records.transfer_of(&snapshot).map_err(|cause| cause.to_string())?;
                Ok((snapshot.key().revision().seq, plain))
            }
            Sight::Deleted(deleted) => {
                let plain = self.tombstone_transfer(key, &deleted).await?;
                Ok((deleted.revision, plain))
            }
            Sight::Damaged => Err("the stored record of this key is damaged".into()),
            Sight::Nothing => Err("the key does not exist".into()),
        }
    }

    async fn tombstone_transfer(&self, key: KeyId, deleted: &Deleted) -> Result<Zeroizing<Vec<u8>>, String> {
        let place = RecordKey::key(&deleted.organisation, key);
        let stored = self.store.get(&place).await.map_err(|cause| cause.to_string())?;
        let Body::Live(sealed) = stored.body else { return Err("the tombstone is missing".into()) };
        match self.records.open_key(&place, stored.version, &sealed) {
            Ok(Opened::Tombstone(tombstone)) => {
                self.records.transfer_of_tombstone(&tombstone).map_err(|cause| cause.to_string())
            }
            Ok(Opened::Key(_)) => Err("the tombstone is missing".into()),
            Err(cause) => Err(cause.to_string()),
        }
    }
}
