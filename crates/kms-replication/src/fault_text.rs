//! What went wrong, in words that may come from another zone.

use std::fmt;

/// A short text on a fault, safe to log and to show: at most [`FaultText::MAX_LEN`] bytes, one line, no control or
/// text-direction characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultText(Box<str>);

impl FaultText {
    /// The most bytes of UTF-8 that a text has.
    pub const MAX_LEN: usize = 200;

    /// The text, cut to size, with a replacement character for each one that is not allowed.
    #[must_use]
    pub fn cleaned(text: &str) -> Self {
        let mut kept = String::new();
        for character in text.chars() {
            let shown = if is_allowed(character) { character } else { char::REPLACEMENT_CHARACTER };
            if kept.len() + shown.len_utf8() > Self::MAX_LEN {
                break;
            }
            kept.push(shown);
        }
        Self(kept.into_boxed_str())
    }

    /// The text if it is one, unchanged.
    pub(crate) fn exactly(text: &str) -> Option<Self> {
        (text.len() <= Self::MAX_LEN && text.chars().all(is_allowed)).then(|| Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FaultText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// No control character, no line separator, and none that changes the direction of what follows (Unicode TR 36).
fn is_allowed(character: char) -> bool {
    let changes_lines_or_direction = matches!(
        character,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    !character.is_control() && !changes_lines_or_direction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_cleaned() {
        assert_eq!(FaultText::cleaned("disk full").as_str(), "disk full");
        assert_eq!(FaultText::cleaned("a\nb\u{202e}c\u{7}").as_str(), "a\u{fffd}b\u{fffd}c\u{fffd}");
        let long = FaultText::cleaned(&"é".repeat(1000));
        assert_eq!(long.as_str().len(), 200);
        assert!(FaultText::cleaned(&format!("a{}", "é".repeat(1000))).as_str().len() == 199, "cut between characters");
    }

    #[test]
    fn only_a_clean_text_is_taken_as_it_is() {
        for text in ["", "disk full", "ключ"] {
            assert_eq!(FaultText::exactly(text).unwrap().as_str(), text);
        }
        for text in ["two\nlines", "\u{202e}", &"x".repeat(201)] {
            assert_eq!(FaultText::exactly(text), None, "{text:?}");
        }
    }
}
