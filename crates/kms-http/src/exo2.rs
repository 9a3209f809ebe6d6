//! EXO2-HMAC-SHA256: the `Authorization` header of Exoscale's clients, and the message that it signs.
//!
//! Nothing is trusted here and nothing is decoded that is signed raw: the path and the body are the bytes that came in. The
//! parser accepts one spelling only, the one that all official clients send.

use crate::base64_text;
use crate::request_head::OnlyField;
use memchr::memchr;

const SCHEME: &[u8] = b"EXO2-HMAC-SHA256 ";

/// Seconds for which a signature is still good after its `expires`: the Java client signs with `expires` = now.
const GRACE_SECONDS: i64 = 60;

/// The furthest `expires` may lie ahead, in seconds: clients sign for 600, and their clocks may be 60 ahead.
const FURTHEST_SECONDS: i64 = 660;

/// Length of the tag in bytes: HMAC-SHA-256 in full.
const TAG_LENGTH: usize = 32;

/// Why a request's signature was refused. For the log: every client gets the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No `Authorization` header.
    Missing,
    /// More than one `Authorization` header.
    Repeated,
    /// Not what an official client sends.
    Malformed,
    /// Past its `expires` and the grace after it.
    Expired,
    /// `expires` too far ahead.
    TooFarAhead,
    /// Unknown credential, one not allowed here, or a signature that is not right.
    NotVerified,
}

impl Refusal {
    /// The word for the log.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Repeated => "repeated",
            Self::Malformed => "malformed",
            Self::Expired => "expired",
            Self::TooFarAhead => "too-far-ahead",
            Self::NotVerified => "not-verified",
        }
    }
}

/// A well-formed `Authorization` header. Nothing in it has been verified.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Authorization<'a> {
    credential: &'a str,
    signed_args: Option<&'a str>,
    expires: &'a str,
    expires_at: i64,
    tag: [u8; TAG_LENGTH],
}

impl<'a> Authorization<'a> {
    /// What is in the request's only `Authorization` header, or the reason why there is none to verify.
    pub(crate) fn from_field(field: OnlyField<'a>) -> Result<Self, Refusal> {
        match field {
            OnlyField::Absent => Err(Refusal::Missing),
            OnlyField::Once(value) => Self::parse(value).ok_or(Refusal::Malformed),
            OnlyField::Repeated => Err(Refusal::Repeated),
        }
    }

    /// `EXO2-HMAC-SHA256 credential=…[,signed-query-args=…],expires=…,signature=…`: no blanks, this order, each once.
    fn parse(value: &'a [u8]) -> Option<Self> {
        let (credential, rest) = pragma(value.strip_prefix(SCHEME)?, b"credential=")?;
        let (signed_args, rest) = match pragma(rest, b"signed-query-args=") {
            Some((names, rest)) => (Some(text(names)?), rest),
            None => (None, rest),
        };
        let (expires, rest) = pragma(rest, b"expires=")?;
        // Base64 has no commas, so nothing comes after it.
        let tag = decode_tag(rest.strip_prefix(b"signature=")?)?;
        if credential.is_empty() || !credential.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let expires_at = canonical_seconds(expires)?;
        Some(Self { credential: text(credential)?, signed_args, expires: text(expires)?, expires_at, tag })
    }

    /// The id of the credential that claims to have signed.
    pub(crate) const fn credential(&self) -> &'a str {
        self.credential
    }

    /// The tag to be compared, 32 bytes.
    pub(crate) const fn tag(&self) -> &[u8; TAG_LENGTH] {
        &self.tag
    }

    /// Refuses signatures that are not good at `now`, in seconds since 1970. The last good second is `expires` + 60.
    pub(crate) const fn check_validity(&self, now: i64) -> Result<(), Refusal> {
        if now.saturating_sub(self.expires_at) > GRACE_SECONDS {
            Err(Refusal::Expired)
        } else if self.expires_at.saturating_sub(now) > FURTHEST_SECONDS {
            Err(Refusal::TooFarAhead)
        } else {
            Ok(())
        }
    }

    /// The message that a client signs for this request.
    ///
    /// `path` and `query` are as they came in. Query parameters that are listed but not there are refused: no client lists them.
    pub(crate) fn message<'m>(
        &'m self,
        method: &'m str,
        path: &'m str,
        query: Option<&str>,
        body: &'m [u8],
    ) -> Result<Message<'m>, Refusal> {
        let signed_values = match (self.signed_args, query) {
            (None, _) => Vec::new(),
            (Some(_), None) => return Err(Refusal::Malformed),
            (Some(names), Some(query)) => signed_values(names, query).ok_or(Refusal::Malformed)?,
        };
        Ok(Message { method, path, body, signed_values, expires: self.expires })
    }
}

