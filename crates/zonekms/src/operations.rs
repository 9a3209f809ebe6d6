//! The operations listener: liveness and readiness, for the machine that watches this one.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::status::{Readiness, Status};

/// `GET /healthz` answers 200 while the process runs; `GET /readyz` answers 200 while requests are served, and otherwise
/// 503 with the reason.
pub(crate) fn router(status: Arc<Status>) -> Router {
    Router::new()
        .route("/healthz", get(async || answer(StatusCode::OK, &json!({"status": "live"}))))
        .route("/readyz", get(async move || readiness(&status)))
}

fn readiness(status: &Status) -> Response {
    match status.readiness() {
        Readiness::Ready => answer(StatusCode::OK, &json!({"status": "ready"})),
        Readiness::NotReady { reason } => {
            answer(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "not-ready", "reason": reason}))
        }
    }
}

/// An answer with a JSON body that nobody should keep.
pub(crate) fn answer(status: StatusCode, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_follows_the_phase() {
        let status = Status::starting();
        assert_eq!(readiness(&status).status(), StatusCode::SERVICE_UNAVAILABLE);
        status.serving(Vec::new());
        assert_eq!(readiness(&status).status(), StatusCode::OK);
        status.stopping();
        assert_eq!(status.readiness(), Readiness::NotReady { reason: "stopping".to_owned() });
        assert_eq!(readiness(&status).status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
