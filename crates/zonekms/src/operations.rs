//! The operations listener: health and figures for the machine that watches this one, and the clock for its operator.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::metrics;
use crate::status::{Readiness, ServedZone, Status};

/// `GET /healthz` answers 200 while the process runs; `GET /readyz` answers 200 while requests are served, and otherwise
/// 503 with the reason; `GET /clock` shows each zone's time; `GET /metrics` gives figures to Prometheus.
///
/// `POST /clock/confirm` makes every zone believe a wall clock that jumped ahead. It can bring a deletion about, and nobody
/// signs here: so it is there only where `address`, that of the listener, is this machine's own.
pub(crate) fn router(status: Arc<Status>, address: IpAddr) -> Router {
    let (ready, shown, measured, confirmed) = (Arc::clone(&status), Arc::clone(&status), Arc::clone(&status), status);
    let router = Router::new()
        .route("/healthz", get(async || answer(StatusCode::OK, &json!({"status": "live"}))))
        .route("/readyz", get(async move || readiness(&ready)))
        .route("/metrics", get(async move || figures(&measured.zones())))
        .route("/clock", get(async move || clocks(&shown.zones())));
    if !address.is_loopback() {
        return router;
    }
    router.route(
        "/clock/confirm",
        post(async move || {
            let zones = confirmed.zones();
            for zone in zones.iter() {
                zone.kms.confirm_clock().await;
            }
            clocks(&zones)
        }),
    )
}

fn figures(zones: &[ServedZone]) -> Response {
    ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], metrics::exposition(zones)).into_response()
}

fn clocks(zones: &[ServedZone]) -> Response {
    let clock = |zone: &ServedZone| {
        let clock = zone.kms.clock();
        let held = clock.held.map(|ahead| ahead.as_secs());
        let shown = json!({"now": clock.now.to_string(), "wall": clock.wall.to_string(), "held-seconds-ahead": held});
        (zone.kms.zone_name().to_string(), shown)
    };
    answer(StatusCode::OK, &Value::Object(zones.iter().map(clock).collect()))
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
