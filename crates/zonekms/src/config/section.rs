//! Reads one table of a configuration file, and remembers everything that is wrong with it.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Report;
use crate::duration::{parse_duration, show_duration};

/// A table being read: every key asked for is a known one, and [`Section::finish`] refuses the rest.
pub(super) struct Section<'d> {
    path: String,
    table: &'d DeTable<'d>,
    place: Range<usize>,
    known: Vec<&'static str>,
}

/// A text that was found in the file, with the name and place to report its faults under.
pub(super) struct Text<'d> {
    path: String,
    place: Range<usize>,
    value: &'d str,
}

impl<'d> Section<'d> {
    /// The whole document.
    pub(super) fn root(document: &'d Spanned<DeTable<'d>>) -> Self {
        Self { path: String::new(), table: document.get_ref(), place: 0..0, known: Vec::new() }
    }

    /// Where the section begins: for faults of the section as a whole.
    pub(super) fn place(&self) -> Option<Range<usize>> {
        Some(self.place.clone())
    }

    /// The sub-table `key`, if it is there.
    pub(super) fn optional_section(&mut self, key: &'static str, report: &mut Report) -> Option<Section<'d>> {
        let value = self.find(key)?;
        let path = self.path_of(key);
        as_section(path, value, report)
    }

    /// The sub-table `key`; a fault when it is missing.
    pub(super) fn section(&mut self, key: &'static str, report: &mut Report) -> Option<Section<'d>> {
        if self.find(key).is_none() {
            self.missing(&format!("[{}]", self.path_of(key)), report);
        }
        self.optional_section(key, report)
    }

    /// The tables of the array `key`, none when it is missing.
    pub(super) fn sections(&mut self, key: &'static str, report: &mut Report) -> Vec<Section<'d>> {
        let Some(value) = self.find(key) else { return Vec::new() };
        let path = self.path_of(key);
        let DeValue::Array(items) = value.get_ref() else {
            report.fault(Some(value.span()), format!("{path}: must be an array of tables ([[{path}]])"));
            return Vec::new();
        };
        items.iter().filter_map(|item| as_section(path.clone(), item, report)).collect()
    }

    /// The text `key`, if it is there.
    pub(super) fn optional_text(&mut self, key: &'static str, report: &mut Report) -> Option<Text<'d>> {
        let value = self.find(key)?;
        let path = self.path_of(key);
        as_text(path, value, report)
    }

    /// The text `key`; a fault when it is missing.
    pub(super) fn text(&mut self, key: &'static str, report: &mut Report) -> Option<Text<'d>> {
        if self.find(key).is_none() {
            self.missing(key, report);
        }
        self.optional_text(key, report)
    }

    /// The texts of the array `key`, if it is there.
    pub(super) fn optional_texts(&mut self, key: &'static str, report: &mut Report) -> Option<Vec<Text<'d>>> {
        let value = self.find(key)?;
        let path = self.path_of(key);
        let DeValue::Array(items) = value.get_ref() else {
            wrong_type(&path, "an array of strings", value, report);
            return None;
        };
        Some(items.iter().filter_map(|item| as_text(path.clone(), item, report)).collect())
    }

    /// The boolean `key`, or `absent` when it is missing.
    pub(super) fn boolean(&mut self, key: &'static str, absent: bool, report: &mut Report) -> bool {
        let Some(value) = self.find(key) else { return absent };
        let DeValue::Boolean(boolean) = value.get_ref() else {
            wrong_type(&self.path_of(key), "true or false", value, report);
            return absent;
        };
        *boolean
    }

    /// Puts the whole number `key` into `target`, if it is there and within `limits`.
    pub(super) fn number<N>(
        &mut self,
        key: &'static str,
        limits: RangeInclusive<N>,
        target: &mut N,
        report: &mut Report,
    ) where
        N: TryFrom<u64> + PartialOrd + Display,
    {
        let Some(value) = self.find(key) else { return };
        let path = self.path_of(key);
        let DeValue::Integer(integer) = value.get_ref() else {
            wrong_type(&path, "a whole number", value, report);
            return;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok().and_then(|it| N::try_from(it).ok());
        match number {
            Some(number) if limits.contains(&number) => *target = number,
            Some(_) | None => {
                let message = format!("{path}: must be between {} and {}", limits.start(), limits.end());
                report.fault(Some(value.span()), message);
            }
        }
    }

    /// Puts the duration `key` (a text such as `"30s"`) into `target`, if it is there and within `limits`.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        limits: RangeInclusive<Duration>,
        target: &mut Duration,
        report: &mut Report,
    ) {
        let Some(text) = self.optional_text(key, report) else { return };
        match parse_duration(text.as_str()) {
            Ok(duration) if limits.contains(&duration) => *target = duration,
            Ok(_) => {
                let (least, most) = (show_duration(*limits.start()), show_duration(*limits.end()));
                text.fault(report, format!("must be between \"{least}\" and \"{most}\""));
            }
            Err(error) => text.fault(report, error),
        }
    }

    /// Exactly one of several texts, with the key it was found under; a fault when none or more than one is there.
    pub(super) fn one_of(&mut self, keys: &[&'static str], report: &mut Report) -> Option<(&'static str, Text<'d>)> {
        let key = self.only_one_of(keys, report)?;
        self.optional_text(key, report).map(|found| (key, found))
    }

    /// Which of several keys is there; a fault when none or more than one is.
    pub(super) fn only_one_of(&mut self, keys: &[&'static str], report: &mut Report) -> Option<&'static str> {
        let given: Vec<&'static str> = keys.iter().copied().filter(|key| self.find(key).is_some()).collect();
        match given.as_slice() {
            [key] => Some(*key),
            [] => {
                self.missing(&format!("one of {}", list(keys)), report);
                None
            }
            several => {
                let message = format!("{}give only one of {}", self.prefix(), list(several));
                report.fault(self.place(), message);
                None
            }
        }
    }

    /// Refuses every key that nobody asked for.
    pub(super) fn finish(self, report: &mut Report) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let nearest = self
                .known
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, name), known))
                .filter(|(distance, known)| *distance <= known.len().max(3) / 3)
                .min_by_key(|(distance, _)| *distance);
            let advice = match nearest {
                Some((_, known)) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", list(&self.known)),
            };
            report.fault(Some(key.span()), format!("{}unknown key `{}`; {advice}", self.prefix(), name.escape_debug()));
        }
    }

    fn find(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table.get(key)
    }

    /// Notes that the section lacks something.
    pub(super) fn missing(&self, what: &str, report: &mut Report) {
        let place = if self.path.is_empty() { None } else { self.place() };
        report.fault(place, format!("{}{what} is missing", self.prefix()));
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn prefix(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) }
    }
}

impl<'d> Text<'d> {
    pub(super) fn fault(&self, report: &mut Report, message: impl Display) {
        report.fault(Some(self.place.clone()), format!("{}: {message}", self.path));
    }

    /// As [`Text::fault`], where the text is right, but what it refers to is not there or not fit.
    pub(super) fn fault_elsewhere(&self, report: &mut Report, message: impl Display) {
        report.fault_elsewhere(Some(self.place.clone()), format!("{}: {message}", self.path));
    }

    pub(super) fn warning(&self, report: &mut Report, message: impl Display) {
        report.warning(Some(self.place.clone()), format!("{}: {message}", self.path));
    }

    pub(super) fn as_str(&self) -> &'d str {
        self.value
    }

    /// The text as a value of another type; its error becomes the fault.
    pub(super) fn parse<T>(&self, report: &mut Report) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        match self.value.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(report, error);
                None
            }
        }
    }

    /// The text as a path, relative ones from `base`.
    pub(super) fn path(&self, base: &Path, report: &mut Report) -> Option<PathBuf> {
        if self.value.is_empty() || self.value.contains('\0') {
            self.fault(report, "must be a path");
            return None;
        }
        Some(base.join(self.value))
    }
}

fn as_section<'d>(path: String, value: &'d Spanned<DeValue<'d>>, report: &mut Report) -> Option<Section<'d>> {
    let DeValue::Table(table) = value.get_ref() else {
        wrong_type(&path, "a table", value, report);
        return None;
    };
    Some(Section { path, table, place: value.span(), known: Vec::new() })
}

fn as_text<'d>(path: String, value: &'d Spanned<DeValue<'d>>, report: &mut Report) -> Option<Text<'d>> {
    let DeValue::String(text) = value.get_ref() else {
        wrong_type(&path, "a string", value, report);
        return None;
    };
    Some(Text { path, place: value.span(), value: text })
}

fn wrong_type(path: &str, wanted: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) {
    let given = match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    report.fault(Some(value.span()), format!("{path}: must be {wanted}, not {given}"));
}

fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
