//! From a TOML file to a [`Config`], or to everything that is wrong with it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Uri;
use kms_http::ZoneEntry;
use kms_root_key::Token;
use kms_types::ZoneName;
use toml::de::DeTable;
use zeroize::Zeroizing;

use super::audit::{read_audit, read_audit_directory};
use super::organisations::read_organisations;
use super::replication::read_replication;
use super::report::Report;
use super::root_key::{read_only_token, read_root_keys};
use super::section::{Section, Text};
use super::shred::read_shred;
use super::{Config, Limits, Listen, StoreLocation, Transport};
use crate::control::SOCKET_NAME;
use crate::logging::{LogFormat, LogLevel, LogSettings};
use crate::root_key::{Environment, RootKeys};
use crate::tls;

/// Reads and checks `file` and everything it points to. The report of a usable file holds its warnings.
///
/// # Errors
/// The report with every fault, when there is one.
pub fn load(file: &Path, environment: Environment<'_>) -> Result<(Config, Report), Box<Report>> {
    read_file(file, environment, read)
}

/// Where a server of a configuration is to be found: what commands need that work on a running server, or on its files.
pub struct Places {
    /// The zone.
    pub zone: ZoneName,
    /// Where the data lies.
    pub store: StoreLocation,
    /// Where the audit log lies.
    pub audit: PathBuf,
    /// Where operators' commands reach the running server.
    pub control_socket: PathBuf,
}

/// Reads the places of `file` and nothing else: no secret is read, and the rest of the file may be wrong.
///
/// # Errors
/// The report with every fault of the places.
pub fn places(file: &Path) -> Result<Places, Box<Report>> {
    let (places, _) = read_file(file, &|_| None, |mut root, source, report| {
        let zone = root.text("zone", report).and_then(|text| text.parse(report));
        let store = read_store(&mut root, source, report)?;
        let control_socket = read_control(&mut root, &store, source, report)?;
        let audit = read_audit_directory(&mut root, &store, source, report);
        Some(Places { zone: zone?, store, audit, control_socket })
    })?;
    Ok(places)
}

/// Reads the root keys of `file` with the secrets they need, and nothing else.
///
/// # Errors
/// The report with every fault of these sections.
pub(crate) fn root_keys(file: &Path, environment: Environment<'_>) -> Result<RootKeys, Box<Report>> {
    let (keys, _) = read_file(file, environment, |mut root, source, report| read_root_keys(&mut root, source, report))?;
    Ok(keys)
}

/// Reads the PKCS#11 token that `file` names for a root key, and nothing else.
///
/// # Errors
/// The report with every fault of that section.
pub(crate) fn token(file: &Path, environment: Environment<'_>) -> Result<Token, Box<Report>> {
    let (token, _) =
        read_file(file, environment, |mut root, source, report| read_only_token(&mut root, source, report))?;
    Ok(token)
}

fn read_file<T>(
    file: &Path,
    environment: Environment<'_>,
    read: impl FnOnce(Section<'_>, &Source<'_>, &mut Report) -> Option<T>,
) -> Result<(T, Report), Box<Report>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => Zeroizing::new(text),
        Err(error) => {
            let mut report = Report::new(file, "");
            report.fault(None, error.to_string());
            return Err(Box::new(report));
        }
    };
    let mut report = Report::new(file, &text);
    let (document, syntax) = DeTable::parse_recoverable(&text);
    for error in &syntax {
        report.fault(error.span(), error.message());
    }
    let base = file.parent().unwrap_or(Path::new("."));
    let source = Source { file, base, environment };
    match read(Section::root(&document), &source, &mut report) {
        Some(found) if report.is_clean() => Ok((found, report)),
        Some(_) | None => Err(Box::new(report)),
    }
}

/// What the file's values refer to.
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    /// Relative paths begin here: the directory of the file.
    pub(super) base: &'a Path,
    pub(super) environment: Environment<'a>,
}

