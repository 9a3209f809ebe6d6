//! Where the process stands between start and end, for whoever asks about its health.

use std::sync::{Arc, Mutex};

use kms_http::RequestMetrics;
use kms_service::Kms;
use kms_storage::Health;

/// The phase of this process, and the zones it serves.
pub(crate) struct Status(Mutex<Phase>);

/// A zone that is served.
#[derive(Clone)]
pub(crate) struct ServedZone {
    pub(crate) kms: Kms,
    /// What its front door has counted.
    pub(crate) requests: Arc<RequestMetrics>,
}

enum Phase {
    Starting,
    Serving(Vec<ServedZone>),
    Stopping,
}

/// Whether requests should be sent here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    NotReady { reason: String },
}

impl Status {
    /// The status of a process that begins to start.
    pub(crate) fn starting() -> Self {
        Self(Mutex::new(Phase::Starting))
    }

    /// All start-up checks are done: `zones` are served.
    pub(crate) fn serving(&self, zones: Vec<ServedZone>) {
        self.set(Phase::Serving(zones));
    }

    /// The zones that are served at this moment.
    pub(crate) fn zones(&self) -> Vec<ServedZone> {
        match &*self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Phase::Serving(zones) => zones.clone(),
            Phase::Starting | Phase::Stopping => Vec::new(),
        }
    }

    /// No more requests are taken.
    pub(crate) fn stopping(&self) {
        self.set(Phase::Stopping);
    }

    /// Whether every zone serves reads and changes.
    pub(crate) fn readiness(&self) -> Readiness {
        let reason = match &*self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Phase::Starting => "starting".to_owned(),
            Phase::Stopping => "stopping".to_owned(),
            Phase::Serving(zones) => {
                let stopped = zones.iter().find_map(|ServedZone { kms, .. }| match kms.health() {
                    Health::Ready => kms.set_back().map(|proof| format!("zone {}: {proof}", kms.zone_name())),
                    Health::ReadOnly { reason } => Some(format!("zone {}: {reason}", kms.zone_name())),
                });
                match stopped {
                    None => return Readiness::Ready,
                    Some(reason) => reason,
                }
            }
        };
        Readiness::NotReady { reason }
    }

    fn set(&self, phase: Phase) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = phase;
    }
}
