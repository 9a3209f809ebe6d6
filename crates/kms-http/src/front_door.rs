//! From a request to its answer, in an order that gives nothing away: limits, signature, route, members, service.

use crate::answer_body::AnswerBody;
use crate::body::{self, Unreadable};
use crate::exchange::{Answering, RequestBody};
use crate::exo2::{Authorization, Refusal};
use crate::limits::RequestLimits;
use crate::operation_faults::OperationFaults;
use crate::operations::{Answer, Operations};
use crate::problem::Problem;
use crate::reply::Reply;
use crate::request_head::{OnlyField, RequestHead};
use crate::request_id::RequestIds;
use crate::request_log::RequestLog;
use crate::request_metrics::RequestMetrics;
use crate::route::{NoRoute, Route};
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use hyper::body::Body as HttpBody;
use kms_service::{Caller, Kms, RequestOrigin};
use kms_types::ZoneName;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use tokio::time::{Instant, timeout_at};

/// The present in seconds since 1970, for the expiry of signatures. Real time, also where a test advances the keys' time.
pub type WallClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A zone as `GET /v2/zone` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneEntry {
    /// Its name, which clients choose it by.
    pub name: ZoneName,
    /// Where its API is, as clients reach it: absolute and without a slash at the end, such as `https://kms.example/v2`.
    pub api_endpoint: String,
}

/// The Exoscale API of one zone.
pub struct FrontDoor {
    kms: Kms,
    zones: Arc<[ZoneEntry]>,
    limits: RequestLimits,
    wall_clock: WallClock,
    request_ids: RequestIds,
    metrics: Arc<RequestMetrics>,
    /// Calls that fail on purpose, in a lab.
    faults: Option<Arc<dyn OperationFaults>>,
}

impl FrontDoor {
    /// The API of `kms`, which lists all `zones`, its own included.
    #[must_use]
    pub fn new(kms: Kms, zones: Arc<[ZoneEntry]>, limits: RequestLimits, wall_clock: WallClock) -> Self {
        let mut start = [0; 8];
        // Without randomness the ids begin at one: they have only to differ from each other.
        let start = kms.random(&mut start).map_or(1, |()| u64::from_be_bytes(start));
        let (request_ids, metrics) = (RequestIds::new(start), Arc::new(RequestMetrics::new()));
        Self { kms, zones, limits, wall_clock, request_ids, metrics, faults: None }
    }

    /// The same API, in which calls fail as `faults` says.
    #[must_use]
    pub fn with_faults(self, faults: Arc<dyn OperationFaults>) -> Self {
        Self { faults: Some(faults), ..self }
    }

    /// How many requests there were, and how long they took.
    #[must_use]
    pub fn metrics(&self) -> &Arc<RequestMetrics> {
        &self.metrics
    }

    /// Answers one request, whatever happens. [`serve`](crate::serve) does this for those of a listener; here a request can come from
    /// anywhere.
    /// `from` is the address of who asks, for the audit log.
    pub async fn respond<B: HttpBody<Data = Bytes> + Unpin>(
        &self,
        request: Request<B>,
        from: Option<IpAddr>,
    ) -> Response<AnswerBody> {
        let (parts, body) = request.into_parts();
        self.respond_to(&parts, body, from).await
    }

    fn respond_to<B: HttpBody<Data = Bytes> + Unpin>(
        &self,
        parts: &Parts,
        mut body: B,
        from: Option<IpAddr>,
    ) -> impl Future<Output = Response<AnswerBody>> {
        let mut log = self.begin(&parts.method, from);
        // Not an `async fn`, which would hold `body` twice.
        async move {
            let outcome = caught(pin!(self.outcome(parts, &mut body, &mut log))).await;
            self.end(log, outcome).into_response()
        }
    }

    /// A request's head has come, from `from`.
    pub(crate) fn begin(&self, method: &Method, from: Option<IpAddr>) -> RequestLog {
        RequestLog::begin(self.request_ids.next(), from, method)
    }

    /// Answers a request whose body has come, or says why it cannot be read.
    pub(crate) async fn reply(
        &self,
        head: &RequestHead<'_>,
        body: Result<&[u8], Problem>,
        mut log: RequestLog,
    ) -> Reply {
        let outcome = match body {
            Ok(body) => caught(pin!(self.answered(head, body, &mut log))).await,
            Err(problem) => Err(problem),
        };
        self.end(log, outcome)
    }

    fn end(&self, log: RequestLog, outcome: Result<Answer, Problem>) -> Reply {
        if let Err(problem) = &outcome {
            log.audit_refusal(&self.kms, problem.status(), problem.title());
        }
        let reply = Reply { id: log.id(), outcome };
        log.end(reply.status(), &self.metrics);
        reply
    }

    /// The limits of its requests.
    pub(crate) const fn limits(&self) -> &RequestLimits {
        &self.limits
    }

