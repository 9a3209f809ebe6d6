//! The lab listener: it moves the clock of every zone forward, and breaks links and calls on purpose.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use kms_http::ZoneEntry;
use kms_service::{Kms, ServiceClock};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::faults::LabFaults;
use crate::duration::{InvalidDuration, parse_duration};
use crate::operations::answer;
use crate::private_files::replace_private_file;

/// The furthest the clock can be moved in all: 100 years.
const FURTHEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Why the clock cannot be moved.
#[derive(Debug, thiserror::Error)]
pub(super) enum LabFault {
    #[error("advance {0}")]
    Advance(#[from] InvalidDuration),
    #[error("the body must be {{\"advance\":\"90d\"}}: a whole number of d, h, m or s")]
    Body,
    #[error("the clock cannot be moved more than 36500d in all")]
    TooFar,
    #[error("{path}: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("the work then due was interrupted")]
    Interrupted,
}

/// The clock that all zones of the lab run on, and the file that keeps how far it was moved.
pub(super) struct LabClock {
    clock: Arc<ServiceClock>,
    file: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Stored {
    offset_seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance: String,
}

impl LabClock {
    /// The clock of a lab that was moved as far as `file` says; not at all when there is no such file.
    pub(super) fn restore(file: PathBuf, clock: Arc<ServiceClock>) -> Result<Self, LabFault> {
        let fault = |reason: String| LabFault::File { path: file.clone(), reason };
        match std::fs::read(&file) {
            Ok(bytes) => {
                let stored: Stored = serde_json::from_slice(&bytes).map_err(|error| fault(error.to_string()))?;
                clock.advance(Duration::from_secs(stored.offset_seconds).min(FURTHEST));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(fault(error.to_string())),
        }
        Ok(Self { clock, file })
    }

    pub(super) fn clock(&self) -> Arc<ServiceClock> {
        Arc::clone(&self.clock)
    }

    /// Moves the clock, after it is kept that it will be moved: time seen once is never taken back by a restart.
    fn advance(&self, by: Duration) -> Result<(), LabFault> {
        let offset =
            self.clock.offset().checked_add(by).filter(|offset| *offset <= FURTHEST).ok_or(LabFault::TooFar)?;
        let fault = |reason: String| LabFault::File { path: self.file.clone(), reason };
        let content = serde_json::to_vec(&Stored { offset_seconds: offset.as_secs() })
            .map_err(|error| fault(error.to_string()))?;
        replace_private_file(&self.file, &content).map_err(|error| fault(error.to_string()))?;
        self.clock.advance(by);
        Ok(())
    }
}

/// Everything the lab listener works on.
pub(super) struct Lab {
    clock: LabClock,
    zones: Vec<Kms>,
    listed: Vec<ZoneEntry>,
    faults: Arc<LabFaults>,
    /// One move at a time, from the file to the end of the work then due.
    moving: Mutex<()>,
}

impl Lab {
    pub(super) fn new(clock: LabClock, zones: Vec<Kms>, listed: Vec<ZoneEntry>, faults: Arc<LabFaults>) -> Arc<Self> {
        Arc::new(Self { clock, zones, listed, faults, moving: Mutex::new(()) })
    }

    /// How far the clock was moved in all.
    pub(super) fn offset(&self) -> Duration {
        self.clock.clock.offset()
    }

    async fn move_clock(self: Arc<Self>, body: Bytes) -> Result<(), LabFault> {
        let Advance { advance } = serde_json::from_slice(&body).map_err(|_| LabFault::Body)?;
        let by = parse_duration(&advance)?;
        // A client that leaves does not leave the clock moved and the work undone.
        let moved = tokio::spawn(async move {
            let _one_at_a_time = self.moving.lock().await;
            self.clock.advance(by)?;
            for zone in &self.zones {
                zone.run_due_work().await;
            }
            tracing::info!(advance, "lab clock moved");
            Ok(())
        });
        moved.await.unwrap_or(Err(LabFault::Interrupted))
    }

