//! What the log and the figures say of each request. Never bodies, contexts, names, signatures or raw paths.

use crate::exo2::Refusal;
use crate::request_id::RequestId;
use crate::request_metrics::RequestMetrics;
use crate::route::{NoRoute, Operation, Route};
use http::{Method, StatusCode};
use kms_service::{Actor, AuditEntry, Caller, Kms, Outcome, RequestOrigin};
use kms_types::KeyId;
use std::net::IpAddr;
use tokio::time::Instant;

/// What is known of a request so far.
pub(crate) struct RequestLog {
    id: RequestId,
    from: Option<IpAddr>,
    method: &'static str,
    begun: Instant,
    route: Option<Route>,
    caller: Option<Caller>,
    refusal: Option<Refusal>,
}

impl RequestLog {
    pub(crate) fn begin(id: RequestId, from: Option<IpAddr>, method: &Method) -> Self {
        // A method is the client's own text: only those that exist here are repeated.
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            _ => "other",
        };
        Self { id, from, method, begun: Instant::now(), route: None, caller: None, refusal: None }
    }

    /// The request's id.
    pub(crate) const fn id(&self) -> RequestId {
        self.id
    }

    /// When the request's head had come.
    pub(crate) const fn begun(&self) -> Instant {
        self.begun
    }

    /// Takes note of who signed the request.
    pub(crate) fn called_by(&mut self, caller: Option<Caller>) {
        self.caller = caller;
    }

    /// Who signed the request, if that is known.
    pub(crate) const fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    pub(crate) fn routed(&mut self, route: Result<Route, NoRoute>) {
        self.route = route.ok();
    }

    /// The client is not told why; the log is.
    pub(crate) fn refused(&mut self, refusal: Refusal) {
        self.refusal = Some(refusal);
        tracing::warn!(id = %self.id, reason = refusal.class(), "signature refused");
    }

    /// Where the request came from.
    pub(crate) const fn origin(&self) -> RequestOrigin {
        RequestOrigin { id: self.id.number(), address: self.from }
    }

    /// Tells the audit log that the request was refused. What was done, the service tells.
    pub(crate) fn audit_refusal(&self, kms: &Kms, status: StatusCode, title: &'static str) {
        let actor = match &self.caller {
            Some(caller) => Actor::Caller(caller),
            None => Actor::Anonymous(self.origin()),
        };
        let reason = self.refusal.map_or(title, Refusal::class);
        let outcome = Outcome::Refused { status: Some(status.as_u16()), reason };
        let operation = self.route.map_or("unknown", |route| route.operation().name());
        let entry = AuditEntry { key: self.key(), ..AuditEntry::new(kms.clock().now, operation, actor, outcome) };
        kms.audit().record_refusal(&entry);
    }

    /// Counts the request in `metrics` and logs it. A crypto call that succeeded is told at `debug`: there can be a hundred thousand in a
    /// second, and the figures have them.
    pub(crate) fn end(self, status: StatusCode, metrics: &RequestMetrics) {
        let took = self.begun.elapsed();
        // What nobody signed is counted under no operation: anyone can ask for any.
        let counted = self.route.filter(|_| self.refusal.is_none());
        let operation = counted.map_or(Operation::None, Route::operation);
        metrics.count(operation, status, took);
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    id = %self.id,
                    method = self.method,
                    route = self.route.map(|route| route.operation().name()),
                    key = self.key().map(tracing::field::display),
                    status = status.as_u16(),
                    micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                    credential = self.caller.as_ref().map(Caller::credential),
                    organisation = self.caller.as_ref().map(|caller| tracing::field::display(caller.organisation())),
                    "request"
                )
            };
        }
        if status.is_success() && operation.is_crypto_call() {
            tell!(debug);
        } else {
            tell!(info);
        }
    }

    fn key(&self) -> Option<KeyId> {
        match self.route? {
            Route::Key(id, _) => Some(id),
            Route::ListZones | Route::GetOperation(_) | Route::ListKeys | Route::CreateKey => None,
        }
    }
}
