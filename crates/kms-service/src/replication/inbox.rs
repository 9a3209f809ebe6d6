//! The replica's side: what other zones ask of this one.

use kms_crypto::{TransferBinding, open_transfer};
use kms_replication::{Answer, ApplyPermit, Held, Message, Payload, RefusalReason, ReplicaAction, Reply, Request};
use kms_types::{KeyId, ZoneName};
use std::sync::Arc;

use crate::audit::Actor;
use crate::kms::Zone;
use crate::link::{BadFrame, FrameSender};
use crate::records::Arrived;
use crate::replication::{Replication, fault};
use crate::sight::Sight;

impl Zone {
    /// The replication, if it has to do with `peer`.
    pub(super) fn replication_with(&self, peer: &ZoneName) -> Result<&Replication, BadFrame> {
        if self.stopping.is_cancelled() {
            return Err(BadFrame::new("the service is stopping"));
        }
        let known = self.replication.as_ref().filter(|replication| replication.knows(peer));
        known.ok_or_else(|| BadFrame::new("the zone is no peer of this one"))
    }

    /// Answers `request` of `from`. What has to be stored first is stored in a task of its own, of which the replica allows
    /// a bounded number.
    pub(super) async fn requested(
        self: &Arc<Self>,
        replication: &Replication,
        from: &ZoneName,
        request: Request,
        outgoing: &FrameSender,
    ) -> Result<(), BadFrame> {
        if let Some(reply) = self.cannot_tell(from, &request) {
            return send(reply, outgoing).await;
        }
        let action = replication.replica().received(from, request, &|key| self.held(key));
        match action {
            None => Ok(()),
            Some(ReplicaAction::Send(reply)) => {
                self.tell_refusal(&reply);
                send(reply, outgoing).await
            }
            Some(ReplicaAction::Apply { permit, payload }) => {
                let (zone, outgoing) = (Arc::clone(self), outgoing.clone());
                self.tasks.spawn(async move { zone.take_in(permit, payload, outgoing).await });
                Ok(())
            }
        }
    }

    /// The answer when this zone does not know what it holds.
    fn cannot_tell(&self, from: &ZoneName, request: &Request) -> Option<Reply> {
        match self.directory.sight(request.key()) {
            Sight::Damaged => {
                let reason = RefusalReason::Failed(fault("the stored record of this key is damaged"));
                let revision = match request {
                    Request::Ask { revision, .. } | Request::State { revision, .. } => *revision,
                };
                Some(Reply { to: from.clone(), answer: Answer::Refused { key: request.key(), revision, reason } })
            }
            Sight::Live(_) | Sight::Deleted(_) | Sight::Nothing => None,
        }
    }

    /// What this zone holds of `key`. The directory shows what is durable only.
    fn held(&self, key: KeyId) -> Held {
        match self.directory.sight(key) {
            Sight::Live(shown) => {
                let key = shown.key();
                Held::Key { origin: key.origin_zone().clone(), revision: key.origin_revision() }
            }
            Sight::Deleted(deleted) => Held::Tombstone { origin: deleted.origin.clone(), revision: deleted.revision },
            Sight::Damaged | Sight::Nothing => Held::Nothing,
        }
    }

    fn tell_refusal(&self, reply: &Reply) {
        match &reply.answer {
            Answer::Refused { key, revision, reason } => {
                let revision = revision.get();
                tracing::warn!(event = "replica-refused", from = %reply.to, %key, revision, %reason, "a key of another zone was refused");
                self.record_refusal("apply-replica", Actor::Peer(&reply.to), *key, &reason.to_string());
            }
            Answer::Have { .. } | Answer::Applied { .. } => {}
        }
    }

    async fn take_in(&self, permit: ApplyPermit, payload: Payload, outgoing: FrameSender) {
        let Some(replication) = &self.replication else { return };
        let outcome = self.apply(replication, &permit, &payload).await;
        let reply = match outcome {
            Ok(()) => replication.replica().stored(permit),
            Err(reason) => replication.replica().rejected(permit, reason),
        };
        self.tell_refusal(&reply);
        // The connection is gone when nobody takes the answer; the origin will ask.
        let _gone = send(reply, &outgoing).await;
    }

    /// Stores what is in `payload`. Answers once it, or something later, is durable.
    async fn apply(
        &self,
        replication: &Replication,
        permit: &ApplyPermit,
        payload: &Payload,
    ) -> Result<(), RefusalReason> {
        let (from, key, revision) = (permit.from(), permit.key(), permit.revision());
        let binding = TransferBinding { origin: from, target: &self.name, key, revision };
        let plain = open_transfer(&replication.private_keys, &binding, payload.as_bytes())
            .map_err(|cause| malformed(permit, &cause))?;
        match self.records.read_transfer(plain.expose()).map_err(|cause| malformed(permit, &cause))? {
            Arrived::Key(state, material) => {
                let is_named = state.id() == key && state.revision() == revision && state.origin_zone() == from;
                if !is_named {
                    return Err(malformed(permit, &"it holds another key or revision than its message says"));
                }
                self.apply_state(&state, material).await
            }
            Arrived::Tombstone(tombstone) => {
                let is_named = tombstone.id == key && tombstone.revision == revision && tombstone.origin_zone == *from;
                if !is_named {
                    return Err(malformed(permit, &"it holds another key or revision than its message says"));
                }
                self.apply_tombstone(tombstone).await
            }
        }
    }
}

/// A transfer that does not open or contradicts itself: damage, another version, or an attack.
fn malformed(permit: &ApplyPermit, cause: &dyn std::fmt::Display) -> RefusalReason {
    let (from, key, revision) = (permit.from(), permit.key(), permit.revision().get());
    tracing::warn!(event = "transfer-refused", %from, %key, revision, %cause, "a transfer of another zone cannot be used");
    RefusalReason::Malformed
}

async fn send(reply: Reply, outgoing: &FrameSender) -> Result<(), BadFrame> {
    let frame = Message::Answer(reply.answer).encode().map_err(|cause| BadFrame::new(cause.to_string()))?;
    outgoing.send(frame).await.map_err(|cause| BadFrame::new(cause.to_string()))
}
