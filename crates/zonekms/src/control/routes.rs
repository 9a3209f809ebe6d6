//! Every command of the control socket, one line each.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use super::answer::Refused;
use super::backup;
use super::key_use;
use super::root_key;
use super::shred;
use super::zones::{self, Control};

/// The largest request, in bytes: commands are small, whatever their answers are.
const REQUEST_LIMIT: usize = 65_536;

/// Paths below `/zones/{zone}` are for one zone; their handlers take it as `zones::ByName`.
pub(super) fn router(control: Arc<Control>) -> Router {
    Router::new()
        .route("/zones", get(zones::list))
        .route("/zones/{zone}/root-key", get(root_key::status))
        .route("/zones/{zone}/root-key/rotate", post(root_key::rotate))
        .route("/zones/{zone}/keys/use", post(key_use::report))
        .route("/zones/{zone}/keys/{key}", get(key_use::status))
        .route("/zones/{zone}/backup", post(backup::take))
        .route("/zones/{zone}/shred", get(shred::status).post(shred::now))
        .fallback(async || Refused::unknown("this server does not know the command: is it of another version?"))
        .layer(DefaultBodyLimit::max(REQUEST_LIMIT))
        .with_state(control)
}
