//! One line in the log per request. Never bodies, contexts, names, signatures or raw paths.

use crate::exo2::Refusal;
use crate::route::{NoRoute, Route};
use http::{Method, StatusCode};
use kms_service::{Actor, AuditEntry, Caller, Kms, Outcome, RequestOrigin};
use kms_types::KeyId;
use tokio::time::Instant;

/// What is known of a request so far.
pub(crate) struct RequestLog {
    id: String,
    method: &'static str,
    begun: Instant,
    route: Option<&'static str>,
    key: Option<KeyId>,
    caller: Option<Caller>,
    origin: RequestOrigin,
    refusal: Option<Refusal>,
}

impl RequestLog {
    pub(crate) fn begin(id: &str, origin: RequestOrigin, method: &Method) -> Self {
        // A method is the client's own text: only those that exist here are repeated.
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            _ => "other",
        };
        Self {
            id: id.to_owned(),
            method,
            begun: Instant::now(),
            route: None,
            key: None,
            caller: None,
            origin,
            refusal: None,
        }
    }

    pub(crate) fn called_by(&mut self, caller: &Caller) {
        self.caller = Some(caller.clone());
    }

    pub(crate) fn routed(&mut self, route: &Result<Route, NoRoute>) {
        if let Ok(route) = route {
            self.route = Some(route.name());
            self.key = match route {
                Route::Key(id, _) => Some(*id),
                Route::ListZones | Route::GetOperation(_) | Route::ListKeys | Route::CreateKey => None,
            };
        }
    }

    /// The client is not told why; the log is.
    pub(crate) fn refused(&mut self, refusal: Refusal) {
        self.refusal = Some(refusal);
        tracing::warn!(id = %self.id, reason = refusal.class(), "signature refused");
    }

    /// Where the request came from.
    pub(crate) const fn origin(&self) -> RequestOrigin {
        self.origin
    }

    /// Tells the audit log that the request was refused. What was done, the service tells.
    pub(crate) fn audit_refusal(&self, kms: &Kms, status: StatusCode, title: &'static str) {
        let actor = match &self.caller {
            Some(caller) => Actor::Caller(caller),
            None => Actor::Anonymous(self.origin),
        };
        let reason = self.refusal.map_or(title, Refusal::class);
        let outcome = Outcome::Refused { status: Some(status.as_u16()), reason };
        let operation = self.route.unwrap_or("unknown");
        let entry = AuditEntry { key: self.key, ..AuditEntry::new(kms.clock().now, operation, actor, outcome) };
        kms.audit().record_refusal(&entry);
    }

    pub(crate) fn end(self, status: StatusCode) {
        tracing::info!(
            id = %self.id,
            method = self.method,
            route = self.route,
            key = self.key.map(tracing::field::display),
            status = status.as_u16(),
            micros = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            credential = self.caller.as_ref().map(Caller::credential),
            organisation = self.caller.as_ref().map(|caller| tracing::field::display(caller.organisation())),
            "request"
        );
    }
}
