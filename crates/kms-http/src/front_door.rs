//! From a request to its answer, in an order that gives nothing away: limits, signature, route, members, service.

use crate::answer_body::AnswerBody;
use crate::body::{self, WholeBody};
use crate::exchange::{Answering, RequestBody};
use crate::exo2::{Authorization, Refusal};
use crate::head::Ambiguity;
use crate::limits::RequestLimits;
use crate::operation_faults::OperationFaults;
use crate::operations::{Answer, Operations};
use crate::problem::Problem;
use crate::request_id::RequestIds;
use crate::request_log::RequestLog;
use crate::request_metrics::RequestMetrics;
use crate::route::Route;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
};
use http::request::Parts;
use http::{Request, Response, Uri};
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

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KEY_VERSION: HeaderName = HeaderName::from_static("zonekms-key-version");

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
        let (head, body) = request.into_parts();
        self.respond_to(&head, body, from).await
    }

    fn respond_to<B: HttpBody<Data = Bytes> + Unpin>(
        &self,
        head: &Parts,
        mut body: B,
        from: Option<IpAddr>,
    ) -> impl Future<Output = Response<AnswerBody>> {
        let id = self.request_ids.next();
        let mut log = RequestLog::begin(id, from, &head.method);
        // Not an `async fn`, which would hold `body` twice.
        async move {
            let outcome = {
                let answering = pin!(self.outcome(head, &mut body, &mut log));
                // The panic's own message is on standard error, from where it happened.
                caught(answering).await.unwrap_or_else(|Panicked| Err(Problem::internal()))
            };
            let mut response = match outcome {
                Ok(answer) => success(answer),
                Err(problem) => {
                    log.audit_refusal(&self.kms, problem.status(), problem.title());
                    problem.into_response()
                }
            };
            let headers = response.headers_mut();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(REQUEST_ID, id.to_header());
            log.end(response.status(), &self.metrics);
            response
        }
    }

    async fn outcome<B: HttpBody<Data = Bytes> + Unpin>(
        &self,
        head: &Parts,
        body: &mut B,
        log: &mut RequestLog,
    ) -> Result<Answer, Problem> {
        check_target(head)?;
        let deadline = log.begun() + self.limits.request_timeout;
        let body = self.body(body, deadline).await?;
        match self.at_once(head, body.expose(), deadline, log)? {
            AtOnce::Answered(answer) => self.settled(answer).await,
            // What a change waits with is large. In a box of its own it does not make every request's state as large.
            AtOnce::Waits { caller, operations } => {
                Box::pin(operations.perform(caller, &self.zones, body.expose())).await
            }
        }
    }

    /// What is done with a request once its body is there, as far as it waits for nothing.
    fn at_once<'a>(
        &'a self,
        head: &Parts,
        body: &[u8],
        deadline: Instant,
        log: &'a mut RequestLog,
    ) -> Result<AtOnce<'a>, Problem> {
        let caller = self.caller(head, body, log.origin()).map_err(|refusal| {
            log.refused(refusal);
            // What was asked for is told, not done.
            log.routed(Route::find(&head.method, head.uri.path()));
            Problem::forbidden()
        })?;
        log.called_by(caller);
        if head.uri.query().is_some() {
            return Err(Problem::query());
        }
        let route = Route::find(&head.method, head.uri.path());
        log.routed(route);
        let route = route?;
        check_encoding(&head.headers)?;
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
    async fn settled(&self, answer: Answer) -> Result<Answer, Problem> {
        let audit = self.kms.audit();
        if answer.key_version.is_some() && audit.is_synchronous() && audit.settle_uses().await.is_err() {
            return Err(Problem::not_recorded());
        }
        Ok(answer)
    }

    async fn body<B: HttpBody<Data = Bytes> + Unpin>(
        &self,
        body: &mut B,
        deadline: Instant,
    ) -> Result<WholeBody, Problem> {
        let limit = self.limits.body_limit();
        let mut reading = pin!(body::read(body, limit));
        // A timer costs more than reading what is there already.
        let read = match std::future::poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
            Poll::Ready(read) => read,
            // In a box of its own, as below.
            Poll::Pending => Box::pin(timeout_at(deadline, reading)).await.map_err(|_| Problem::too_slow())?,
        };
        read.map_err(|cause| Problem::unreadable(cause, limit))
    }

    /// Who signed the request. `None` for the list of zones, which is the one request that needs no signature; a signature that it
    /// has must be right all the same.
    fn caller(&self, head: &Parts, body: &[u8], origin: RequestOrigin) -> Result<Option<Caller>, Refusal> {
        let path = head.uri.path();
        if !head.headers.contains_key(AUTHORIZATION) && Route::find(&head.method, path) == Ok(Route::ListZones) {
            return Ok(None);
        }
        let authorization = Authorization::from_headers(&head.headers)?;
        authorization.check_validity((self.wall_clock)())?;
        let message = authorization.message(head.method.as_str(), path, head.uri.query(), body)?;
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
}

