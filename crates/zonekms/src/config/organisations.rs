//! The organisations of a configuration, their API keys, and the secrets those point to.

use std::collections::BTreeMap;
use std::path::Path;

use kms_crypto::SecretBytes;
use kms_http::ZoneEntry;
use kms_service::CredentialConfig;
use kms_types::{KeyName, OrganisationName, ZoneName};
use zeroize::Zeroizing;

use super::Organisation;
use super::load::Source;
use super::report::Report;
use super::section::{Section, Text};
use crate::private_files::{Guard, is_readable_by_others, read_secret};

/// Reads `[[organisation]]` and the API keys in it.
pub(super) fn read_organisations(
    root: &mut Section<'_>,
    zones: &[ZoneEntry],
    source: &Source<'_>,
    report: &mut Report,
) -> Vec<Organisation> {
    let sections = root.sections("organisation", report);
    if sections.is_empty() {
        root.missing("[[organisation]]", report);
    }
    let mut organisations: Vec<Organisation> = Vec::new();
    let mut api_key_owners: BTreeMap<String, String> = BTreeMap::new();
    for mut section in sections {
        let name_text = section.text("name", report);
        let name: Option<OrganisationName> = name_text.as_ref().and_then(|text| text.parse(report));
        let default_key: Option<KeyName> =
            section.optional_text("default-key", report).and_then(|text| text.parse(report));
        let owner = name.as_ref().map_or("?", OrganisationName::as_str).to_owned();
        let api_keys = section
            .sections("api-key", report)
            .into_iter()
            .filter_map(|api_key| read_api_key(api_key, zones, &owner, &mut api_key_owners, source, report))
            .collect();
        section.finish(report);
        if let (Some(text), Some(name)) = (&name_text, &name)
            && organisations.iter().any(|organisation| organisation.name == *name)
        {
            text.fault(report, "is the name of two organisations");
        }
        if let Some(name) = name {
            organisations.push(Organisation { name, default_key, api_keys });
        }
    }
    organisations
}

fn read_api_key(
    mut section: Section<'_>,
    zones: &[ZoneEntry],
    owner: &str,
    owners: &mut BTreeMap<String, String>,
    source: &Source<'_>,
    report: &mut Report,
) -> Option<CredentialConfig> {
    let id = section.text("id", report);
    if let Some(text) = &id
        && let Some(other) = owners.insert(text.as_str().to_owned(), owner.to_owned())
    {
        text.fault(report, format!("is given twice (first in organisation {other})"));
    }
    let secret_keys = ["secret-file", "secret-environment", "secret-credential", "secret"];
    let secret =
        section.one_of(&secret_keys, report).and_then(|(key, text)| read_api_secret(key, &text, source, report));
    let zones = section.optional_texts("zones", report).map(|texts| {
        if texts.is_empty() {
            report.fault(section.place(), "organisation.api-key.zones: must name at least one zone");
        }
        texts.iter().filter_map(|text| read_known_zone(text, zones, report)).collect()
    });
    section.finish(report);
    let (id, secret) = (id?, secret?);
    CredentialConfig::new(id.as_str(), secret, zones).map_err(|error| id.fault(report, error)).ok()
}

fn read_known_zone(text: &Text<'_>, zones: &[ZoneEntry], report: &mut Report) -> Option<ZoneName> {
    let name: ZoneName = text.parse(report)?;
    if !zones.iter().any(|zone| zone.name == name) {
        text.fault(report, format!("{name} is not in the list of zones ([[zones]])"));
        return None;
    }
    Some(name)
}

/// The longest secret of an API key, in bytes.
const API_SECRET_LIMIT: usize = 1_024;

fn read_api_secret(key: &str, text: &Text<'_>, source: &Source<'_>, report: &mut Report) -> Option<SecretBytes> {
    let content = match key {
        "secret-file" => {
            let path = text.path(source.base, report)?;
            read_secret(&path, API_SECRET_LIMIT + 2, Guard::Owner).map_err(|error| text.fault(report, error)).ok()?
        }
        "secret-environment" => {
            let Some(value) = (source.environment)(text.as_str()) else {
                text.fault(report, "there is no such environment variable");
                return None;
            };
            SecretBytes::copy_from(Zeroizing::new(value.into_encoded_bytes()).as_slice())
        }
        "secret-credential" => {
            let name = read_credential_name(text, report)?;
            let Some(directory) = (source.environment)("CREDENTIALS_DIRECTORY") else {
                text.fault(report, "CREDENTIALS_DIRECTORY is not set: is the service started by systemd?");
                return None;
            };
            read_secret(&Path::new(&directory).join(name), API_SECRET_LIMIT + 2, Guard::Elsewhere)
                .map_err(|error| text.fault(report, error))
                .ok()?
        }
        _ => {
            if is_readable_by_others(source.file).unwrap_or(true) {
                let advice = "a secret in a file that others can read; run chmod 600 on it, or use `secret-file`";
                text.warning(report, advice);
            }
            SecretBytes::copy_from(text.as_str().as_bytes())
        }
    };
    let secret = content.expose().trim_ascii_end();
    if !(16..=API_SECRET_LIMIT).contains(&secret.len()) || !secret.iter().all(u8::is_ascii_graphic) {
        text.fault(report, "the secret must be 16 to 1024 printable ASCII characters without blanks");
        return None;
    }
    Some(SecretBytes::copy_from(secret))
}

/// The name of a systemd credential: a file name, not a path.
pub(super) fn read_credential_name(text: &Text<'_>, report: &mut Report) -> Option<String> {
    let name = text.as_str();
    if name.is_empty() || name.contains(['/', '\0']) || name == ".." || name == "." {
        text.fault(report, "must be the name of a credential, not a path");
        return None;
    }
    Some(name.to_owned())
}
