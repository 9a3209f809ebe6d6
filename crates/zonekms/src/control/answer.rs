//! What a control command answers: JSON, or a refusal with one sentence.

use std::fmt;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::operations::answer;

/// What a handler gives.
pub(crate) type Answer = Result<Done, Refused>;

/// The command was done; the object tells the outcome.
pub(crate) struct Done(pub(crate) Value);

/// The command was not done. The message is shown to the operator as it stands.
pub(crate) struct Refused {
    status: StatusCode,
    message: String,
}

impl Refused {
    /// There is no such thing: 404.
    pub(crate) fn unknown(message: impl fmt::Display) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: message.to_string() }
    }

    /// What was asked for is not right: 400.
    pub(crate) fn input(message: impl fmt::Display) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.to_string() }
    }

    /// It was tried and did not succeed: 500.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, message: message.to_string() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        answer(StatusCode::OK, &self.0)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        answer(self.status, &json!({"detail": self.message}))
    }
}
