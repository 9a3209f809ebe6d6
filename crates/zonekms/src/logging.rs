//! Structured logs on standard error, as text or as one JSON object per line.

use std::fmt;
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

use crate::root_key::Environment;

/// How to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The form of a line.
    pub format: LogFormat,
    /// The least important level that is written.
    pub level: LogLevel,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LogLevel::Info }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!("must be one of {}", [$($word),+].map(|word| format!("\"{word}\"")).join(", "))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words! {
    /// The form of a log line.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}

words! {
    /// How important an event must be to be logged.
    LogLevel {
        /// Something is broken and needs an operator.
        Error = "error",
        /// Something is not as it should be; the server goes on.
        Warn = "warn",
        /// One line per request and per change of the server's state, but none for crypto calls that succeed.
        Info = "info",
        /// For finding a fault; one line per request without exception.
        Debug = "debug",
        /// For finding a fault in one place.
        Trace = "trace",
    }
}

/// The environment variable whose filter (as of the `tracing` ecosystem: `info,kms_http=debug`) replaces the level.
const LOG_VARIABLE: &str = "ZONEKMS_LOG";

/// The crates whose events the level is about; those of libraries are written from `warn` up.
const OWN_CRATES: [&str; 6] = ["zonekms", "kms_audit", "kms_http", "kms_link", "kms_service", "kms_storage"];

/// The content of [`LOG_VARIABLE`], if it is set.
pub(crate) fn override_filter(environment: Environment<'_>) -> Option<String> {
    environment(LOG_VARIABLE).map(|value| value.to_string_lossy().into_owned())
}

/// Starts logging for the whole process; panics are logged too.
///
/// # Errors
/// When `override_filter`, the content of [`LOG_VARIABLE`], is not a filter.
pub(crate) fn start(settings: LogSettings, override_filter: Option<&str>) -> Result<(), String> {
    let filter = match override_filter {
        Some(text) => EnvFilter::builder().parse(text).map_err(|error| format!("{LOG_VARIABLE}: {error}"))?,
        None => EnvFilter::new(directives(settings.level)),
    };
    // A line that cannot be written (the log's disk is full, its reader is gone) is lost. Told of that, the subscriber would
    // write to standard error once more and panic in the middle of a request.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    let started = match settings.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    started.map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

fn directives(level: LogLevel) -> String {
    let own = OWN_CRATES.map(|name| format!("{name}={level}")).join(",");
    let others = match level {
        LogLevel::Error => LogLevel::Error,
        LogLevel::Warn | LogLevel::Info | LogLevel::Debug | LogLevel::Trace => LogLevel::Warn,
    };
    format!("{others},{own}")
}

/// A message made at run time may hold data of a request, so only those written in the source are repeated.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(message withheld)");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(location, thread = thread.name().unwrap_or("unnamed"), message, "panic");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        for level in [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace] {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        let refusal = "xml".parse::<LogFormat>();
        assert_eq!(refusal, Err("must be one of \"text\", \"json\"".to_owned()));
    }

    #[test]
    fn the_level_is_about_every_crate_of_ours_that_logs() {
        let crates = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap();
        let logging = crates.map(|entry| entry.unwrap().path()).filter(|path| {
            std::fs::read_to_string(path.join("Cargo.toml"))
                .unwrap()
                .lines()
                .any(|line| line == "tracing.workspace = true")
        });
        let mut names: Vec<String> =
            logging.map(|path| path.file_name().unwrap().to_str().unwrap().replace('-', "_")).collect();
        names.sort();
        let mut listed = OWN_CRATES;
        listed.sort_unstable();
        assert_eq!(names, listed);
    }

    #[test]
    fn libraries_never_log_below_warn() {
        assert!(directives(LogLevel::Trace).starts_with("warn,zonekms=trace,"));
        assert!(directives(LogLevel::Error).starts_with("error,zonekms=error,"));
    }
}
