//! The heads of plain requests: those that can be read in one way only, and that nearly all are.
//!
//! Such a head is served without hyper, which prepares for far more. The rule is strict and its other side is harmless: what this does not
//! take is left to hyper with every byte of it, and with all that follows on the connection. Both read with the same parser (httparse).

use crate::request_head::{OnlyField, RequestHead, check_coding};
use http::Method;
use httparse::{EMPTY_HEADER, Header, Request, Status};
use std::iter;

/// The most fields that a plain head has. Official clients send 5 to 9.
const FIELDS: usize = 24;

/// The head of a plain request: GET or POST to a path without query, escapes or odd characters, HTTP/1.1, one `Host` at most, nothing
/// about encodings, expectations, upgrades or the end of the connection.
///
/// `bytes` is one whole head whose body has a certain length; see [`HeadScanner`](crate::head::HeadScanner), which has seen to repeated or
/// malformed lengths, chunks, and lines that do not end as they should. `None` if it is not plain, or has more than `most_fields`.
pub(crate) fn parse(bytes: &[u8], most_fields: usize) -> Option<RequestHead<'_>> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut request = Request::new(&mut fields);
    let (Ok(Status::Complete(length)), Some(1)) = (request.parse(bytes), request.version) else { return None };
    let method = match request.method? {
        "POST" => &Method::POST,
        "GET" => &Method::GET,
        _ => return None,
    };
    let path = request.path.filter(|path| is_plain(path))?;
    if length != bytes.len() || request.headers.len() > most_fields {
        return None;
    }
    let (mut hosts, mut authorization, mut coding) = (0, OnlyField::Absent, Ok(()));
    for Header { name, value } in &*request.headers {
        match Meaning::of(name) {
            Meaning::None => {}
            Meaning::Host => hosts += 1,
            Meaning::Authorization => {
                authorization = match authorization {
                    OnlyField::Absent => OnlyField::Once(value),
                    OnlyField::Once(_) | OnlyField::Repeated => OnlyField::Repeated,
                }
            }
            Meaning::ContentType => coding = coding.and(check_coding(iter::empty(), iter::once(*value))),
            Meaning::Connection if value.eq_ignore_ascii_case(b"keep-alive") => {}
            Meaning::Connection | Meaning::ForHyper => return None,
        }
    }
    (hosts <= 1).then_some(RequestHead { method, path, query: None, authorization, coding })
}

/// Whether a target is its own path, and every reader agrees on where that ends.
fn is_plain(target: &str) -> bool {
    target.starts_with('/')
        && target.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~'))
}

/// What a field means for the reading of its request.
enum Meaning {
    None,
    Host,
    Authorization,
    ContentType,
    Connection,
    /// That hyper has to read this request.
    ForHyper,
}

impl Meaning {
    fn of(name: &str) -> Self {
        // By length first: most names are told apart by it.
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is("host") => Self::Host,
            6 if is("expect") => Self::ForHyper,
            7 if is("upgrade") => Self::ForHyper,
            10 if is("connection") => Self::Connection,
            12 if is("content-type") => Self::ContentType,
            13 if is("authorization") => Self::Authorization,
            16 if is("content-encoding") => Self::ForHyper,
            17 if is("transfer-encoding") => Self::ForHyper,
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str, fields: &str) -> Option<(String, String, String)> {
        let head = format!("{line}\r\n{fields}\r\n");
        let head = parse(head.as_bytes(), 100)?;
        assert_eq!((head.query, head.coding), (None, Ok(())));
        let authorization = match head.authorization {
            OnlyField::Once(value) => String::from_utf8(value.to_vec()).unwrap(),
            other @ (OnlyField::Absent | OnlyField::Repeated) => format!("{other:?}"),
        };
        Some((head.method.to_string(), head.path.to_owned(), authorization))
    }

    #[test]
    fn what_clients_send_is_plain() {
        let python = "Host: 127.0.0.1:8080\r\nUser-Agent: python-requests/2.32\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n\
            Connection: keep-alive\r\nContent-Type: application/json\r\nAuthorization: EXO2 a=b\r\nContent-Length: 2\r\n";
        let expected = |method: &str, path: &str, authorization: &str| {
            Some((method.to_owned(), path.to_owned(), authorization.to_owned()))
        };
        assert_eq!(of("POST /v2/kms-key HTTP/1.1", python), expected("POST", "/v2/kms-key", "EXO2 a=b"));
        assert_eq!(of("GET /v2/zone HTTP/1.1", "host:a\r\n"), expected("GET", "/v2/zone", "Absent"));
        assert_eq!(of("GET //v2/a.b_c~/ HTTP/1.1", ""), expected("GET", "//v2/a.b_c~/", "Absent"));
        let twice = "AUTHORIZATION: a\r\nauthorization: b\r\n";
        assert_eq!(of("GET / HTTP/1.1", twice), expected("GET", "/", "Repeated"));
    }

    #[test]
    fn what_needs_more_care_is_not() {
        for line in [
            "GET /v2/zone HTTP/1.0",
            "HEAD /v2/zone HTTP/1.1",
            "PUT /v2/zone HTTP/1.1",
            "post /v2/zone HTTP/1.1",
            "GET * HTTP/1.1",
            "GET http://a/v2/zone HTTP/1.1",
            "GET /v2/zone? HTTP/1.1",
            "GET /v2/zone?a=b HTTP/1.1",
            "GET /v2/zone#a HTTP/1.1",
            "GET /v2/%7aone HTTP/1.1",
            "GET /v2/zone;a HTTP/1.1",
            "GET /v2/zön HTTP/1.1",
            "PRI * HTTP/2.0",
        ] {
            assert_eq!(of(line, "Host: a\r\n"), None, "{line}");
        }
        for fields in [
            "Host: a\r\nHost: a\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Expect: 100-continue\r\n",
            "Upgrade: h2c\r\n",
            "Connection: close\r\n",
            "Connection: keep-alive, Upgrade\r\n",
            "Content-Encoding: identity\r\n",
            "X: 1\r\n folded\r\n",
            "X : 1\r\n",
            "X: \0\r\n",
        ] {
            assert_eq!(of("GET /v2/zone HTTP/1.1", fields), None, "{fields:?}");
        }
        assert_eq!(of("GET /v2/zone HTTP/1.1", &"X: 1\r\n".repeat(FIELDS + 1)), None);
        assert!(parse(b"GET / HTTP/1.1\r\nX: 1\r\nY: 1\r\n\r\n", 1).is_none());
    }
}
