//! The section of the audit log.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use kms_audit::{AuditSettings, CryptoCalls, WhenFull};

use super::StoreLocation;
use super::load::Source;
use super::report::Report;
use super::section::{Section, Text};

/// Reads `[audit]`, all of which may be left out. `None` when the store's place is not known.
pub(super) fn read_audit(
    root: &mut Section<'_>,
    store: Option<&StoreLocation>,
    source: &Source<'_>,
    report: &mut Report,
) -> Option<AuditSettings> {
    let section = root.optional_section("audit", report);
    let mut settings = AuditSettings::in_directory(store?.beside("audit"));
    let Some(mut section) = section else { return Some(settings) };
    let directory = section.optional_text("directory", report);
    if let Some(path) = directory.as_ref().and_then(|text| text.path(source.base, report)) {
        settings.directory = path;
    }
    if let Some(text) = &directory
        && store.is_some_and(|store| settings.directory.starts_with(&store.directory))
    {
        text.fault(report, "must lie outside the store's directory");
    }
    if let Some(calls) = section.optional_text("crypto-calls", report).and_then(|text| crypto_calls(&text, report)) {
        settings.crypto_calls = calls;
    }
    settings.synchronous = section.boolean("synchronous", settings.synchronous, report);
    if let Some(text) = section.optional_text("when-full", report) {
        match text.as_str() {
            "refuse" => settings.when_full = WhenFull::Refuse,
            "count" => settings.when_full = WhenFull::Count,
            _ => text.fault(report, "must be \"refuse\" or \"count\""),
        }
    }
    section.number("file-bytes", 65_536..=1 << 40, &mut settings.file_bytes, report);
    let (second, hour, year) = (Duration::from_secs(1), Duration::from_secs(3_600), Duration::from_secs(366 * 86_400));
    section.duration("file-age", hour..=year, &mut settings.file_age, report);
    section.duration("checkpoint-interval", second..=hour, &mut settings.checkpoint_interval, report);
    section.finish(report);
    Some(settings)
}

/// Where the log lies, and nothing else of the section.
pub(super) fn read_audit_directory(
    root: &mut Section<'_>,
    store: &StoreLocation,
    source: &Source<'_>,
    report: &mut Report,
) -> PathBuf {
    let section = root.optional_section("audit", report);
    let directory = section.and_then(|mut section| section.optional_text("directory", report));
    let path = directory.and_then(|text| text.path(source.base, report));
    path.unwrap_or_else(|| store.beside("audit"))
}

fn crypto_calls(text: &Text<'_>, report: &mut Report) -> Option<CryptoCalls> {
    match text.as_str() {
        "on" => Some(CryptoCalls::On),
        "off" => Some(CryptoCalls::Off),
        other => {
            let every = other.strip_prefix("1/").and_then(|every| every.parse::<NonZeroU32>().ok());
            if every.is_none() {
                text.fault(report, "must be \"on\", \"off\", or \"1/100\" for one call in 100");
            }
            every.map(CryptoCalls::Sampled)
        }
    }
}
