//! What proves to a target who sends the load: from an env file, then from the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kms_load::Secret;
use zeroize::Zeroizing;

use crate::private_files::{Guard, UnreadableSecret, read_secret};
use crate::root_key::Environment;

/// The largest env file, in bytes.
const FILE_LIMIT: usize = 65_536;

/// Why the env file cannot be used. It may hold secrets: none of its lines is repeated.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnusableEnvFile {
    #[error("--env-file {0}: {1}")]
    NotOpened(PathBuf, std::io::Error),
    #[error("--env-file {0}: {1}")]
    Unfit(PathBuf, String),
    #[error("--env-file {0}: line {1} is not NAME=VALUE")]
    NotAssignment(PathBuf, usize),
}

/// A variable that a target needs and nobody gave.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not set: export it, or give a file that sets it with --env-file (`zonekms dev` writes dev.env)")]
pub(super) struct Missing(&'static str);

/// Where variables come from.
pub(super) struct Credentials<'a> {
    file: BTreeMap<String, Zeroizing<String>>,
    environment: Environment<'a>,
}

impl<'a> Credentials<'a> {
    /// Reads `file`, if there is one: lines of `NAME=VALUE`, with or without `export`, quoted or not; empty lines and comments.
    pub(super) fn read(file: Option<&Path>, environment: Environment<'a>) -> Result<Self, UnusableEnvFile> {
        let Some(path) = file else { return Ok(Self { file: BTreeMap::new(), environment }) };
        let content = read_secret(path, FILE_LIMIT, Guard::Owner).map_err(|error| match error {
            UnreadableSecret::NotOpened(error) => UnusableEnvFile::NotOpened(path.to_owned(), error),
            UnreadableSecret::Unfit(unfit) => UnusableEnvFile::Unfit(path.to_owned(), unfit.to_string()),
        })?;
        let text = std::str::from_utf8(content.expose());
        let text = text.map_err(|_| UnusableEnvFile::Unfit(path.to_owned(), "is not UTF-8".to_owned()))?;
        let variables = parse(text).map_err(|line| UnusableEnvFile::NotAssignment(path.to_owned(), line))?;
        Ok(Self { file: variables, environment })
    }

    /// The variable's text, if it is set and not empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let found = self.file.get(name).map(|text| text.as_str().to_owned());
        found.or_else(|| (self.environment)(name)?.into_string().ok()).filter(|text| !text.is_empty())
    }

    /// The variable's text, which must be there.
    pub(super) fn needed(&self, name: &'static str) -> Result<String, Missing> {
        self.text(name).ok_or(Missing(name))
    }

    /// The variable's text, which must be there and is not to be shown.
    pub(super) fn secret(&self, name: &'static str) -> Result<Secret, Missing> {
        self.needed(name).map(Secret::new)
    }
}

/// The variables, or the number of the first line that is none.
fn parse(text: &str) -> Result<BTreeMap<String, Zeroizing<String>>, usize> {
    let mut variables = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let (name, value) = line.split_once('=').ok_or(number + 1)?;
        let quoted = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
        variables.insert(name.trim_end().to_owned(), Zeroizing::new(value.to_owned()));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_shell() {
        let variables = parse("# made by dev\n\nexport A=b\nC='d e'\nF=\"g=h\"\n").unwrap();
        let value = |name: &str| variables.get(name).map(|text| text.as_str());
        assert_eq!([value("A"), value("C"), value("F")], [Some("b"), Some("d e"), Some("g=h")]);
        assert_eq!(parse("A=b\nnot an assignment").unwrap_err(), 2);
    }

    #[test]
    fn a_file_goes_before_the_environment() {
        let file = parse("A=file").unwrap();
        let credentials = Credentials { file, environment: &|name| (name != "C").then(|| "environment".into()) };
        assert_eq!(credentials.text("A").as_deref(), Some("file"));
        assert_eq!(credentials.text("B").as_deref(), Some("environment"));
        assert!(credentials.needed("C").unwrap_err().to_string().contains("C is not set"));
    }
}