fn success(answer: Answer) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::new(answer.content));
    // Room for all that an answer has, so that the map does not grow on the way.
    response.headers_mut().reserve(6);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(version) = answer.key_version {
        response.headers_mut().insert(KEY_VERSION, version.get().into());
    }
    response
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

struct Panicked;

/// A defect in answering one request must not take the others of its connection with it. Nothing here holds a lock, and
/// changes run in tasks of their own.
async fn caught<T>(mut answering: Pin<&mut impl Future<Output = T>>) -> Result<T, Panicked> {
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

/// What is refused before the body is read: a request that others could read differently.
fn check_target(head: &Parts) -> Result<(), Problem> {
    match head.extensions.get::<Ambiguity>() {
        None => {}
        Some(Ambiguity::Length) => return Err(Problem::ambiguous_framing()),
        Some(Ambiguity::Target) => return Err(Problem::not_a_path()),
    }
    if !is_path(&head.uri) {
        return Err(Problem::not_a_path());
    }
    if head.headers.get_all(HOST).iter().nth(1).is_some() {
        return Err(Problem::host());
    }
    Ok(())
}

fn is_path(target: &Uri) -> bool {
    target.scheme().is_none() && target.authority().is_none() && target.path().starts_with('/')
}

/// Bodies are read as they are: neither compressed nor in another character set. The media type is not looked at: official clients
/// send an empty one, or none.
fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let identity = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(CONTENT_ENCODING).iter().all(identity) {
        return Err(Problem::encoded_body());
    }
    if headers.get_all(CONTENT_TYPE).iter().all(|value| is_utf8(value.as_bytes())) {
        Ok(())
    } else {
        Err(Problem::charset())
    }
}

/// Whether a media type names no character set but UTF-8.
fn is_utf8(media_type: &[u8]) -> bool {
    media_type.split(|byte| *byte == b';').skip(1).all(|parameter| {
        let mut halves = parameter.splitn(2, |byte| *byte == b'=');
        let name = halves.next().unwrap_or_default().trim_ascii();
        let value = halves.next().unwrap_or_default().trim_ascii();
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        !name.eq_ignore_ascii_case(b"charset") || value.eq_ignore_ascii_case(b"utf-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_utf8_and_identity_are_read() {
        for (name, value, accepted) in [
            (CONTENT_TYPE, "", true),
            (CONTENT_TYPE, "text/plain", true),
            (CONTENT_TYPE, "application/json; charset=utf-8", true),
            (CONTENT_TYPE, "application/json;CHARSET = \"UTF-8\"", true),
            (CONTENT_TYPE, "application/json; boundary=x;charset=utf-16", false),
            (CONTENT_TYPE, "application/json; charset", false),
            (CONTENT_ENCODING, "identity", true),
            (CONTENT_ENCODING, "gzip", false),
            (CONTENT_ENCODING, "identity, gzip", false),
            (CONTENT_ENCODING, "", false),
        ] {
            let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(value))]);
            assert_eq!(check_encoding(&headers).is_ok(), accepted, "{name}: {value}");
        }
    }

    #[tokio::test]
    async fn a_panic_is_caught_also_after_a_pause() {
        let panics_later = async {
            tokio::task::yield_now().await;
            panic!("on purpose");
        };
        assert!(caught(pin!(async { 7 })).await.is_ok_and(|value| value == 7));
        assert!(matches!(caught(pin!(panics_later)).await, Err(Panicked)));
    }

    #[test]
    fn targets_that_are_no_path() {
        for (target, expected) in
            [("/v2/zone", true), ("/", true), ("http://a/v2/zone", false), ("a:80", false), ("*", false)]
        {
            assert_eq!(is_path(&target.parse().unwrap()), expected, "{target}");
        }
    }
}
