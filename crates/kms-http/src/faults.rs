//! What is wrong with the members of a request body, and where.

use serde::Serialize;
use std::borrow::Cow;

/// The most faults that one answer lists. A body can hold thousands of unknown members; the answer stays small.
const LISTED_AT_MOST: usize = 64;

/// The most characters of a client's own member name that an answer repeats.
const NAME_AT_MOST: usize = 64;

/// What is wrong, worded to be read after the member's name: "must be a string".
pub(crate) type Detail = Cow<'static, str>;

/// The faults of one body, in the order in which they were found.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    listed: Vec<FieldFault>,
    count: usize,
}

/// One fault, as the problem document shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FieldFault {
    /// RFC 9535 normalised path: `$['source']['key']`.
    location: String,
    /// Names joined by dots: `source.key`.
    path: String,
    /// RFC 6901 pointer: `/source/key`.
    pointer: String,
    detail: Detail,
}

impl Faults {
    /// Notes a fault of the member `name` of the body, or of the object that is its member `within`.
    pub(crate) fn note(&mut self, within: Option<&str>, name: &str, detail: impl Into<Detail>) {
        self.count += 1;
        if self.listed.len() < LISTED_AT_MOST {
            self.listed.push(FieldFault::at(within, &shortened(name), detail.into()));
        }
    }

    /// How many were noted, listed or not.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// The first 64 of them.
    pub(crate) fn into_listed(self) -> Vec<FieldFault> {
        self.listed
    }
}

impl FieldFault {
    fn at(within: Option<&str>, name: &str, detail: Detail) -> Self {
        let mut fault = Self { location: "$".to_owned(), path: String::new(), pointer: String::new(), detail };
        for (depth, segment) in within.into_iter().chain([name]).enumerate() {
            fault.location += &format!("['{}']", quoted(segment));
            fault.path += if depth > 0 { "." } else { "" };
            fault.path += segment;
            fault.pointer += &format!("/{}", segment.replace('~', "~0").replace('/', "~1"));
        }
        fault
    }
}

fn shortened(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(NAME_AT_MOST) {
        None => Cow::Borrowed(name),
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
    }
}

/// A name between single quotes, RFC 9535 section 2.7.
fn quoted(name: &str) -> String {
    name.chars().fold(String::with_capacity(name.len()), |mut text, character| {
        match character {
            '\'' | '\\' => text.extend(['\\', character]),
            '\u{8}' => text += "\\b",
            '\u{c}' => text += "\\f",
            '\n' => text += "\\n",
            '\r' => text += "\\r",
            '\t' => text += "\\t",
            '\0'..='\u{1f}' => text += &format!("\\u{:04x}", u32::from(character)),
            _ => text.push(character),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_its_place_three_times() {
        let mut faults = Faults::default();
        faults.note(None, "delay-days", "is required");
        faults.note(Some("source"), "a'b/c~d\n", "is not known here");
        let text = serde_json::to_string(&faults.into_listed()).unwrap();
        let expected = concat!(
            r#"[{"location":"$['delay-days']","path":"delay-days","pointer":"/delay-days","detail":"is required"},"#,
            r#"{"location":"$['source']['a\\'b/c~d\\n']","path":"source.a'b/c~d\n","pointer":"/source/a'b~1c~0d\n","#,
            r#""detail":"is not known here"}]"#
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn an_answer_stays_small_whatever_the_body() {
        let mut faults = Faults::default();
        for _ in 0..20_000 {
            faults.note(None, &"é".repeat(10_000), "is not known here");
        }
        assert_eq!(faults.count(), 20_000);
        let listed = faults.into_listed();
        assert_eq!(listed.len(), LISTED_AT_MOST);
        assert_eq!(listed[0].path, format!("{}…", "é".repeat(NAME_AT_MOST)));
    }
}