    fn time(&self) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("offset-seconds".to_owned(), json!(self.offset().as_secs()));
        members.insert("now".to_owned(), json!(self.clock.clock.now().to_string()));
        members
    }
}

/// `GET /lab` shows the clock, the zones and the faults; `POST /lab/clock` moves the clock; `POST /lab/faults` sets a fault, and
/// `DELETE /lab/faults` clears them all.
pub(super) fn router(lab: Arc<Lab>) -> Router {
    Router::new()
        .route("/lab", get(show))
        .route("/lab/clock", post(advance))
        .route("/lab/faults", post(set_fault).delete(clear_faults))
        .layer(DefaultBodyLimit::max(4_096))
        .layer(middleware::from_fn(refuse_browsers))
        .with_state(lab)
}

async fn show(State(lab): State<Arc<Lab>>) -> Response {
    let mut members = lab.time();
    let zones = lab.listed.iter().map(|zone| (zone.name.to_string(), json!(zone.api_endpoint))).collect();
    members.insert("zones".to_owned(), Value::Object(zones));
    members.insert("faults".to_owned(), lab.faults.list());
    answer(StatusCode::OK, &Value::Object(members))
}

async fn advance(State(lab): State<Arc<Lab>>, body: Bytes) -> Response {
    match Arc::clone(&lab).move_clock(body).await {
        Ok(()) => answer(StatusCode::OK, &Value::Object(lab.time())),
        Err(fault) => {
            let status = match fault {
                LabFault::Advance(_) | LabFault::Body | LabFault::TooFar => StatusCode::BAD_REQUEST,
                LabFault::File { .. } | LabFault::Interrupted => StatusCode::INTERNAL_SERVER_ERROR,
            };
            answer(status, &json!({"status": status.as_u16(), "detail": fault.to_string()}))
        }
    }
}

async fn set_fault(State(lab): State<Arc<Lab>>, body: Bytes) -> Response {
    match lab.faults.set(&body) {
        Ok(()) => {
            tracing::info!("lab fault set");
            answer(StatusCode::OK, &json!({"faults": lab.faults.list()}))
        }
        Err(fault) => {
            let mut refusal = json!({"status": 400, "detail": fault.to_string()});
            if let Some(field) = fault.field() {
                refusal["field"] = json!(field);
            }
            answer(StatusCode::BAD_REQUEST, &refusal)
        }
    }
}

async fn clear_faults(State(lab): State<Arc<Lab>>) -> Response {
    lab.faults.clear();
    tracing::info!("lab faults cleared");
    answer(StatusCode::OK, &json!({"faults": lab.faults.list()}))
}

/// Any page in a browser on this machine can send a request here; all of them carry `Origin`, and no tool does.
async fn refuse_browsers(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        let detail = json!({"status": 403, "detail": "requests from web pages are refused"});
        return answer(StatusCode::FORBIDDEN, &detail);
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn clock_in(directory: &std::path::Path) -> LabClock {
        LabClock::restore(directory.join("lab.json"), Arc::new(ServiceClock::system())).unwrap()
    }

    #[test]
    fn a_restart_keeps_the_offset() {
        let scratch = tempfile::tempdir().unwrap();
        let clock = clock_in(scratch.path());
        clock.advance(90 * DAY).unwrap();
        clock.advance(DAY).unwrap();
        assert_eq!(clock_in(scratch.path()).clock().offset(), 91 * DAY);
    }

    #[test]
    fn the_clock_cannot_be_moved_out_of_range() {
        let scratch = tempfile::tempdir().unwrap();
        let clock = clock_in(scratch.path());
        clock.advance(FURTHEST).unwrap();
        assert!(matches!(clock.advance(Duration::from_secs(1)), Err(LabFault::TooFar)));
        assert!(matches!(clock.advance(Duration::MAX), Err(LabFault::TooFar)));
        assert_eq!(clock.clock().offset(), FURTHEST);
    }

    #[test]
    fn a_clock_file_that_cannot_be_read_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("lab.json");
        for content in ["", "{}", "{\"offset-seconds\":-1}", "{\"offset-seconds\":1,\"x\":2}"] {
            std::fs::write(&file, content).unwrap();
            let restored = LabClock::restore(file.clone(), Arc::new(ServiceClock::system()));
            assert!(matches!(restored, Err(LabFault::File { .. })), "{content}");
        }
    }
}
