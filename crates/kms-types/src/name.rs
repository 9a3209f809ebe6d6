//! Names and texts that users choose.

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
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidText;

            fn from_str(text: &str) -> Result<Self, InvalidText> {
                $check(text)?;
                Ok(Self(text.into()))
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
                String::from(&*value.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text! {
    /// The name of a key, unique within an organisation and zone: 1 to 255 characters, none of them a control or
    /// text-direction character, no blank at either end.
    KeyName(Box<str>), check_key_name
}

text! {
    /// A key's description: at most 1024 characters; line breaks and tabs are the only control characters allowed.
    Description(Box<str>), check_description
}

text! {
    /// An organisation as the configuration names it: 1 to 63 of `a-z`, `0-9` and `-`, not starting or ending with `-`.
    /// Clones share the text: few organisations own many keys.
    OrganisationName(Arc<str>), check_slug
}

text! {
    /// A zone, such as `ch-gva-2`: 1 to 63 of `a-z`, `0-9` and `-`, not starting or ending with `-`.
    /// Clones share the text.
    ZoneName(Arc<str>), check_slug
}

impl Default for Description {
    /// The empty description.
    fn default() -> Self {
        Self("".into())
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
