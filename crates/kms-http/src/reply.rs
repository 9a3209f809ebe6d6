//! What the front door says to a request: as a response for hyper, or as the bytes that hyper would make of it.

use crate::answer_body::{AnswerBody, Content};
use crate::operations::Answer;
use crate::problem::Problem;
use crate::request_id::RequestId;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use httpdate::HttpDate;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

/// The front door's answer to one request.
pub(crate) struct Reply {
    pub(crate) id: RequestId,
    pub(crate) outcome: Result<Answer, Problem>,
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    GoesOn,
    Closes,
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KEY_VERSION: HeaderName = HeaderName::from_static("zonekms-key-version");

impl Reply {
    pub(crate) const fn status(&self) -> StatusCode {
        match &self.outcome {
            Ok(_) => StatusCode::OK,
            Err(problem) => problem.status(),
        }
    }

    /// For hyper, which adds length and date.
    pub(crate) fn into_response(self) -> Response<AnswerBody> {
        let mut response = match self.outcome {
            Ok(answer) => success(answer),
            Err(problem) => problem.into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REQUEST_ID, self.id.to_header());
        response
    }

    /// Writes the head of the response to `out`, and gives its content and what becomes of the connection: it closes if `afterwards` or
    /// the answer itself says so.
    pub(crate) fn write_head(self, afterwards: Afterwards, date: &Date, out: &mut Vec<u8>) -> (Content, Afterwards) {
        match self.outcome {
            Ok(answer) => {
                write_success(&answer, self.id, out);
                end_head(afterwards, answer.content.expose().len(), date, out);
                (answer.content, afterwards)
            }
            // Rarer, and less alike.
            Err(_) => write_response(self.into_response(), afterwards, date, out),
        }
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

/// The same as [`success`], with the fields that every answer has.
fn write_success(answer: &Answer, id: RequestId, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n");
    if let Some(version) = answer.key_version {
        out.extend_from_slice(b"zonekms-key-version: ");
        write_number(version.get().into(), out);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"cache-control: no-store\r\nx-request-id: ");
    out.extend_from_slice(&id.digits());
    out.extend_from_slice(b"\r\n");
}

fn write_response(
    response: Response<AnswerBody>,
    afterwards: Afterwards,
    date: &Date,
    out: &mut Vec<u8>,
) -> (Content, Afterwards) {
    let (mut parts, body) = response.into_parts();
    let closes = parts.headers.remove(CONNECTION).is_some_and(|value| value == "close");
    let afterwards = if closes { Afterwards::Closes } else { afterwards };
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(parts.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(parts.status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in &parts.headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    let content = body.into_content().unwrap_or(Content::Public(Vec::new()));
    end_head(afterwards, content.expose().len(), date, out);
    (content, afterwards)
}

fn end_head(afterwards: Afterwards, length: usize, date: &Date, out: &mut Vec<u8>) {
    match afterwards {
        Afterwards::GoesOn => {}
        Afterwards::Closes => out.extend_from_slice(b"connection: close\r\n"),
    }
    out.extend_from_slice(b"content-length: ");
    write_number(length as u64, out);
    out.extend_from_slice(b"\r\ndate: ");
    out.extend_from_slice(date.text.as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
}

fn write_number(number: u64, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{number}");
}

/// The end of the year 9999: a `Date` field has four digits for the year.
const LAST_SECOND: u64 = 253_402_300_799;

/// A second as the `Date` field has it (RFC 9110 section 5.6.7), kept until the next.
pub(crate) struct Date {
    second: Option<i64>,
    text: String,
}

impl Date {
    /// Of no second yet.
    pub(crate) const fn new() -> Self {
        Self { second: None, text: String::new() }
    }

    /// Of `now`, in seconds since 1970.
    pub(crate) fn at(&mut self, now: i64) -> &Self {
        if self.second != Some(now) {
            let seconds = u64::try_from(now).unwrap_or_default().min(LAST_SECOND);
            self.second = Some(now);
            self.text = HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_id::RequestIds;
    use kms_crypto::SecretBytes;
    use kms_types::MaterialVersion;

    fn written(outcome: Result<Answer, Problem>, afterwards: Afterwards) -> (String, String, Afterwards) {
        let id = RequestIds::new(0).next();
        let mut out = Vec::new();
        let reply = Reply { id, outcome };
        let (content, afterwards) = reply.write_head(afterwards, Date::new().at(1_893_455_900), &mut out);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(&out), text(content.expose()), afterwards)
    }

    fn answer(key_version: Option<MaterialVersion>) -> Result<Answer, Problem> {
        Ok(Answer { content: Content::Secret(SecretBytes::copy_from(b"{}")), key_version })
    }

    #[test]
    fn an_answer_has_its_fields_and_an_end() {
        let (head, content, afterwards) = written(answer(MaterialVersion::new(12)), Afterwards::GoesOn);
        let expected = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nzonekms-key-version: 12\r\ncache-control: no-store\r\n\
            x-request-id: 0000000000000000\r\ncontent-length: 2\r\ndate: Mon, 31 Dec 2029 23:58:20 GMT\r\n\r\n";
        assert_eq!((head.as_str(), content.as_str(), afterwards), (expected, "{}", Afterwards::GoesOn));
        let (head, _, afterwards) = written(answer(None), Afterwards::Closes);
        assert!(!head.contains("key-version") && head.contains("\r\nconnection: close\r\n"), "{head}");
        assert_eq!(afterwards, Afterwards::Closes);
    }

    #[test]
    fn what_is_written_is_what_hyper_is_given() {
        let id = RequestIds::new(0).next();
        for outcome in [|| answer(MaterialVersion::new(1)), || answer(None), || Err(Problem::query())] {
            let response = Reply { id, outcome: outcome() }.into_response();
            let fields: String = response
                .headers()
                .iter()
                .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()))
                .collect();
            let (head, _, _) = written(outcome(), Afterwards::GoesOn);
            assert!(head.starts_with(&format!("HTTP/1.1 {}\r\n{fields}content-length: ", response.status())), "{head}");
        }
    }

    #[test]
    fn any_clock_has_a_date() {
        for (now, expected) in [
            (i64::MIN, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (i64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(Date::new().at(now).text, expected);
        }
    }

    #[test]
    fn an_answer_can_close_its_connection() {
        let (head, content, afterwards) = written(Err(Problem::too_slow()), Afterwards::GoesOn);
        assert_eq!(afterwards, Afterwards::Closes);
        assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{head}");
        assert_eq!(head.matches("connection: close\r\n").count(), 1);
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", content.len())), "{head}");
    }
}
