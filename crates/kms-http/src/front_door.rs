//! From a request to its answer, in an order that gives nothing away: limits, signature, route, members, service.

use crate::body;
use crate::exchange::PeerAddress;
use crate::exo2::{Authorization, Refusal};
use crate::head::Ambiguity;
use crate::limits::RequestLimits;
use crate::operation_faults::OperationFaults;
use crate::operations::{Answer, Operations};
use crate::problem::Problem;
use crate::request_log::RequestLog;
use crate::route::Route;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
};
use http::request::Parts;
use http::{Response, Uri};
use kms_crypto::SecretBytes;
use kms_service::{Caller, Kms, RequestOrigin};
use kms_types::ZoneName;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// Numbers requests when there is no randomness for their ids.
    counter: AtomicU64,
    /// Calls that fail on purpose, in a lab.
    faults: Option<Arc<dyn OperationFaults>>,
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KEY_VERSION: HeaderName = HeaderName::from_static("zonekms-key-version");

impl FrontDoor {
    /// The API of `kms`, which lists all `zones`, its own included.
    #[must_use]
    pub fn new(kms: Kms, zones: Arc<[ZoneEntry]>, limits: RequestLimits, wall_clock: WallClock) -> Self {
        Self { kms, zones, limits, wall_clock, counter: AtomicU64::new(1), faults: None }
    }

    /// The same API, in which calls fail as `faults` says.
    #[must_use]
    pub fn with_faults(self, faults: Arc<dyn OperationFaults>) -> Self {
        Self { faults: Some(faults), ..self }
    }

    /// The API as a service, for [`serve`](crate::serve).
    pub fn into_router(self) -> Router {
        // Routing is our own: on raw segments, and after the signature was verified.
        Router::new().fallback(answer).with_state(Arc::new(self))
    }

    async fn respond(&self, request: Request, log: &mut RequestLog) -> Result<Answer, Problem> {
        let deadline = Instant::now() + self.limits.request_timeout;
        let (head, body) = request.into_parts();
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
        let limit = self.limits.body_limit();
        let body = timeout_at(deadline, body::read(body, limit))
            .await
            .map_err(|_| Problem::too_slow())?
            .map_err(|cause| Problem::unreadable(cause, limit))?;

        let caller = self.caller(&head, &body, log.origin()).map_err(|refusal| {
            log.refused(refusal);
            // What was asked for is told, not done.
            log.routed(&Route::find(&head.method, head.uri.path()));
            Problem::forbidden()
        })?;
        if let Some(caller) = &caller {
            log.called_by(caller);
        }
        if head.uri.query().is_some() {
            return Err(Problem::query());
        }
        let route = Route::find(&head.method, head.uri.path());
        log.routed(&route);
        let route = route?;
        check_encoding(&head.headers)?;
        if let (Some(faults), Route::Key(key, operation)) = (&self.faults, route)
            && let Some(status) = faults.take(key, operation.name())
        {
            return Err(Problem::injected(status));
        }
        let operations = Operations { kms: &self.kms, limits: &self.limits, deadline, route };
        match caller {
            Some(caller) => operations.perform(&caller, &self.zones, body.expose()).await,
            None => operations.list_zones(&self.zones, body.expose()),
        }
    }

    /// Who signed the request. `None` for the list of zones, which is the one request that needs no signature; a signature that it
    /// has must be right all the same.
    fn caller(&self, head: &Parts, body: &SecretBytes, origin: RequestOrigin) -> Result<Option<Caller>, Refusal> {
        let path = head.uri.path();
        if !head.headers.contains_key(AUTHORIZATION) && Route::find(&head.method, path) == Ok(Route::ListZones) {
            return Ok(None);
        }
        let authorization = Authorization::from_headers(&head.headers)?;
        authorization.check_validity((self.wall_clock)())?;
        let message = authorization.message(head.method.as_str(), path, head.uri.query(), body.expose())?;
        self.kms
            .authenticate(authorization.credential(), &message.parts(), authorization.tag())
            .map(|caller| Some(caller.with_origin(origin)))
            .map_err(|_| Refusal::NotVerified)
    }

    fn request_number(&self) -> u64 {
        let mut random = [0; 8];
        // An id has only to differ from others; without randomness a number does.
        match self.kms.random(&mut random) {
            Ok(()) => u64::from_be_bytes(random),
            Err(_) => self.counter.fetch_add(1, Ordering::Relaxed),
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
}

/// Answers one request, whatever happens.
async fn answer(State(front_door): State<Arc<FrontDoor>>, request: Request) -> Response<Body> {
    let number = front_door.request_number();
    let id = format!("{number:016x}");
    let address = request.extensions().get::<PeerAddress>().map(|address| address.0);
    let mut log = RequestLog::begin(&id, RequestOrigin { id: number, address }, request.method());
    let outcome = caught(async {
        let answer = front_door.respond(request, &mut log).await?;
        front_door.settled(answer).await
    })
    .await
    .map_err(|panicked| (panicked, Problem::internal()));
    let mut response = match outcome {
        Ok(Ok(answer)) => success(answer),
        // The panic's own message is on standard error, from where it happened.
        Ok(Err(problem)) | Err((Panicked, problem)) => {
            log.audit_refusal(&front_door.kms, problem.status(), problem.title());
            problem.into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::try_from(&id) {
        headers.insert(REQUEST_ID, id);
    }
    log.end(response.status());
    response
}

fn success(answer: Answer) -> Response<Body> {
    let mut response = Response::new(Body::from(answer.body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(version) = answer.key_version {
        response.headers_mut().insert(KEY_VERSION, version.get().into());
    }
    response
}

struct Panicked;

/// A defect in answering one request must not take the others of its connection with it. Nothing here holds a lock, and
/// changes run in tasks of their own.
async fn caught<T>(answering: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut answering = pin!(answering);
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
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
        assert!(caught(async { 7 }).await.is_ok_and(|value| value == 7));
        assert!(matches!(caught(panics_later).await, Err(Panicked)));
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
