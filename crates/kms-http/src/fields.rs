//! The members of a request body, read strictly and in place.
//!
//! A body is a JSON object whose members are all known and given once: a misspelt `encryption-context` must not encrypt without
//! one. Values are borrowed from the body, so that a plaintext is not copied before it is decoded. All faults of a body
//! are noted, not only the first.

use crate::base64_text;
use crate::faults::{Detail, Faults};
use kms_crypto::SecretBytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// Why a body has no members to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoObject {
    NotUtf8,
    NotJson,
    NotAnObject,
}

/// The known members of one object. A value of `None` from its methods means that a fault was noted.
pub(crate) struct Fields<'a> {
    within: Option<&'static str>,
    members: Vec<(&'static str, Member<'a>)>,
}

enum Member<'a> {
    Absent,
    Once(&'a RawValue),
    /// Noted already; neither value counts.
    Repeated,
}

impl<'a> Fields<'a> {
    /// The members of a body that may have those `known`. An empty body counts as `{}`. Unknown and repeated members are noted.
    pub(crate) fn of_body(body: &'a [u8], known: &[&'static str], faults: &mut Faults) -> Result<Self, NoObject> {
        let text = str::from_utf8(body).map_err(|_| NoObject::NotUtf8)?;
        Self::of_object(if text.is_empty() { "{}" } else { text }, None, known, faults)
    }

    fn of_object(
        text: &'a str,
        within: Option<&'static str>,
        known: &[&'static str],
        faults: &mut Faults,
    ) -> Result<Self, NoObject> {
        let given = match serde_json::from_str::<Members<'a>>(text) {
            Ok(Members(given)) => given,
            Err(_) if serde_json::from_str::<IgnoredAny>(text).is_ok() && !begins_as_object(text) => {
                return Err(NoObject::NotAnObject);
            }
            Err(_) => return Err(NoObject::NotJson),
        };
        let mut members: Vec<_> = known.iter().map(|name| (*name, Member::Absent)).collect();
        for (name, value) in given {
            match members.iter_mut().find(|(known, _)| *known == name) {
                None => faults.note(within, &name, "is not known here"),
                Some((_, member)) => match member {
                    Member::Absent => *member = Member::Once(value),
                    Member::Once(_) | Member::Repeated => {
                        *member = Member::Repeated;
                        faults.note(within, &name, "is given twice");
                    }
                },
            }
        }
        Ok(Self { within, members })
    }

    /// The value of a member that must be there.
    pub(crate) fn required<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&'a RawValue) -> Result<T, Detail>,
        faults: &mut Faults,
    ) -> Option<T> {
        match self.member(name) {
            Member::Absent => self.note(name, "is required", faults),
            Member::Once(value) if value.get() == "null" => self.note(name, "must not be null", faults),
            Member::Once(value) => self.noted(name, read(value), faults),
            Member::Repeated => None,
        }
    }

    /// The value of a member that may be absent or null, which are the same.
    pub(crate) fn optional<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&'a RawValue) -> Result<T, Detail>,
        faults: &mut Faults,
    ) -> Option<Option<T>> {
        match self.member(name) {
            Member::Absent => Some(None),
            Member::Once(value) if value.get() == "null" => Some(None),
            Member::Once(value) => self.noted(name, read(value), faults).map(Some),
            Member::Repeated => None,
        }
    }

    /// The members of a member that must be there and an object, read by `read`.
    pub(crate) fn object<T>(
        &self,
        name: &'static str,
        known: &[&'static str],
        read: impl FnOnce(&Fields<'a>, &mut Faults) -> Option<T>,
        faults: &mut Faults,
    ) -> Option<T> {
        let text = self.required(name, |value| Ok(value.get()), faults)?;
        match Self::of_object(text, Some(name), known, faults) {
            Ok(fields) => read(&fields, faults),
            Err(NoObject::NotAnObject | NoObject::NotUtf8) => self.note(name, "must be an object", faults),
            // Of the ways in which a part of a JSON text is none, one is left: a member's name with half a surrogate pair.
            Err(NoObject::NotJson) => self.note(name, "must have names of valid Unicode", faults),
        }
    }

    /// Notes a fault of the member `name` that only its value together with something else shows.
    pub(crate) fn note<T>(&self, name: &'static str, detail: impl Into<Detail>, faults: &mut Faults) -> Option<T> {
        faults.note(self.within, name, detail);
        None
    }

    fn noted<T>(&self, name: &'static str, read: Result<T, Detail>, faults: &mut Faults) -> Option<T> {
        read.map_or_else(|detail| self.note(name, detail, faults), Some)
    }

    fn member(&self, name: &str) -> &Member<'a> {
        self.members.iter().find(|(known, _)| *known == name).map_or(&Member::Absent, |(_, member)| member)
    }
}