    /// Seconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        (self.wall_clock)()
    }

    async fn outcome<B: HttpBody<Data = Bytes> + Unpin>(
        &self,
        parts: &Parts,
        body: &mut B,
        log: &mut RequestLog,
    ) -> Result<Answer, Problem> {
        let head = RequestHead::of(parts)?;
        let body = self.in_time(log, body::read(body, self.limits.body_limit())).await?;
        self.answered(&head, body.expose(), log).await
    }

    async fn answered(&self, head: &RequestHead<'_>, body: &[u8], log: &mut RequestLog) -> Result<Answer, Problem> {
        let deadline = self.deadline(log);
        match self.at_once(head, body, deadline, log)? {
            AtOnce::Answered(answer) => self.settled(answer, deadline).await,
            // What a change waits with is large. In a box of its own it does not make every request's state as large.
            AtOnce::Waits { caller, operations } => Box::pin(operations.perform(caller, &self.zones, body)).await,
        }
    }

    /// What is done with a request once its body is there, as far as it waits for nothing.
    fn at_once<'a>(
        &'a self,
        head: &RequestHead<'_>,
        body: &[u8],
        deadline: Instant,
        log: &'a mut RequestLog,
    ) -> Result<AtOnce<'a>, Problem> {
        let route = Route::find(head.method, head.path);
        let caller = self.caller(head, body, route, log.origin()).map_err(|refusal| {
            log.refused(refusal);
            // What was asked for is told, not done.
            log.routed(route);
            Problem::forbidden()
        })?;
        log.called_by(caller);
        if head.query.is_some() {
            return Err(Problem::query());
        }
        log.routed(route);
        let route = route?;
        head.coding.map_err(Problem::foreign_coding)?;
        if let (Some(faults), Route::Key(key, operation)) = (&self.faults, route)
            && let Some(status) = faults.take(key, operation.name())
        {
            return Err(Problem::injected(status));
        }
        let operations = Operations { kms: &self.kms, limits: &self.limits, deadline, route };
        let Some(caller) = log.caller() else {
            return operations.list_zones(&self.zones, body).map(AtOnce::Answered);
        };
        match operations.perform_at_once(caller, body) {
            Some(outcome) => outcome.map(AtOnce::Answered),
            None => Ok(AtOnce::Waits { caller, operations }),
        }
    }

    /// The answer to a crypto call, once its entry in the audit log is durable if that is asked for.
    async fn settled(&self, answer: Answer, deadline: Instant) -> Result<Answer, Problem> {
        let audit = self.kms.audit();
        if answer.key_version.is_none() || !audit.is_synchronous() {
            return Ok(answer);
        }
        // A log that hangs must not keep connections for good: those of clients that have left among them.
        match timeout_at(deadline, audit.settle_uses()).await {
            Ok(Ok(())) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(Problem::not_recorded()),
        }
    }

    /// When a request must have its answer.
    fn deadline(&self, log: &RequestLog) -> Instant {
        log.begun() + self.limits.request_timeout
    }

    /// The body that `reading` gives, if it does before the request's deadline.
    pub(crate) async fn in_time<T>(
        &self,
        log: &RequestLog,
        reading: impl Future<Output = Result<T, Unreadable>>,
    ) -> Result<T, Problem> {
        let mut reading = pin!(reading);
        // A timer costs more than reading what is there already.
        let read = match std::future::poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
            Poll::Ready(read) => read,
            // In a box of its own, as in `answered`.
            Poll::Pending => {
                Box::pin(timeout_at(self.deadline(log), reading)).await.map_err(|_| Problem::too_slow())?
            }
        };
        read.map_err(|cause| Problem::unreadable(cause, self.limits.body_limit()))
    }

    /// Who signed the request. `None` for the list of zones, which is the one request that needs no signature; a signature that it
    /// has must be right all the same.
    fn caller(
        &self,
        head: &RequestHead<'_>,
        body: &[u8],
        route: Result<Route, NoRoute>,
        origin: RequestOrigin,
    ) -> Result<Option<Caller>, Refusal> {
        if head.authorization == OnlyField::Absent && route == Ok(Route::ListZones) {
            return Ok(None);
        }
        let authorization = Authorization::from_field(head.authorization)?;
        authorization.check_validity(self.now())?;
        let message = authorization.message(head.method.as_str(), head.path, head.query, body)?;
        self.kms
            .authenticate(authorization.credential(), &message.parts(), authorization.tag())
            .map(|caller| Some(caller.with_origin(origin)))
            .map_err(|_| Refusal::NotVerified)
    }
}

impl Answering for FrontDoor {
    type Body = AnswerBody;

    fn answer(&self, head: &Parts, body: RequestBody) -> impl Future<Output = Response<AnswerBody>> + Send {
        let from = body.from();
        self.respond_to(head, body, from)
    }

    fn plain(&self) -> Option<&FrontDoor> {
        Some(self)
    }
}

/// How far a request comes without waiting.
enum AtOnce<'a> {
    Answered(Answer),
    /// It changes or lists something, for a caller whose signature was verified.
    Waits {
        caller: &'a Caller,
        operations: Operations<'a>,
    },
}

/// A defect in answering one request must not take the others of its connection with it. Nothing here holds a lock, and
/// changes run in tasks of their own. The panic's own message is on standard error, from where it happened.
async fn caught<T>(mut answering: Pin<&mut impl Future<Output = Result<T, Problem>>>) -> Result<T, Problem> {
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(cx))) {
        Ok(poll) => poll,
        Err(_) => Poll::Ready(Err(Problem::internal())),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_also_after_a_pause() {
        let panics_later = async {
            tokio::task::yield_now().await;
            panic!("on purpose");
        };
        assert!(caught(pin!(async { Ok(7) })).await.is_ok_and(|value| value == 7));
        let problem = caught::<()>(pin!(panics_later)).await.unwrap_err();
        assert_eq!(problem.status(), http::StatusCode::INTERNAL_SERVER_ERROR);
    }
}
