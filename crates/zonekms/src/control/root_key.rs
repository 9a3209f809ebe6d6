//! Commands about a zone's root key.

use std::sync::Arc;

use axum::body::Bytes;
use kms_service::{Actor, Kms, ServiceClock};
use kms_types::ZoneName;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Done, Refused};
use super::zones::ByName;
use crate::keyring_file::{KeyringFile, RotateTo};
use crate::root_key::{PROCESS_ENVIRONMENT, RootKeysFrom};

/// The root key of a zone that is served.
pub(crate) struct ZoneRootKey {
    zone: ZoneName,
    file: Arc<KeyringFile>,
    keys: RootKeysFrom,
    clock: Arc<ServiceClock>,
}

/// What a rotation is asked for with: `{"to":"same-provider"}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    to: To,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum To {
    SameProvider,
    NextProvider,
}

impl ZoneRootKey {
    pub(crate) fn new(zone: ZoneName, file: Arc<KeyringFile>, keys: RootKeysFrom, clock: Arc<ServiceClock>) -> Self {
        Self { zone, file, keys, clock }
    }

    /// The status as the members of an answer.
    pub(crate) fn status(&self) -> Result<Value, Refused> {
        let status = self.file.status().map_err(Refused::failed)?;
        Ok(json!({
            "zone": self.zone.as_str(),
            "provider": status.provider.to_string(),
            "place": status.place,
            "section": status.section.to_string(),
            "fingerprint": status.fingerprint.to_string(),
            "since": status.since,
            "generation": status.generation,
            "epochs": status.epochs,
        }))
    }

    /// Rotates, with the configuration as it is now.
    pub(crate) async fn rotate(&self, to: RotateTo) -> Answer {
        // Reading may wait for a disk, and the providers for the network; the zone goes on serving.
        let keys = self.keys.load(PROCESS_ENVIRONMENT).map_err(Refused::input)?;
        let now = self.clock.wall().as_seconds();
        self.file.rotate(&keys, to, now).await.map_err(Refused::failed)?;
        let status = self.status()?;
        tracing::info!(fingerprint = %status["fingerprint"], place = %status["place"], "root key rotated");
        Ok(Done(status))
    }
}

/// `GET /zones/{zone}/root-key`: what the keyring is wrapped under.
pub(super) async fn status(ByName(zone): ByName) -> Answer {
    zone.root_key.status().map(Done)
}

/// `POST /zones/{zone}/root-key/rotate`: wraps the keyring under another root key. It is finished when the client leaves.
pub(super) async fn rotate(ByName(zone): ByName, body: Bytes) -> Answer {
    let Rotation { to } = serde_json::from_slice(&body).map_err(Refused::input)?;
    let to = match to {
        To::SameProvider => RotateTo::SameProvider,
        To::NextProvider => RotateTo::NextProvider,
    };
    let rotated = tokio::spawn(async move { rotate_recorded(&zone.kms, &zone.root_key, to).await });
    rotated.await.unwrap_or_else(|_| Err(Refused::failed("the rotation was interrupted: see the server's log")))
}

async fn rotate_recorded(kms: &Kms, root_key: &ZoneRootKey, to: RotateTo) -> Answer {
    const OPERATION: &str = "rotate-root-key";
    kms.audit().takes_changes().map_err(Refused::failed)?;
    let rotated = root_key.rotate(to).await;
    let recorded = match &rotated {
        Ok(_) => kms.record_act(OPERATION, Actor::Operator, None).await,
        Err(_) => kms.record_failed_act(OPERATION, Actor::Operator, "failed").await,
    };
    if recorded.is_err() {
        tracing::error!(zone = %kms.zone_name(), "the audit log could not be written; it will have the rotation when it can");
    }
    rotated
}