/// What is signed: five segments joined by line feeds. Held in parts, so that the body is not copied.
pub(crate) struct Message<'m> {
    method: &'m str,
    path: &'m str,
    body: &'m [u8],
    signed_values: Vec<u8>,
    expires: &'m str,
}

impl Message<'_> {
    /// The parts in order; their concatenation is the message. The fourth segment, header values, is always empty.
    pub(crate) fn parts(&self) -> [&[u8]; 9] {
        [
            self.method.as_bytes(),
            b" ",
            self.path.as_bytes(),
            b"\n",
            self.body,
            b"\n",
            &self.signed_values,
            b"\n\n",
            self.expires.as_bytes(),
        ]
    }
}

/// The value of the pragma that `input` begins with, and what follows the comma after it.
fn pragma<'a>(input: &'a [u8], name: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let value = input.strip_prefix(name)?;
    let (value, rest) = value.split_at_checked(memchr(b',', value)?)?;
    Some((value, rest.strip_prefix(b",")?))
}

fn text(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok()
}

/// Decimal digits without sign or leading zero.
fn canonical_seconds(digits: &[u8]) -> Option<i64> {
    match digits {
        [] | [b'0', _, ..] => None,
        digits => digits.iter().try_fold(0_i64, |seconds, digit| {
            let digit = digit.is_ascii_digit().then_some(i64::from(*digit) - i64::from(b'0'))?;
            seconds.checked_mul(10)?.checked_add(digit)
        }),
    }
}

/// Standard base64 with padding, of exactly 32 bytes; other spellings of the same bytes are refused.
fn decode_tag(text: &[u8]) -> Option<[u8; TAG_LENGTH]> {
    // Four characters at a time: 32 bytes are decoded into room for 33.
    let mut decoded = [0; TAG_LENGTH + 1];
    match base64_text::decode_into(text, &mut decoded) {
        Some(TAG_LENGTH) => decoded.first_chunk().copied(),
        Some(_) | None => None,
    }
}

/// The values of the listed query parameters, one after the other. A name that occurs more than once adds nothing, as in the
/// clients (Python lists it, Go does not). `None` when the list is not sorted, has a name twice, or has one that the query has not.
fn signed_values(names: &str, query: &str) -> Option<Vec<u8>> {
    let names: Vec<&str> = names.split(';').collect();
    if !names.is_sorted_by(|a, b| a < b) {
        return None;
    }
    let mut values = Vec::new();
    for name in names {
        let mut occurrences = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .filter(|(key, _)| form_decoded(key) == name.as_bytes());
        let (_, value) = occurrences.next()?;
        if occurrences.next().is_none() {
            values.extend(form_decoded(value));
        }
    }
    Some(values)
}

