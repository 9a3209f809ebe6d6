//! Commands about a zone's root key.

use serde_json::json;

use super::answer::{Answer, Done};
use super::zones::ByName;

/// `GET /zones/{zone}/root-key`: the root key that the keyring is wrapped under.
pub(super) async fn status(ByName(zone): ByName) -> Answer {
    Ok(Done(json!({ "zone": zone.name().as_str(), "fingerprint": zone.root_key.to_string() })))
}
