//! Commands about the use of keys.

use axum::body::Bytes;
use axum::extract::RawPathParams;
use kms_service::{KeyUse, UsageFilter, VersionUse};
use kms_types::{KeyId, OrganisationName, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Done, Refused};
use super::zones::ByName;

/// Keys in one answer; a client asks on after the last.
const PAGE: usize = 1_000;

/// Which keys are asked for: `{"organisation":"acme","old-versions":true,"after":"..."}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Asked {
    organisation: Option<OrganisationName>,
    #[serde(default)]
    old_versions: bool,
    after: Option<KeyId>,
}

/// `POST /zones/{zone}/keys/use`: the use of the next keys; `more` when there may be others after them.
pub(super) async fn report(ByName(zone): ByName, body: Bytes) -> Answer {
    let Asked { organisation, old_versions, after } = serde_json::from_slice(&body).map_err(Refused::input)?;
    let filter = UsageFilter { organisation, old_versions };
    let kms = zone.kms.clone();
    let page = tokio::task::spawn_blocking(move || kms.usage_page(&filter, after, PAGE)).await;
    let page = page.map_err(|_| Refused::failed("the report was interrupted: see the server's log"))?;
    let keys: Vec<Value> = page.iter().map(to_json).collect();
    Ok(Done(json!({
        "zone": zone.name().as_str(),
        "counted-since": text(zone.kms.usage_counted_since()),
        "more": keys.len() == PAGE,
        "keys": keys,
    })))
}

/// `GET /zones/{zone}/keys/{key}`: one key and its use.
pub(super) async fn status(ByName(zone): ByName, params: RawPathParams) -> Answer {
    let id = params.iter().find_map(|(name, value)| (name == "key").then_some(value)).unwrap_or_default();
    let id: KeyId = id.parse().map_err(|cause| Refused::input(format!("{id:?}: {cause}")))?;
    let used =
        zone.kms.usage_of(id).ok_or_else(|| Refused::unknown(format!("zone {} has no key {id}", zone.name())))?;
    let mut told = to_json(&used);
    told["zone"] = zone.name().as_str().into();
    told["counted-since"] = text(zone.kms.usage_counted_since()).into();
    Ok(Done(told))
}

fn to_json(told: &KeyUse) -> Value {
    let KeyUse { key, versions, recently } = told;
    let current = key.current_version().version;
    let version = |one: &VersionUse| {
        json!({
            "version": one.info.version.get(),
            "current": one.info.version == current,
            "created-at": text(one.info.created_at),
            "encrypts": one.used.encrypts,
            "decrypts": one.used.decrypts,
            "encrypted-at": one.used.encrypted_at.map(text),
            "decrypted-at": one.used.decrypted_at.map(text),
        })
    };
    json!({
        "key": key.id().to_string(),
        "name": key.name().as_str(),
        "organisation": key.organisation().as_str(),
        "status": told.status_name(),
        "delete-at": told.delete_at().map(text),
        "used-in-the-last-day": recently,
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
    })
}

fn text(time: Timestamp) -> String {
    time.to_string()
}