/// The bytes behind `%41` and `+`; an incomplete escape stands for itself.
fn form_decoded(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'+', _) => decoded.push(b' '),
            (b'%', [high, low, behind @ ..]) => match (hex_digit(*high), hex_digit(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    rest = behind;
                }
                (None, _) | (_, None) => decoded.push(b'%'),
            },
            (byte, _) => decoded.push(*byte),
        }
    }
    decoded
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::{Hmac, KeyInit, Mac};
    use serde_json::Value;
    use sha2::Sha256;
    use std::path::Path;

    /// One request of a vector file, whichever of the two forms it has.
    struct Vector {
        name: String,
        secret: String,
        method: String,
        path: String,
        query: Option<String>,
        body: Vec<u8>,
        message: Option<String>,
        authorization: String,
        expires: i64,
    }

    fn vectors() -> Vec<Vector> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/exo2");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut found = Vec::new();
        for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
            let set: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            let cases = set.get("vectors").or(set.get("cases")).unwrap().as_array().unwrap();
            assert!(!cases.is_empty(), "{}", file.display());
            found.extend(cases.iter().map(|case| vector(&set, case)));
        }
        found
    }

    fn vector(set: &Value, case: &Value) -> Vector {
        let text = |value: &Value, member: &str| value[member].as_str().map(String::from);
        // One form has the query by itself, the other within a URL. `path` is what the client put on the wire: it undoes escapes
        // that a URL does not need.
        let url = text(case, "url").unwrap_or_default();
        let query = url.split_once('?').map(|(_, query)| query.to_owned()).or(text(case, "query"));
        Vector {
            name: text(case, "name").unwrap(),
            secret: text(set, "secret").unwrap(),
            method: text(case, "method").unwrap(),
            path: text(case, "path").unwrap(),
            query: query.filter(|query| !query.is_empty()),
            body: match text(case, "body_hex") {
                Some(digits) => hex::decode(digits).unwrap(),
                None => text(case, "body").unwrap().into_bytes(),
            },
            message: text(case, "message"),
            authorization: text(case, "authorization").unwrap(),
            expires: set["expires"].as_i64().unwrap(),
        }
    }

    fn verifies(vector: &Vector, body: &[u8]) -> bool {
        let authorization = Authorization::parse(vector.authorization.as_bytes()).unwrap();
        let message = authorization.message(&vector.method, &vector.path, vector.query.as_deref(), body).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(vector.secret.as_bytes()).unwrap();
        message.parts().iter().for_each(|part| mac.update(part));
        mac.verify_slice(authorization.tag()).is_ok()
    }

    #[test]
    fn every_vector_verifies_and_no_other_body_does() {
        let vectors = vectors();
        assert!(vectors.len() >= 22, "{} vectors", vectors.len());
        for vector in &vectors {
            assert!(verifies(vector, &vector.body), "{}", vector.name);
            assert!(!verifies(vector, &[&vector.body[..], b" "].concat()), "{} with a longer body", vector.name);
            let authorization = Authorization::parse(vector.authorization.as_bytes()).unwrap();
            assert_eq!(authorization.expires_at, vector.expires);
            if let Some(expected) = &vector.message {
                let query = vector.query.as_deref();
                let message = authorization.message(&vector.method, &vector.path, query, &vector.body).unwrap();
                assert_eq!(message.parts().concat(), expected.as_bytes(), "{}", vector.name);
            }
        }
    }

    #[test]
    fn the_collision_pairs_all_but_one_need_a_query() {
        // Three pairs can be told apart only because a query is refused; the fourth differs in the host, which is not signed.
        let collisions: Vec<_> = vectors().into_iter().filter(|vector| vector.name.starts_with("collision")).collect();
        assert_eq!(collisions.len(), 8);
        let without_query: Vec<_> = collisions.iter().filter(|v| v.query.is_none()).map(|v| v.name.as_str()).collect();
        assert_eq!(without_query, ["collision B2", "collision D1", "collision D2"]);
    }

    const TAG: &str = "qUr7mtRWz5R48V5HdU1rfSGKYy+ew+Dv2bGObA3m6OQ=";

    #[test]
    fn only_the_clients_spelling_is_understood() {
        let parse = |value: &str| Authorization::parse(value.as_bytes()).is_some();
        assert!(parse(&format!("EXO2-HMAC-SHA256 credential=E,expires=5,signature={TAG}")));
        assert!(parse(&format!("EXO2-HMAC-SHA256 credential=E,signed-query-args=a,expires=5,signature={TAG}")));
        for bad in [
            String::new(),
            "EXO2-HMAC-SHA256".into(),
            format!("exo2-hmac-sha256 credential=E,expires=5,signature={TAG}"),
            format!("Exoscale-HMAC-SHA256 credential=E,expires=5,signature={TAG}"),
            format!("EXO2-HMAC-SHA256  credential=E,expires=5,signature={TAG}"),
            format!("EXO2-HMAC-SHA256 credential=E, expires=5,signature={TAG}"),
            format!("EXO2-HMAC-SHA256 expires=5,credential=E,signature={TAG}"),
            format!("EXO2-HMAC-SHA256 credential=E,credential=E,expires=5,signature={TAG}"),
            format!("EXO2-HMAC-SHA256 credential=E,expires=5,expires=5,signature={TAG}"),
            format!("EXO2-HMAC-SHA256 credential=E,expires=5,signature={TAG},signature={TAG}"),
            format!("EXO2-HMAC-SHA256 credential=E,expires=5,signature={TAG},x=1"),
            format!("EXO2-HMAC-SHA256 credential=E,expires=5,signature={TAG},"),
            format!("EXO2-HMAC-SHA256 credential=,expires=5,signature={TAG}"),
            format!("EXO2-HMAC-SHA256 credential=E E,expires=5,signature={TAG}"),
            "EXO2-HMAC-SHA256 credential=E,expires=5".into(),
            format!("EXO2-HMAC-SHA256 credential=E,signature={TAG}"),
        ] {
            assert!(!parse(&bad), "{bad}");
        }
        assert!(Authorization::parse(b"EXO2-HMAC-SHA256 credential=\xff,expires=5,signature=").is_none());
    }

    #[test]
    fn only_canonical_seconds_are_a_time() {
        for good in ["0", "5", "1893456000", "9223372036854775807"] {
            assert_eq!(canonical_seconds(good.as_bytes()).map(|seconds| seconds.to_string()).as_deref(), Some(good));
        }
        for bad in
            ["", "-1", "+5", " 5", "5 ", "05", "00", "1e9", "0x5", "5.0", "9223372036854775808", "18446744073709551616"]
        {
            assert_eq!(canonical_seconds(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_tag_has_32_bytes_and_one_spelling() {
        assert!(decode_tag(TAG.as_bytes()).is_some());
        let trailing_bits = TAG.replace("OQ=", "OR=");
        let url_safe = TAG.replace('+', "-");
        for bad in [
            "",
            "AA==",
            "AAAA",
            &TAG[..43],
            &TAG[..40],
            "=",
            &trailing_bits,
            &url_safe,
            &format!(" {TAG}"),
            &format!("{TAG}="),
            &format!("{TAG}{TAG}"),
            &"A".repeat(44),
            &"A".repeat(88),
            &format!("{}\n{}", &TAG[..4], &TAG[4..]),
        ] {
            assert_eq!(decode_tag(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn validity_is_bounded_on_both_sides() {
        let text = format!("EXO2-HMAC-SHA256 credential=E,expires=10000,signature={TAG}");
        let authorization = Authorization::parse(text.as_bytes()).unwrap();
        for (now, expected) in [
            (10_060, Ok(())),
            (10_061, Err(Refusal::Expired)),
            (9_340, Ok(())),
            (9_339, Err(Refusal::TooFarAhead)),
            (i64::MAX, Err(Refusal::Expired)),
            (i64::MIN, Err(Refusal::TooFarAhead)),
        ] {
            assert_eq!(authorization.check_validity(now), expected, "at {now}");
        }
    }

    #[test]
    fn exactly_one_header_is_looked_at() {
        assert_eq!(Authorization::from_field(OnlyField::Absent), Err(Refusal::Missing));
        let value = format!("EXO2-HMAC-SHA256 credential=E,expires=5,signature={TAG}");
        assert_eq!(Authorization::from_field(OnlyField::Once(value.as_bytes())).unwrap().credential(), "E");
        assert_eq!(Authorization::from_field(OnlyField::Once(b"")), Err(Refusal::Malformed));
        assert_eq!(Authorization::from_field(OnlyField::Repeated), Err(Refusal::Repeated));
    }

    #[test]
    fn listed_query_arguments_must_be_there_sorted_and_once() {
        let values = |names, query| signed_values(names, query).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(values("a;b", "b=2&a=1").as_deref(), Some("12"));
        assert_eq!(values("a", "a=1&a=2").as_deref(), Some(""));
        assert_eq!(values("a", "a=x+y%2Bz%zz%4").as_deref(), Some("x y+z%zz%4"));
        for names in ["b;a", "a;a", "c", "", "a;"] {
            assert_eq!(values(names, "b=2&a=1"), None, "{names}");
        }
    }
}
