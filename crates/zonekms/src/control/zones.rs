//! What the control socket works on: the zones of this process.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::http::request::Parts;
use kms_service::Kms;
use kms_types::ZoneName;
use serde_json::json;

use super::answer::{Answer, Done, Refused};
use super::root_key::ZoneRootKey;

/// Every zone of this process.
pub(crate) struct Control {
    zones: Vec<Arc<ControlledZone>>,
}

/// One zone, with everything that a command may need of it.
pub(crate) struct ControlledZone {
    pub(crate) kms: Kms,
    pub(crate) root_key: Arc<ZoneRootKey>,
}

impl Control {
    pub(crate) fn new(zones: impl IntoIterator<Item = ControlledZone>) -> Self {
        Self { zones: zones.into_iter().map(Arc::new).collect() }
    }

    fn zone(&self, name: &str) -> Result<Arc<ControlledZone>, Refused> {
        let zone = self.zones.iter().find(|zone| zone.name().as_str() == name);
        zone.cloned().ok_or_else(|| Refused::unknown(format!("this server has no zone {name}")))
    }
}

impl ControlledZone {
    pub(crate) fn name(&self) -> &ZoneName {
        self.kms.zone_name()
    }
}

/// The zone that the request's path names as `{zone}`: an argument of every handler that works on one.
pub(super) struct ByName(pub(super) Arc<ControlledZone>);

impl FromRequestParts<Arc<Control>> for ByName {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, control: &Arc<Control>) -> Result<Self, Refused> {
        let params = RawPathParams::from_request_parts(parts, control).await;
        let params = params.map_err(|_| Refused::input("the path is not one of a zone"))?;
        let name = params.iter().find_map(|(param, value)| (param == "zone").then_some(value));
        control.zone(name.unwrap_or_default()).map(Self)
    }
}

/// `GET /zones`: the names of the zones, in the order of the command line.
pub(super) async fn list(State(control): State<Arc<Control>>) -> Answer {
    let names: Vec<&str> = control.zones.iter().map(|zone| zone.name().as_str()).collect();
    Ok(Done(json!({ "zones": names })))
}
