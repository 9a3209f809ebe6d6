//! Every error as the client sees it: a problem document (RFC 9457).
//!
//! The one place where errors get a status, a title and words. Titles are those of the API's named errors. No text here comes from a library
//! or names anything inside the server.

use crate::answer_body::{AnswerBody, Content};
use crate::body::Unreadable;
use crate::faults::FieldFault;
use crate::fields::NoObject;
use crate::operation_faults::FaultStatus;
use crate::request_head::ForeignCoding;
use crate::requests::BadBody;
use crate::route::{KeyOperation, NoRoute, Route};
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use kms_lifecycle::{Rejection, Schedule};
use kms_service::KmsError;
use serde::Serialize;
use std::borrow::Cow;

/// An error, ready to be answered.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: Cow<'static, str>,
    errors: Vec<FieldFault>,
    header: Option<(HeaderName, &'static str)>,
}

/// The members in the order of the API's documents; `message` is for clients that show nothing else.
#[derive(Serialize)]
struct Document<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldFault],
    message: &'a str,
}

const CLOSE: Option<(HeaderName, &str)> = Some((CONNECTION, "close"));

impl Problem {
    fn new(status: StatusCode, title: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, title, detail: detail.into(), errors: Vec::new(), header: None }
    }

    fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Bad Request", detail)
    }

    /// The status that it is answered with.
    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// What it is, in a few words that are always the same.
    pub(crate) const fn title(&self) -> &'static str {
        self.title
    }

    /// For every signature fault alike: what is wrong helps only those who guess.
    pub(crate) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", "Invalid request signature")
    }

    /// The body's end can be read in two ways.
    pub(crate) fn ambiguous_framing() -> Self {
        Self { header: CLOSE, ..Self::bad_request("the length of the request body is ambiguous") }
    }

    /// A target that is not a path: absolute, an authority, `*`, or a path with a fragment.
    pub(crate) fn not_a_path() -> Self {
        Self { header: CLOSE, ..Self::bad_request("the request target must be a path") }
    }

    /// Several `Host` headers (RFC 9112 section 3.2): a proxy may have looked at another one.
    pub(crate) fn host() -> Self {
        Self { header: CLOSE, ..Self::bad_request("the request has more than one Host header") }
    }

    /// No operation has query parameters, and how they are signed is ambiguous.
    pub(crate) fn query() -> Self {
        Self::bad_request("this operation takes no query string")
    }

    /// A body where none is allowed.
    pub(crate) fn body_not_taken() -> Self {
        Self::bad_request("this operation takes no body")
    }

    /// A body that is not read as it is.
    pub(crate) fn foreign_coding(cause: ForeignCoding) -> Self {
        let detail = match cause {
            ForeignCoding::Encoded => "the request body must not be compressed or encoded",
            ForeignCoding::Charset => "the request body must be in UTF-8",
        };
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type", detail)
    }

    pub(crate) fn too_slow() -> Self {
        let problem =
            Self::new(StatusCode::REQUEST_TIMEOUT, "Request Timeout", "the request body did not arrive in time");
        Self { header: CLOSE, ..problem }
    }

    /// No key of the caller has made it.
    pub(crate) fn operation_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Operation Not Found", "the operation does not exist in this zone")
    }

    /// What a lab asked for.
    pub(crate) fn injected(status: FaultStatus) -> Self {
        Self::new(status.code(), "Injected Fault", "this call failed because the lab was told to make it fail")
    }

    /// The audit log could not be written.
    pub(crate) fn not_recorded() -> Self {
        let detail = KmsError::NotRecorded.to_string();
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable", detail);
        Self { header: Some((RETRY_AFTER, "1")), ..problem }
    }

    /// A defect of the server.
    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal Error",
            "the server failed to answer; see the server's log",
        )
    }

    pub(crate) fn unreadable(cause: Unreadable, limit: usize) -> Self {
        let problem = match cause {
            Unreadable::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "Payload Too Large",
                format!("the request body is larger than {limit} bytes"),
            ),
            Unreadable::Broken => Self::bad_request("the request body is incomplete or malformed"),
        };
        Self { header: CLOSE, ..problem }
    }

    /// What the service answered to an operation.
    pub(crate) fn of(error: KmsError, route: Route) -> Self {
        let detail = error.to_string();
        match error {
            KmsError::KeyNotFound => Self::key_not_found(),
            KmsError::Rejected(rejection) => Self::rejected(rejection, route),
            KmsError::NameConflict => Self::new(StatusCode::CONFLICT, "Name Conflict", detail),
            KmsError::KeyQuota { .. } => Self::new(StatusCode::BAD_REQUEST, "Key Quota Exceeded", detail),
            KmsError::DecryptFailed => Self::bad_request(detail),
            KmsError::ReplicationUnavailable => Self::new(StatusCode::BAD_REQUEST, "Replication Unavailable", detail),
            KmsError::InvalidTargetZone => Self::new(StatusCode::BAD_REQUEST, "Invalid Argument", detail),
            KmsError::RecordDamaged => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Key Record Damaged", detail),
            KmsError::NotRecorded => Self::not_recorded(),
            KmsError::ReadOnly => {
                let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable", detail);
                Self { header: Some((RETRY_AFTER, "1")), ..problem }
            }
            KmsError::OutcomeUnknown => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Outcome Unknown", detail),
            KmsError::NoEntropy => Self::internal(),
        }
    }

    /// The same whether the key never was, is gone, or is another organisation's.
    fn key_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Key Not Found", "the key does not exist in this zone")
    }

    fn rejected(rejection: Rejection, route: Route) -> Self {
        let (title, detail) = match rejection {
            Rejection::KeyGone => return Self::key_not_found(),
            Rejection::KeyDisabled => ("Key is Disabled", "the key is disabled"),
            Rejection::KeyPendingDeletion => ("Key is Pending Deletion", "the key is pending deletion"),
            Rejection::NotPendingDeletion => ("Not Pending Deletion", "the key is not pending deletion"),
            // The API's documents spell this title in two ways.
            Rejection::NotOnReplica => match route {
                Route::Key(_, KeyOperation::Rotate) => {
                    ("Not on a Replica", "this operation is not allowed on a replica")
                }
                Route::Key(..) | Route::ListZones | Route::GetOperation(_) | Route::ListKeys | Route::CreateKey => {
                    ("Not on Replica", "this operation is not allowed on a replica")
                }
            },
            Rejection::NotOnDefault => ("Not on Default", "this operation is not allowed on the default key"),
            Rejection::NotMultiZone => ("Not Multizone", "the key is not a multi-zone key"),
            Rejection::RotationConflict { already: Schedule::On } => {
                ("Conflict", "automatic rotation is already enabled")
            }
            Rejection::RotationConflict { already: Schedule::Off } => {
                ("Conflict", "automatic rotation is already disabled")
            }
            Rejection::AlreadyReplicated => ("Conflict", "the key is already replicated in that zone"),
            Rejection::InvalidTargetZone => {
                ("Invalid Argument", "the target zone is not a zone this key can be replicated to")
            }
            Rejection::ManualRotationLimit => {
                ("Manual Rotation Limit", "a key can be rotated by hand 10 times, and this one was")
            }
            Rejection::Exhausted => ("Bad Request", "the key cannot be changed any more: a counter is at its end"),
        };
        Self::new(StatusCode::BAD_REQUEST, title, detail)
    }

    /// As an answer without the headers that every answer has.
    pub(crate) fn into_response(self) -> Response<AnswerBody> {
        let document = Document {
            r#type: &format!("urn:zonekms:problem:{}", self.title.to_ascii_lowercase().replace(' ', "-")),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            errors: &self.errors,
            message: &self.detail,
        };
        // Texts and numbers always serialise; the status alone would still be a correct answer.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(AnswerBody::new(Content::Public(body)));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl From<NoRoute> for Problem {
    fn from(cause: NoRoute) -> Self {
        match cause {
            NoRoute::NotFound => Self::new(StatusCode::NOT_FOUND, "Not Found", "there is nothing at this path"),
            NoRoute::WrongMethod { allow } => {
                let detail = format!("this path can be used with {}", allow.replace(", ", " and "));
                let problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed", detail);
                Self { header: Some((ALLOW, allow)), ..problem }
            }
            NoRoute::NoSuchKey => Self::key_not_found(),
            NoRoute::NoSuchOperation => Self::operation_not_found(),
        }
    }
}

