//! The form that nearly every body of a crypto call has: one flat object of strings without escapes, read in one pass.
//!
//! It is a part of what [`fields`](crate::fields) reads, which finds the words for everything else.

use memchr::memchr;

/// The strings of the members `names` of `body`, each borrowed without its quotes.
///
/// `None` unless `body` is a JSON object of members with these names, none of them twice, whose values are strings. A value is
/// whatever stands before the next quote: it is JSON only if none of its characters need an escape, which the caller has to check, as decoding
/// base64 does.
pub(crate) fn string_members<'a, const N: usize>(body: &'a [u8], names: [&str; N]) -> Option<[Option<&'a [u8]>; N]> {
    let mut values = [None; N];
    let mut rest = after_blanks(body).strip_prefix(b"{")?;
    loop {
        let (name, after_name) = string(rest)?;
        let (value, after_value) = string(after_blanks(after_name).strip_prefix(b":")?)?;
        let place = names.iter().position(|known| known.as_bytes() == name)?;
        if values[place].replace(value).is_some() {
            return None;
        }
        match after_blanks(after_value).split_first()? {
            (b',', more) => rest = more,
            (b'}', end) => return after_blanks(end).is_empty().then_some(values),
            _ => return None,
        }
    }
}

/// A string after blanks, up to the next quote, and what follows it.
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = after_blanks(text).strip_prefix(b"\"")?;
    let (content, rest) = text.split_at_checked(memchr(b'"', text)?)?;
    Some((content, rest.strip_prefix(b"\"")?))
}

fn after_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(body: &str) -> Option<[Option<&[u8]>; 2]> {
        string_members(body.as_bytes(), ["a", "b"])
    }

    #[test]
    fn members_come_in_any_order_and_number() {
        assert_eq!(members(r#"{"a":"1"}"#), Some([Some(&b"1"[..]), None]));
        assert_eq!(members(r#" { "b" : "2" , "a" : "" } "#), Some([Some(&b""[..]), Some(&b"2"[..])]));
    }

    #[test]
    fn everything_else_is_left_to_the_careful_reader() {
        for body in [
            "",
            "{}",
            "{",
            "[]",
            r#"{"a":"1""#,
            r#"{"a":"1",}"#,
            r#"{"a":"1"}}"#,
            r#"{"a":"1"} x"#,
            r#"{"a":"1","a":"1"}"#,
            r#"{"a":"1","c":"1"}"#,
            r#"{"a":1}"#,
            r#"{"a":null}"#,
            r#"{"a" "1"}"#,
            r#"{"a":"1" "b":"2"}"#,
            r#"{"\u0061":"1"}"#,
            r#"{"a":"1\""}"#,
            "{\"a\":\u{b}\"1\"}",
        ] {
            assert_eq!(members(body), None, "{body}");
        }
    }
}