/// A text whose rules its type knows.
pub(crate) fn parsed<T: FromStr<Err: fmt::Display>>(value: &RawValue) -> Result<T, Detail> {
    text(value)?.parse().map_err(|error: T::Err| error.to_string().into())
}

/// The one word that the API has for this member.
pub(crate) fn word(wanted: &'static str) -> impl FnOnce(&RawValue) -> Result<(), Detail> {
    move |value| {
        if text(value)? == wanted {
            Ok(())
        } else {
            Err(format!("does not have a value in the enumeration [\"{wanted}\"]").into())
        }
    }
}

/// The id that stands in the path already.
pub(crate) fn path_id(expected: kms_types::KeyId) -> impl FnOnce(&RawValue) -> Result<(), Detail> {
    move |value| match text(value)?.parse() {
        Ok(id) if expected == id => Ok(()),
        Ok(_) | Err(_) => Err("must equal the id in the path".into()),
    }
}

/// A boolean.
pub(crate) fn boolean(value: &RawValue) -> Result<bool, Detail> {
    match value.get() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be a boolean".into()),
    }
}

/// A whole number within the limits of its type. `7.0`, `7e0` and `-0` are not whole numbers as the API writes them.
pub(crate) fn number<T: TryFrom<u32, Error: fmt::Display>>(value: &RawValue) -> Result<T, Detail> {
    let text = value.get();
    let digits = text.strip_prefix('-').unwrap_or(text);
    if text == "-0" || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("must be a whole number".into());
    }
    // The types' limits lie within 1 and 2560: what does not fit is as far outside as the end of `u32` on its side.
    let nearest = text.parse::<u32>().unwrap_or(if text.starts_with('-') { 0 } else { u32::MAX });
    T::try_from(nearest).map_err(|error| error.to_string().into())
}

/// At most `limit` bytes in base64, decoded into memory that is wiped.
pub(crate) fn bytes(limit: usize) -> impl FnOnce(&RawValue) -> Result<SecretBytes, Detail> {
    move |value| {
        let quoted = string_content(value).ok_or("must be a string")?;
        let decoded = match quoted.contains('\\') {
            false => base64_text::decode(quoted.as_bytes()),
            true => unescaped(quoted).and_then(|text| base64_text::decode(&text)),
        };
        let decoded = decoded.ok_or("must be standard base64 with padding")?;
        if decoded.len() > limit {
            return Err(format!("must be at most {limit} bytes").into());
        }
        Ok(decoded)
    }
}

fn text(value: &RawValue) -> Result<Cow<'_, str>, Detail> {
    let quoted = string_content(value).ok_or("must be a string")?;
    if quoted.contains('\\') {
        // What is left to go wrong in an escaped string is half a surrogate pair.
        serde_json::from_str(value.get()).map(Cow::Owned).map_err(|_| "must be valid Unicode".into())
    } else {
        Ok(Cow::Borrowed(quoted))
    }
}

/// What is between the quotes of a string, escapes and all.
fn string_content(value: &RawValue) -> Option<&str> {
    value.get().strip_prefix('"')?.strip_suffix('"')
}

/// The characters of an escaped string that can be base64, in memory that is wiped; `None` when one cannot. Encoders that escape
/// every slash (`\/`) or write everything as `\u0041` are understood.
fn unescaped(quoted: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::with_capacity(quoted.len()));
    let mut rest = quoted;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.extend_from_slice(plain.as_bytes());
        if let Some(after) = escape.strip_prefix('/') {
            text.push(b'/');
            rest = after;
        } else {
            let (digits, after) = escape.strip_prefix('u')?.split_at_checked(4)?;
            text.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        }
    }
    text.extend_from_slice(rest.as_bytes());
    Some(text)
}