impl From<BadBody> for Problem {
    fn from(cause: BadBody) -> Self {
        match cause {
            BadBody::NoObject(NoObject::NotUtf8) => Self::bad_request("the request body is not valid UTF-8"),
            BadBody::NoObject(NoObject::NotJson) => Self::bad_request("the request body is not valid JSON"),
            BadBody::NoObject(NoObject::NotAnObject) => Self::bad_request("the request body must be a JSON object"),
            BadBody::Faults(faults) => {
                let detail = match faults.count() {
                    1 => "the request body has 1 fault".to_owned(),
                    count => format!("the request body has {count} faults"),
                };
                Self { errors: faults.into_listed(), ..Self::bad_request(detail) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fmt::Write;
    use std::path::Path;

    fn service_errors() -> Vec<KmsError> {
        let rejections = [
            Rejection::KeyGone,
            Rejection::NotOnReplica,
            Rejection::NotOnDefault,
            Rejection::KeyPendingDeletion,
            Rejection::KeyDisabled,
            Rejection::NotPendingDeletion,
            Rejection::RotationConflict { already: Schedule::On },
            Rejection::RotationConflict { already: Schedule::Off },
            Rejection::ManualRotationLimit,
            Rejection::NotMultiZone,
            Rejection::AlreadyReplicated,
            Rejection::InvalidTargetZone,
            Rejection::Exhausted,
        ];
        let others = [
            KmsError::KeyNotFound,
            KmsError::NameConflict,
            KmsError::KeyQuota { limit: 1000 },
            KmsError::DecryptFailed,
            KmsError::ReplicationUnavailable,
            KmsError::InvalidTargetZone,
            KmsError::RecordDamaged,
            KmsError::ReadOnly,
            KmsError::NotRecorded,
            KmsError::OutcomeUnknown,
            KmsError::NoEntropy,
        ];
        others.into_iter().chain(rejections.map(KmsError::Rejected)).collect()
    }

    fn front_door_problems() -> Vec<(&'static str, Problem)> {
        vec![
            ("any signature fault", Problem::forbidden()),
            ("two ways to read the length of a body", Problem::ambiguous_framing()),
            ("a target that is not a path", Problem::not_a_path()),
            ("a query string", Problem::query()),
            ("a body for a GET", Problem::body_not_taken()),
            ("a content encoding", Problem::foreign_coding(ForeignCoding::Encoded)),
            ("a character set", Problem::foreign_coding(ForeignCoding::Charset)),
            ("a body that does not arrive", Problem::too_slow()),
            ("a body over the limit", Problem::unreadable(Unreadable::TooLarge, 125_952)),
            ("a body that breaks off", Problem::unreadable(Unreadable::Broken, 125_952)),
            ("an unknown path", NoRoute::NotFound.into()),
            ("a wrong method", NoRoute::WrongMethod { allow: "GET, POST" }.into()),
            ("an id that is no key's", NoRoute::NoSuchKey.into()),
            ("any operation's state", Problem::operation_not_found()),
            ("a body that is not UTF-8", BadBody::NoObject(NoObject::NotUtf8).into()),
            ("a body that is not JSON", BadBody::NoObject(NoObject::NotJson).into()),
            ("a body that is no object", BadBody::NoObject(NoObject::NotAnObject).into()),
            ("a panic", Problem::internal()),
            ("a lab's fault", Problem::injected(FaultStatus::new(503).unwrap())),
        ]
    }

    async fn shown(problem: Problem) -> String {
        let (head, body) = problem.into_response().into_parts();
        let mut text = head.status.as_u16().to_string();
        for (name, value) in head.headers.iter().filter(|(name, _)| **name != CONTENT_TYPE) {
            write!(text, "  {name}: {}", value.to_str().unwrap()).unwrap();
        }
        let body = body.to_vec().await;
        format!("{text}\n{}\n", str::from_utf8(&body).unwrap())
    }

    /// Every error with its document, as a file that a person can read. `ZONEKMS_GOLDEN=write` writes it anew.
    #[tokio::test]
    async fn the_documents_are_those_of_the_golden_file() {
        let mut text = String::from(
            "# What clients are told: status, headers beside the usual ones, document.\n\n# Errors of the service\n",
        );
        for error in service_errors() {
            // Documents that differ between operations are shown with the operations they are for.
            let mut by_document = BTreeMap::<_, Vec<_>>::new();
            let routes =
                KeyOperation::ALL.map(|operation| Route::Key(kms_types::KeyId::from_bytes([7; 16]), operation));
            for route in [Route::ListKeys, Route::CreateKey].into_iter().chain(routes) {
                by_document.entry(shown(Problem::of(error, route)).await).or_default().push(route.operation().name());
            }
            let differ = by_document.len() > 1;
            for (document, routes) in by_document {
                let routes = if differ { format!(" for {}", routes.join(", ")) } else { String::new() };
                write!(text, "\n{error:?}{routes}\n{document}").unwrap();
            }
        }
        text += "\n# Errors of the front door\n";
        for (what, problem) in front_door_problems() {
            write!(text, "\n{what}\n{}", shown(problem).await).unwrap();
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/problems.txt");
        if std::env::var_os("ZONEKMS_GOLDEN").is_some_and(|value| value == "write") {
            std::fs::write(&file, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), text, "see {}", file.display());
    }

    #[test]
    fn titles_are_those_of_the_lifecycle_but_for_one() {
        for error in service_errors() {
            if let KmsError::Rejected(rejection) = error {
                let key = kms_types::KeyId::from_bytes([7; 16]);
                for operation in KeyOperation::ALL {
                    let title = Problem::of(error, Route::Key(key, operation)).title;
                    let rotate_on_replica = operation == KeyOperation::Rotate && rejection == Rejection::NotOnReplica;
                    assert_eq!(title == rejection.title(), !rotate_on_replica, "{rejection:?}");
                }
            }
        }
    }
}
