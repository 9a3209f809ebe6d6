//! Commands about shredding.

use kms_service::{ShredProgress, ShredReport, ShredStatus, ShredWaiting};
use serde_json::{Value, json};

use super::answer::{Answer, Done, Refused};
use super::zones::ByName;

/// `GET /zones/{zone}/shred`: what waits for a pass, the pass under way, and the last one.
pub(super) async fn status(ByName(zone): ByName) -> Answer {
    let ShredStatus { after, epochs, waiting, under_way, last } = zone.kms.shred_status();
    Ok(Done(json!({
        "zone": zone.name().as_str(),
        "after-seconds": after.as_secs(),
        "epochs": epochs,
        "waiting": waiting.map(|ShredWaiting { since, deletions }| json!({
            "since": since.to_string(),
            "deletions": deletions,
        })),
        "under-way": under_way.map(|ShredProgress { examined, resealed, unreadable }| json!({
            "examined": examined,
            "resealed": resealed,
            "unreadable": unreadable,
        })),
        "last": last.as_ref().map(report),
    })))
}

/// `POST /zones/{zone}/shred`: makes a pass, and answers at its end. The pass goes on when the client leaves.
pub(super) async fn now(ByName(zone): ByName) -> Answer {
    let done = zone.kms.shred_now().await.map_err(Refused::failed)?;
    Ok(Done(report(&done)))
}

fn report(report: &ShredReport) -> Value {
    let ShredReport { at, resealed, unreadable, retired } = report;
    json!({ "at": at.to_string(), "resealed": resealed, "unreadable": unreadable, "retired": retired })
}