fn begins_as_object(text: &str) -> bool {
    text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{')
}

/// All members of an object in the order given, repeated ones included.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// A member's name, borrowed unless it is escaped.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_types::{DeletionDelay, KeyName};
    use proptest::prelude::*;

    fn opened<'a>(body: &'a [u8], known: &[&'static str]) -> Result<(Fields<'a>, Faults), NoObject> {
        let mut faults = Faults::default();
        Fields::of_body(body, known, &mut faults).map(|fields| (fields, faults))
    }

    fn shown(faults: Faults) -> String {
        let listed = serde_json::to_value(faults.into_listed()).unwrap();
        let line = |fault: &serde_json::Value| format!("{} {}", fault["path"], fault["detail"]).replace('"', "");
        listed.as_array().unwrap().iter().map(line).collect::<Vec<_>>().join("; ")
    }

    /// The fault of reading `{"m":<value>}` with `read`, or none.
    fn fault<T>(value: &str, read: impl FnOnce(&RawValue) -> Result<T, Detail>) -> String {
        let body = format!("{{\"m\":{value}}}");
        let (fields, mut faults) = opened(body.as_bytes(), &["m"]).unwrap();
        let read = fields.required("m", read, &mut faults);
        assert_eq!(read.is_none(), faults.count() == 1, "{value}");
        shown(faults)
    }

    #[test]
    fn bodies_that_are_no_object() {
        for (body, expected) in [
            (&b"[]"[..], NoObject::NotAnObject),
            (b"[\"YQ==\",null]", NoObject::NotAnObject),
            (b" \"x\" ", NoObject::NotAnObject),
            (b"null", NoObject::NotAnObject),
            (b"7", NoObject::NotAnObject),
            (b" ", NoObject::NotJson),
            (b"{", NoObject::NotJson),
            (b"{}{}", NoObject::NotJson),
            (b"{\"a\":1,}", NoObject::NotJson),
            (b"{'a':1}", NoObject::NotJson),
            (b"{\"a\":01}", NoObject::NotJson),
            (b"{\"a\":NaN}", NoObject::NotJson),
            (b"{\"a\":\"\n\"}", NoObject::NotJson),
            (b"{\"\\ud800\":1}", NoObject::NotJson),
            (b"\xef\xbb\xbf{}", NoObject::NotJson),
            (b"{\"a\":\"\xff\"}", NoObject::NotUtf8),
            (b"\xff\xfe{\0}\0", NoObject::NotUtf8),
        ] {
            assert_eq!(opened(body, &["a"]).err(), Some(expected), "{}", String::from_utf8_lossy(body));
        }
        for body in ["", "{}", " {} ", "{\"a\":1}"] {
            assert!(opened(body.as_bytes(), &["a"]).is_ok(), "{body}");
        }
    }

    #[test]
    fn unknown_and_repeated_members_are_noted_in_order() {
        let (fields, mut faults) = opened(br#"{"x":1,"m":"a","m":"b","x":2,"\u006d":"c"}"#, &["m"]).unwrap();
        assert_eq!(fields.required("m", text, &mut faults), None);
        assert_eq!(shown(faults), "x is not known here; m is given twice; x is not known here; m is given twice");
    }

    #[test]
    fn absent_and_null_are_the_same_for_an_optional_member_only() {
        for (body, required) in [("{}", "m is required"), ("{\"m\":null}", "m must not be null")] {
            let (fields, mut faults) = opened(body.as_bytes(), &["m"]).unwrap();
            assert_eq!(fields.optional("m", text, &mut faults), Some(None));
            assert_eq!(fields.required("m", text, &mut faults), None);
            assert_eq!(shown(faults), required);
        }
    }

    #[test]
    fn numbers() {
        for good in ["7", "30"] {
            assert_eq!(fault(good, number::<DeletionDelay>), "", "{good}");
        }
        for outside in
            ["0", "6", "31", "-7", "4294967303", "9223372036854775808", "-9223372036854775809", &"9".repeat(1000)]
        {
            assert_eq!(fault(outside, number::<DeletionDelay>), "m must be between 7 and 30 days", "{outside}");
        }
        for bad in ["7.0", "7e0", "-0", "1e999", "\"7\"", "true", "[7]", "{}"] {
            assert_eq!(fault(bad, number::<DeletionDelay>), "m must be a whole number", "{bad}");
        }
    }

    #[test]
    fn texts_words_and_booleans() {
        assert_eq!(fault(r#""k1""#, parsed::<KeyName>), "");
        assert_eq!(fault(r#""cl\u00e9 \ud83d\ude00""#, parsed::<KeyName>), "");
        assert_eq!(fault(r#""""#, parsed::<KeyName>), "m must not be empty");
        assert_eq!(
            fault(r#""a\u0000b""#, parsed::<KeyName>),
            "m must not contain control or text-direction characters"
        );
        assert_eq!(fault(r#""\ud800""#, parsed::<KeyName>), "m must be valid Unicode");
        assert_eq!(fault("7", parsed::<KeyName>), "m must be a string");
        assert_eq!(fault(r#""AES-256""#, word("AES-256")), "");
        assert_eq!(fault(r#""AES_256""#, word("AES-256")), r"m does not have a value in the enumeration [\AES-256\]");
        assert_eq!(fault("{}", word("AES-256")), "m must be a string");
        assert_eq!(fault("true", boolean), "");
        assert_eq!(fault("\"true\"", boolean), "m must be a boolean");
        assert_eq!(fault("1", boolean), "m must be a boolean");
    }

    #[test]
    fn base64_is_strict_but_may_be_escaped() {
        let read = |value: &str| {
            let body = format!("{{\"m\":{value}}}");
            let (fields, mut faults) = opened(body.as_bytes(), &["m"]).unwrap();
            fields.required("m", bytes(4), &mut faults).map(|decoded| decoded.expose().to_vec())
        };
        assert_eq!(read(r#""""#), Some(vec![]));
        assert_eq!(read(r#""\/\/+/""#), Some(vec![0xff, 0xff, 0xbf]));
        assert_eq!(read(r#""\u0051\u0051=\u003D""#), Some(vec![0x41]));
        for bad in
            [r#""QQ\n==""#, r#""\u00e9Q==""#, r#""\ud83d\ude00""#, r#""QR==""#, r#""QQ""#, r#""_-8=""#, r#"" QQ==""#]
        {
            assert_eq!(fault(bad, bytes(4)), "m must be standard base64 with padding", "{bad}");
        }
        assert_eq!(fault(r#""AAAAAA==""#, bytes(4)), "");
        assert_eq!(fault(r#""AAAAAAA=""#, bytes(4)), "m must be at most 4 bytes");
        assert_eq!(fault("[]", bytes(4)), "m must be a string");
    }

    #[test]
    fn depth_is_only_a_wrong_type() {
        for depth in [127, 128, 30_000] {
            let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(fault(&deep, boolean), "m must be a boolean");
            assert_eq!(opened(deep.as_bytes(), &[]).err(), Some(NoObject::NotAnObject), "{depth}");
        }
    }

    #[test]
    fn nested_members() {
        let body = br#"{"m":{"x":1,"k":7},"n":[],"o":{"\ud800":1}}"#;
        let (fields, mut faults) = opened(body, &["m", "n", "o"]).unwrap();
        for name in ["m", "n", "o", "p"] {
            fields.object(name, &["k"], |inner, faults| inner.required("k", boolean, faults), &mut faults);
        }
        let expected = "m.x is not known here; m.k must be a boolean; n must be an object; \
                        o must have names of valid Unicode; p is required";
        assert_eq!(shown(faults), expected);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body: Vec<u8>, text in r#"[\{\}\[\]",:\\u0-9a-e.m -]{0,60}"#) {
            for body in [&body[..], text.as_bytes()] {
                if let Ok((fields, mut faults)) = opened(body, &["m"]) {
                    let _ = fields.optional("m", bytes(4), &mut faults);
                    let _ = fields.optional("m", number::<DeletionDelay>, &mut faults);
                    let _ = fields.object("m", &["m"], |inner, faults| inner.optional("m", parsed::<KeyName>, faults), &mut faults);
                }
            }
        }
    }
}
