//! Reads a log like `tail`: what matches a filter, and what is added.

use crate::segment::{Line, Segment};
use kms_types::{KeyId, Timestamp};
use serde::Deserialize;
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

/// Which entries are wanted: those that match everything that is given.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Entries about this key, or with it as destination.
    pub key: Option<KeyId>,
    /// Entries with this API key.
    pub credential: Option<String>,
    /// Entries of this operation.
    pub operation: Option<String>,
    /// Entries of this time and later.
    pub since: Option<Timestamp>,
    /// Entries before this time.
    pub until: Option<Timestamp>,
    /// Entries with this result: `ok` or `refused`.
    pub result: Option<String>,
}

/// How far a log was read.
#[derive(Debug)]
pub struct Tail {
    directory: PathBuf,
    filter: Filter,
    /// The file that is being read, and the bytes of it that were.
    place: Option<(u64, u64)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Members<'l> {
    #[serde(borrow)]
    time: Cow<'l, str>,
    #[serde(borrow)]
    operation: Cow<'l, str>,
    #[serde(borrow)]
    result: Cow<'l, str>,
    #[serde(borrow)]
    key: Option<Cow<'l, str>>,
    #[serde(borrow)]
    destination_key: Option<Cow<'l, str>>,
    #[serde(borrow)]
    credential: Option<Cow<'l, str>>,
}

impl Tail {
    /// Begins at the start of the log in `directory`.
    #[must_use]
    pub fn new(directory: &Path, filter: Filter) -> Self {
        Self { directory: directory.to_owned(), filter, place: None }
    }

    /// Gives `show` every whole line, without its line feed, that was added since the last call and matches. Lines are shown
    /// as they are: nothing is verified.
    ///
    /// # Errors
    ///
    /// When the log cannot be read, or `show` fails.
    pub fn read(&mut self, show: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        for segment in Segment::list(&self.directory)? {
            let begin = match self.place {
                Some((first, _)) if segment.first < first => continue,
                Some((first, taken)) if segment.first == first => taken,
                Some(_) | None => 0,
            };
            let mut reader = segment.lines_from(begin)?;
            while let Line::Whole(line) = reader.next()? {
                if let Some(line) = str::from_utf8(line).ok().filter(|line| self.filter.wants(line)) {
                    show(line)?;
                }
            }
            self.place = Some((segment.first, begin + reader.taken));
        }
        Ok(())
    }
}

impl Filter {
    /// Whether `line` matches. A line that is no entry never does.
    #[must_use]
    pub fn wants(&self, line: &str) -> bool {
        let Ok(entry) = serde_json::from_str::<Members<'_>>(line) else { return false };
        let is = |wanted: Option<&str>, found: Option<&str>| wanted.is_none() || wanted == found;
        let key = self.key.map(|key| key.to_string());
        let key = key.as_deref();
        let time = entry.time.parse::<Timestamp>();
        (is(key, entry.key.as_deref()) || is(key, entry.destination_key.as_deref()))
            && is(self.credential.as_deref(), entry.credential.as_deref())
            && is(self.operation.as_deref(), Some(&entry.operation))
            && is(self.result.as_deref(), Some(&entry.result))
            && self.since.is_none_or(|since| time.is_ok_and(|time| time >= since))
            && self.until.is_none_or(|until| time.is_ok_and(|time| time < until))
    }
}
