//! What is counted of requests.

use crate::zone::Zone;
use axum::body::Body;
use http::Request;
use kms_http::RequestOutcome;

#[tokio::test]
async fn each_request_is_counted_once_under_its_operation_and_outcome() {
    let zone = Zone::start().await;
    let id = zone.create("k1").await;
    for body in [r#"{"plaintext":"QUJD"}"#, r#"{"plaintext":"QUJD"}"#, r#"{"plaintext":"?"}"#] {
        zone.on(&id, "encrypt", body).await;
    }
    zone.send(Request::post(format!("/v2/kms-key/{id}/encrypt")).body(Body::empty()).unwrap()).await;
    zone.call("GET", "/v2/nothing", "").await;
    zone.wall.store(i64::MIN, std::sync::atomic::Ordering::Relaxed);
    zone.call("GET", "/v2/kms-key", "").await;

    let figures = zone.front_door.metrics().figures();
    let counts = |operation: &str| {
        let figures = figures.iter().find(|figures| figures.operation == operation).unwrap();
        assert_eq!(figures.count, figures.outcomes.iter().map(|(_, count)| count).sum::<u64>());
        assert!(figures.at_most.is_sorted() && figures.total.as_nanos() > 0);
        figures.outcomes
    };
    let outcomes = |success, refused, failed| {
        [(RequestOutcome::Success, success), (RequestOutcome::Refused, refused), (RequestOutcome::Failed, failed)]
    };
    assert_eq!(figures.len(), 3);
    assert_eq!(counts("encrypt"), outcomes(2, 1, 0));
    assert_eq!(counts("create-kms-key"), outcomes(1, 0, 0));
    // Without a signature, without a path, and a panic before the path was looked at.
    assert_eq!(counts("none"), outcomes(0, 2, 1));
}