fn read(mut root: Section<'_>, source: &Source<'_>, report: &mut Report) -> Option<Config> {
    let zone = root.text("zone", report);
    let zone_name: Option<ZoneName> = zone.as_ref().and_then(|text| text.parse(report));
    let zones = read_zones(&mut root, report);
    if let (Some(text), Some(name)) = (&zone, &zone_name)
        && !zones.is_empty()
        && !zones.iter().any(|listed| listed.name == *name)
    {
        text.fault(report, "is not in the list of zones ([[zones]])");
    }
    let listen = read_listen(&mut root, source, report);
    let operations = read_operations(&mut root, report);
    let store = read_store(&mut root, source, report);
    let control_socket = store.as_ref().and_then(|store| read_control(&mut root, store, source, report));
    let root_keys = read_root_keys(&mut root, source, report);
    let organisations = read_organisations(&mut root, &zones, source, report);
    let replication = read_replication(&mut root, zone_name.as_ref(), &zones, source, report);
    let limits = read_limits(&mut root, report);
    let log = read_log(&mut root, report);
    let audit = read_audit(&mut root, store.as_ref(), source, report);
    let shred_after = read_shred(&mut root, report);
    root.finish(report);
    Some(Config {
        zone: zone_name?,
        zones,
        listen: listen?,
        operations,
        control_socket: control_socket?,
        store: store?,
        root_keys: root_keys?,
        replication,
        organisations,
        limits,
        log,
        audit: audit?,
        shred_after,
    })
}

fn read_zones(root: &mut Section<'_>, report: &mut Report) -> Vec<ZoneEntry> {
    let mut zones: Vec<ZoneEntry> = Vec::new();
    let sections = root.sections("zones", report);
    if sections.is_empty() {
        root.missing("[[zones]]", report);
    }
    for mut section in sections {
        let name_text = section.text("name", report);
        let name: Option<ZoneName> = name_text.as_ref().and_then(|text| text.parse(report));
        let endpoint = section.text("api-endpoint", report).and_then(|text| read_endpoint(&text, report));
        section.finish(report);
        if let (Some(text), Some(name)) = (&name_text, &name)
            && zones.iter().any(|zone| zone.name == *name)
        {
            text.fault(report, "is listed twice");
        }
        // A zone with a wrong endpoint still counts as listed, or its fault would cause others.
        if let Some(name) = name {
            zones.push(ZoneEntry { name, api_endpoint: endpoint.unwrap_or_default() });
        }
    }
    zones
}

fn read_endpoint(text: &Text<'_>, report: &mut Report) -> Option<String> {
    let good = text.as_str().parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some() && uri.query().is_none()
    });
    if !good || text.as_str().ends_with('/') {
        text.fault(report, "must be a URL such as \"https://kms.example.org/v2\", without a slash at its end");
        return None;
    }
    Some(text.as_str().to_owned())
}

fn read_listen(root: &mut Section<'_>, source: &Source<'_>, report: &mut Report) -> Option<Listen> {
    let mut section = root.section("listen", report);
    let text = section.as_mut().and_then(|section| section.text("address", report));
    let address = text.as_ref().and_then(|text| read_address(text, report));
    let allow_plaintext = section.as_mut().is_some_and(|section| section.boolean("allow-plaintext", false, report));
    if let Some(section) = section {
        section.finish(report);
    }
    let Some(mut tls) = root.optional_section("tls", report) else {
        let (text, address) = (text?, address?);
        if !address.ip().is_loopback() {
            if allow_plaintext {
                text.warning(report, "plain HTTP beyond this machine: requests can be read, and repeated while valid");
            } else {
                text.fault(
                    report,
                    "plain HTTP is for loopback only; add [tls], or set listen.allow-plaintext = true if something \
                     in front of this server does TLS",
                );
            }
        }
        return Some(Listen { address, transport: Transport::Plain });
    };
    let certificate = tls.text("certificate", report);
    let key = tls.text("key", report);
    tls.finish(report);
    let (certificate, key) = (certificate?, key?);
    let chain = certificate
        .path(source.base, report)
        .and_then(|path| tls::read_certificates(&path).map_err(|fault| certificate.fault(report, fault)).ok());
    let private_key = key
        .path(source.base, report)
        .and_then(|path| tls::read_private_key(&path).map_err(|fault| key.fault(report, fault)).ok());
    let config = tls::server_config(chain?, private_key?).map_err(|fault| certificate.fault(report, fault)).ok()?;
    Some(Listen { address: address?, transport: Transport::Tls(config) })
}

