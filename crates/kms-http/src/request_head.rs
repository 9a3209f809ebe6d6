//! What the front door looks at in a request's head, whichever reader parsed it.

use crate::head::Ambiguity;
use crate::problem::Problem;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName};
use http::request::Parts;
use http::{Method, Uri};

/// A request's head, as far as anything is done with it.
pub(crate) struct RequestHead<'a> {
    pub(crate) method: &'a Method,
    /// The path of the target, raw.
    pub(crate) path: &'a str,
    /// What follows the first `?` of the target, raw.
    pub(crate) query: Option<&'a str>,
    pub(crate) authorization: OnlyField<'a>,
    pub(crate) coding: Result<(), ForeignCoding>,
}

/// A field that a request has at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnlyField<'a> {
    Absent,
    Once(&'a [u8]),
    Repeated,
}

/// Why a body cannot be read as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForeignCoding {
    /// It is compressed, or otherwise encoded.
    Encoded,
    /// It says that it is in another character set than UTF-8.
    Charset,
}

impl<'a> RequestHead<'a> {
    /// The head that hyper has parsed. Refuses what is refused before a body is read: a request that others could read differently.
    pub(crate) fn of(parts: &'a Parts) -> Result<Self, Problem> {
        match parts.extensions.get::<Ambiguity>() {
            None => {}
            Some(Ambiguity::Length) => return Err(Problem::ambiguous_framing()),
            Some(Ambiguity::Target) => return Err(Problem::not_a_path()),
        }
        if !is_path(&parts.uri) {
            return Err(Problem::not_a_path());
        }
        if parts.headers.get_all(HOST).iter().nth(1).is_some() {
            return Err(Problem::host());
        }
        Ok(Self {
            method: &parts.method,
            path: parts.uri.path(),
            query: parts.uri.query(),
            authorization: OnlyField::of(values(&parts.headers, &AUTHORIZATION)),
            coding: check_coding(values(&parts.headers, &CONTENT_ENCODING), values(&parts.headers, &CONTENT_TYPE)),
        })
    }
}

impl<'a> OnlyField<'a> {
    /// The one field with these values.
    pub(crate) fn of(mut values: impl Iterator<Item = &'a [u8]>) -> Self {
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(value), None) => Self::Once(value),
            (Some(_), Some(_)) => Self::Repeated,
        }
    }
}

fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).into_iter().map(|value| value.as_bytes())
}

fn is_path(target: &Uri) -> bool {
    target.scheme().is_none() && target.authority().is_none() && target.path().starts_with('/')
}

/// Bodies are read as they are: neither compressed nor in another character set. The media type is not looked at: official clients
/// send an empty one, or none.
pub(crate) fn check_coding<'a>(
    mut encodings: impl Iterator<Item = &'a [u8]>,
    mut media_types: impl Iterator<Item = &'a [u8]>,
) -> Result<(), ForeignCoding> {
    if !encodings.all(|value| value.trim_ascii().eq_ignore_ascii_case(b"identity")) {
        return Err(ForeignCoding::Encoded);
    }
    if media_types.all(is_utf8) { Ok(()) } else { Err(ForeignCoding::Charset) }
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
    use http::HeaderValue;

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
            let coding = check_coding(values(&headers, &CONTENT_ENCODING), values(&headers, &CONTENT_TYPE));
            assert_eq!(coding.is_ok(), accepted, "{name}: {value}");
        }
    }

    #[test]
    fn a_field_that_must_be_the_only_one_is_counted() {
        let field = |values: &[&'static str]| OnlyField::of(values.iter().map(|value| value.as_bytes()));
        assert_eq!(field(&[]), OnlyField::Absent);
        assert_eq!(field(&["a"]), OnlyField::Once(b"a"));
        assert_eq!(field(&["a", "a"]), OnlyField::Repeated);
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
