//! Everything that is wrong with a configuration file, each fault with its place.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The faults and warnings found in one configuration file.
///
/// It displays the number of faults, then one line per fault in the order of the file: `<file>:<line>:<column>: <message>`. Lines and columns
/// count from 1, columns in characters. Messages never repeat the value of a secret.
#[derive(Debug)]
pub struct Report {
    file: PathBuf,
    line_starts: Vec<usize>,
    text_len: usize,
    column_marks: Vec<usize>,
    faults: Vec<Finding>,
    warnings: Vec<Finding>,
}

#[derive(Debug)]
struct Finding {
    offset: Option<usize>,
    origin: Origin,
    message: String,
}

/// Where a fault is to be mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// In the configuration file.
    File,
    /// In what the file refers to: another file, a variable, a module.
    Elsewhere,
}

impl Report {
    /// An empty report on `file`, whose content is `text`.
    pub(crate) fn new(file: &Path, text: &str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        // Positions in the middle of a multi-byte character: what a column in characters must not count.
        let column_marks = (0..text.len()).filter(|&at| !text.is_char_boundary(at)).collect();
        Self {
            file: file.to_owned(),
            line_starts,
            text_len: text.len(),
            column_marks,
            faults: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Notes what makes the file unusable. `place` is a range of bytes in the file.
    pub(crate) fn fault(&mut self, place: Option<Range<usize>>, message: impl Into<String>) {
        self.faults.push(Finding::new(place, Origin::File, message));
    }

    /// As [`Report::fault`], where the file itself is right, but what it refers to is not there or not fit.
    pub(crate) fn fault_elsewhere(&mut self, place: Option<Range<usize>>, message: impl Into<String>) {
        self.faults.push(Finding::new(place, Origin::Elsewhere, message));
    }

    /// Makes warnings of the faults after the first `count` and gives their lines, if what the file refers to is all that is
    /// wrong; else changes nothing.
    pub(crate) fn excuse_faults_after(&mut self, count: usize) -> Option<String> {
        let later = self.faults.get(count..)?;
        if later.is_empty() || later.iter().any(|fault| fault.origin == Origin::File) {
            return None;
        }
        let excused = self.faults.split_off(count);
        let lines = self.lines(&excused).join("; ");
        self.warnings.extend(excused);
        Some(lines)
    }

    /// Notes what an operator should know, but can be run with.
    pub(crate) fn warning(&mut self, place: Option<Range<usize>>, message: impl Into<String>) {
        self.warnings.push(Finding::new(place, Origin::File, message));
    }

    /// Whether the file can be used.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// The number of faults.
    #[must_use]
    pub fn fault_count(&self) -> usize {
        self.faults.len()
    }

    /// The warnings, one line each, in the order of the file.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.lines(&self.warnings)
    }

    fn lines(&self, findings: &[Finding]) -> Vec<String> {
        let mut ordered: Vec<&Finding> = findings.iter().collect();
        ordered.sort_by_key(|finding| finding.offset);
        ordered.into_iter().map(|finding| self.line(finding)).collect()
    }

    fn line(&self, finding: &Finding) -> String {
        let file = self.file.display();
        match finding.offset {
            Some(offset) => {
                let (line, column) = self.position(offset.min(self.text_len));
                format!("{file}:{line}:{column}: {}", finding.message)
            }
            None => format!("{file}: {}", finding.message),
        }
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|&start| start <= offset);
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let inside =
            self.column_marks.partition_point(|&at| at < offset) - self.column_marks.partition_point(|&at| at < start);
        (line, offset - start - inside + 1)
    }
}

impl Finding {
    fn new(place: Option<Range<usize>>, origin: Origin, message: impl Into<String>) -> Self {
        Self { offset: place.map(|range| range.start), origin, message: message.into() }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.fault_count();
        write!(f, "{} has {count} {}", self.file.display(), if count == 1 { "fault" } else { "faults" })?;
        self.lines(&self.faults).into_iter().try_for_each(|line| write!(f, "\n{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "a = 1\nclé = \"ü\" # x\n";
        let mut report = Report::new(Path::new("c.toml"), text);
        report.fault(Some(text.find('#').unwrap()..text.len()), "third");
        report.fault(Some(0..1), "first");
        report.fault(None, "no place");
        report.fault(Some(text.find("clé").unwrap()..text.len()), "second");
        assert_eq!(
            report.to_string(),
            "c.toml has 4 faults\nc.toml: no place\nc.toml:1:1: first\nc.toml:2:1: second\nc.toml:2:11: third"
        );
    }
}
