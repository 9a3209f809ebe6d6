//! Names and texts that users choose.

use smol_str::SmolStr;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A text that breaks the rules of its kind; the message says which rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidText(&'static str);

macro_rules! text {
    ($(#[$doc:meta])* $name:ident($held:ty), $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name($held);

        impl $name {
            /// The text as the user gave it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.text()
            }
        }

        impl FromStr for $name {
            type Err = InvalidText;

            fn from_str(text: &str) -> Result<Self, InvalidText> {
                $check(text)?;
                Ok(Self(Held::new(text)))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidText;

            fn try_from(text: String) -> Result<Self, InvalidText> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                String::from(value.as_str())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

text! {
    /// The name of a key, unique within an organisation and zone: 1 to 255 characters, none of them a control or
    /// text-direction character, no blank at either end. One of at most 23 bytes takes no memory beside the value itself.
    KeyName(SmolStr), check_key_name
}

text! {
    /// A key's description: at most 1024 characters; line breaks and tabs are the only control characters allowed.
    #[derive(Default)]
    Description(Rare), check_description
}

text! {
    /// An organisation as the configuration names it: 1 to 63 of `a-z`, `0-9` and `-`, not starting or ending with `-`.
    /// Clones share the text: few organisations own many keys.
    OrganisationName(Shared), check_slug
}

text! {
    /// A zone, such as `ch-gva-2`: 1 to 63 of `a-z`, `0-9` and `-`, not starting or ending with `-`.
    /// Clones share the text.
    ZoneName(Shared), check_slug
}

/// How a text is held. Every key in memory has one of each, so their size counts more than the time to read one.
trait Held {
    fn new(text: &str) -> Self;

    fn text(&self) -> &str;
}

/// A text that many values share, behind one pointer of 8 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Shared(Arc<Box<str>>);

/// A text that is empty as a rule: 8 bytes, and more only when there is one.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Rare(
    /// Never empty, so that equal texts are equal values.
    Option<Box<Box<str>>>,
);

impl Held for SmolStr {
    fn new(text: &str) -> Self {
        Self::new(text)
    }

    fn text(&self) -> &str {
        self
    }
}

impl Held for Shared {
    fn new(text: &str) -> Self {
        Self(Arc::new(text.into()))
    }

    fn text(&self) -> &str {
        &self.0
    }
}

impl Held for Rare {
    fn new(text: &str) -> Self {
        Self((!text.is_empty()).then(|| Box::new(text.into())))
    }

    fn text(&self) -> &str {
        self.0.as_deref().map_or("", |text| text)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

impl fmt::Debug for Rare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

fn check_key_name(text: &str) -> Result<(), InvalidText> {
    if text.is_empty() {
        return Err(InvalidText("must not be empty"));
    }
    if text.chars().count() > 255 {
        return Err(InvalidText("must be at most 255 characters"));
    }
    if text.chars().any(|c| c.is_control() || changes_direction(c)) {
        return Err(InvalidText("must not contain control or text-direction characters"));
    }
    if text.trim() != text {
        return Err(InvalidText("must not begin or end with a blank"));
    }
    Ok(())
}

fn check_description(text: &str) -> Result<(), InvalidText> {
    if text.chars().count() > 1024 {
        return Err(InvalidText("must be at most 1024 characters"));
    }
    let allowed = |c: char| matches!(c, '\n' | '\r' | '\t');
    if text.chars().any(|c| (c.is_control() && !allowed(c)) || changes_direction(c)) {
        return Err(InvalidText("must not contain control or text-direction characters"));
    }
    Ok(())
}

fn check_slug(text: &str) -> Result<(), InvalidText> {
    if text.is_empty() || text.len() > 63 {
        return Err(InvalidText("must be 1 to 63 characters"));
    }
    if !text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
        return Err(InvalidText("must consist of a-z, 0-9 and -"));
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(InvalidText("must not begin or end with -"));
    }
    Ok(())
}

/// Unicode's explicit direction controls and line separators: they make one name look like another in a terminal or a log.
fn changes_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key in memory has one of each.
    #[test]
    fn texts_are_small() {
        let sizes =
            [size_of::<KeyName>(), size_of::<Description>(), size_of::<OrganisationName>(), size_of::<ZoneName>()];
        assert_eq!(sizes, [24, 8, 8, 8]);
    }

    #[test]
    fn a_text_is_what_was_given_however_it_is_held() {
        for text in ["x", &"n".repeat(23), &"n".repeat(24), &"é".repeat(255)] {
            let name: KeyName = text.parse().unwrap();
            assert_eq!((name.as_str(), name.to_string(), String::from(name.clone())), (text, text.into(), text.into()));
        }
        let [none, some]: [Description; 2] = ["", "some"].map(|text| text.parse().unwrap());
        assert_eq!((none.as_str(), some.as_str()), ("", "some"));
        assert_eq!(none, Description::default());
        assert!(none < some);
        assert_eq!(format!("{none:?} {some:?}"), r#"Description("") Description("some")"#);
    }

    #[test]
    fn key_names() {
        for good in ["k1", "clé-ключ", "a b", "\"}", &"x".repeat(255), &"é".repeat(255)] {
            assert!(good.parse::<KeyName>().is_ok(), "{good}");
        }
        for bad in ["", " k", "k ", "a\nb", "a\0b", "a\u{1b}[31m", "a\u{202e}b", &"x".repeat(256)] {
            assert!(bad.parse::<KeyName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn descriptions() {
        for good in ["", "two\nlines\tand a tab", &"x".repeat(1024)] {
            assert!(good.parse::<Description>().is_ok(), "{good}");
        }
        for bad in ["\0", "\u{1b}[2J", "\u{2028}", &"x".repeat(1025)] {
            assert!(bad.parse::<Description>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn zones_and_organisations() {
        for good in ["ch-gva-2", "a", &"z".repeat(63)] {
            assert!(good.parse::<ZoneName>().is_ok(), "{good}");
        }
        for bad in ["", "CH-GVA-2", "../etc", "a/b", "-a", "a-", &"z".repeat(64)] {
            assert!(bad.parse::<OrganisationName>().is_err(), "{bad}");
        }
    }
}