fn read_operations(root: &mut Section<'_>, report: &mut Report) -> Option<SocketAddr> {
    let mut section = root.optional_section("operations", report)?;
    let address = section.text("address", report).and_then(|text| read_address(&text, report));
    section.finish(report);
    address
}

pub(super) fn read_address(text: &Text<'_>, report: &mut Report) -> Option<SocketAddr> {
    let address = text.as_str().parse().ok();
    if address.is_none() {
        text.fault(report, "must be an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:443\"");
    }
    address
}

fn read_store(root: &mut Section<'_>, source: &Source<'_>, report: &mut Report) -> Option<StoreLocation> {
    let mut section = root.section("store", report)?;
    let directory_text = section.text("directory", report);
    let directory = directory_text.as_ref().and_then(|text| text.path(source.base, report));
    let manifest = section.optional_text("manifest", report).and_then(|text| text.path(source.base, report));
    let keyring = section.optional_text("keyring", report).and_then(|text| text.path(source.base, report));
    section.finish(report);
    let (text, directory) = (directory_text?, directory?);
    let beside = directory.parent().unwrap_or(source.base);
    let location = StoreLocation {
        manifest: manifest.unwrap_or_else(|| beside.join("manifest")),
        keyring: keyring.unwrap_or_else(|| beside.join("keyring")),
        directory,
    };
    if location.directory.exists() && !location.directory.is_dir() {
        text.fault(report, "is not a directory");
    }
    // Copying or restoring the directory must never carry along what shows that it was restored, nor its keys.
    for (name, file) in [("manifest", &location.manifest), ("keyring", &location.keyring)] {
        if file.starts_with(&location.directory) {
            text.fault(report, format!("the {name} must lie outside this directory"));
        }
    }
    if location.manifest == location.keyring {
        text.fault(report, "manifest and keyring must be two files");
    }
    Some(location)
}

/// Beside the store if it is not given, so that every server has one of its own.
fn read_control(
    root: &mut Section<'_>,
    store: &StoreLocation,
    source: &Source<'_>,
    report: &mut Report,
) -> Option<PathBuf> {
    let beside = store.directory.parent().unwrap_or(source.base).join(SOCKET_NAME);
    let Some(mut section) = root.optional_section("control", report) else { return Some(beside) };
    let text = section.optional_text("socket", report);
    section.finish(report);
    match text {
        Some(text) => text.path(source.base, report),
        None => Some(beside),
    }
}

fn read_limits(root: &mut Section<'_>, report: &mut Report) -> Limits {
    let mut limits = Limits::default();
    let Some(mut section) = root.optional_section("limits", report) else { return limits };
    let Limits { requests, connections, keys_per_organisation } = &mut limits;
    section.number("plaintext-bytes", 1..=1_048_576, &mut requests.plaintext, report);
    section.number("context-bytes", 0..=65_536, &mut requests.context, report);
    section.number("keys-per-organisation", 1..=1_000_000, keys_per_organisation, report);
    section.number("connections", 1..=100_000, &mut connections.connections, report);
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
    section.duration("header-timeout", second..=hour, &mut connections.header_timeout, report);
    section.duration("request-timeout", second..=hour, &mut requests.request_timeout, report);
    section.duration("idle-timeout", second..=hour, &mut connections.idle_timeout, report);
    section.finish(report);
    limits
}

fn read_log(root: &mut Section<'_>, report: &mut Report) -> LogSettings {
    let default = LogSettings::default();
    let Some(mut section) = root.optional_section("log", report) else { return default };
    let format = section.optional_text("format", report).and_then(|text| text.parse::<LogFormat>(report));
    let level = section.optional_text("level", report).and_then(|text| text.parse::<LogLevel>(report));
    section.finish(report);
    LogSettings { format: format.unwrap_or(default.format), level: level.unwrap_or(default.level) }
}
