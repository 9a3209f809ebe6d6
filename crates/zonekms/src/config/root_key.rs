//! `[root-key]` and `[root-key-next]`: which providers there are, and the secrets that these need themselves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kms_crypto::SecretBytes;
use kms_root_key::{
    Endpoint, OtherKms, OtherKmsSettings, Passphrase, ProviderKind, RootKeyProvider, Token, TokenSettings,
};
use kms_service::ServiceClock;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::load::Source;
use super::organisations::read_credential_name;
use super::report::Report;
use super::section::{Section, Text};
use crate::private_files::{Guard, read_secret};
use crate::root_key::{
    AbsentProvider, ConfiguredKey, GivenKey, Prompt, RootKeySource, RootKeys, Section as Name, is_renewal_of,
};
use crate::tls;

/// The longest passphrase, PIN or API secret, in bytes.
const SECRET_LIMIT: usize = 1_024;

/// The ways to name a root key, of which a section has exactly one.
const WAYS: [&str; 9] = [
    "file",
    "environment",
    "credential",
    "passphrase-file",
    "passphrase-environment",
    "passphrase-credential",
    "passphrase-prompt",
    "pkcs11",
    "kms",
];

/// Where the certificates of public authorities are on Debian and its relatives.
const USUAL_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Reads both sections; the second is there only while the root key changes to another provider.
pub(super) fn read_root_keys(root: &mut Section<'_>, source: &Source<'_>, report: &mut Report) -> Option<RootKeys> {
    let current = root.section("root-key", report);
    let next = root.optional_section("root-key-next", report);
    let has_next = next.is_some();
    let mut files = Vec::new();
    let current = current.and_then(|mut section| {
        let way = section.only_one_of(&WAYS, report);
        let provider = way.and_then(|way| read_provider(&mut section, way, source, &mut files, report));
        section.finish(report);
        provider.map(|provider| ConfiguredKey { section: Name::RootKey, provider })
    });
    let next = next.and_then(|section| read_next(section, source, &mut files, report));
    refuse_renewals_name(&files, report);
    (next.is_some() == has_next).then_some(())?;
    Some(RootKeys { current: current?, next })
}

/// The token of `[root-key-next]`, or of `[root-key]` where there is no such section; nothing else is read.
pub(super) fn read_only_token(root: &mut Section<'_>, source: &Source<'_>, report: &mut Report) -> Option<Token> {
    let mut section = match root.optional_section("root-key-next", report) {
        Some(section) => section,
        None => root.section("root-key", report)?,
    };
    if section.only_one_of(&WAYS, report)? != "pkcs11" {
        report.fault(section.place(), "this section does not name a PKCS#11 token (pkcs11)");
        return None;
    }
    read_token(section.section("pkcs11", report)?, source, report)
}

/// As long as the keyring needs only `[root-key]`, what this section refers to need not be there.
fn read_next<'d>(
    mut section: Section<'d>,
    source: &Source<'_>,
    files: &mut Vec<(Text<'d>, PathBuf)>,
    report: &mut Report,
) -> Option<ConfiguredKey> {
    let before = report.fault_count();
    let way = section.only_one_of(&WAYS, report);
    let provider = way.and_then(|way| read_provider(&mut section, way, source, files, report));
    section.finish(report);
    let provider = match (provider, way) {
        (Some(provider), _) => provider,
        (None, Some(way)) => Arc::new(AbsentProvider::new(kind_of(way), report.excuse_faults_after(before)?)),
        (None, None) => return None,
    };
    Some(ConfiguredKey { section: Name::RootKeyNext, provider })
}

fn kind_of(way: &str) -> ProviderKind {
    match way {
        "pkcs11" => ProviderKind::Pkcs11,
        "kms" => ProviderKind::OtherKms,
        way if way.starts_with("passphrase-") => ProviderKind::Passphrase,
        _ => ProviderKind::Given,
    }
}

/// A renewal of the one file must never write, rename or remove the other.
fn refuse_renewals_name(files: &[(Text<'_>, PathBuf)], report: &mut Report) {
    for (text, path) in files {
        for (_, other) in files.iter().filter(|(_, other)| is_renewal_of(path, other)) {
            let told =
                format!("a renewal of {} writes its new root key there; give this file another name", other.display());
            text.fault(report, told);
        }
    }
}

fn read_provider<'d>(
    section: &mut Section<'d>,
    way: &'static str,
    source: &Source<'_>,
    files: &mut Vec<(Text<'d>, PathBuf)>,
    report: &mut Report,
) -> Option<Arc<dyn RootKeyProvider>> {
    match way {
        "pkcs11" => Some(Arc::new(read_token(section.optional_section(way, report)?, source, report)?)),
        "kms" => Some(Arc::new(read_other_kms(section.optional_section(way, report)?, source, report)?)),
        "passphrase-prompt" => {
            if !section.boolean(way, false, report) {
                report.fault(section.place(), "root-key.passphrase-prompt: can only be true");
                return None;
            }
            Some(Arc::new(Prompt))
        }
        "passphrase-file" | "passphrase-environment" | "passphrase-credential" => {
            let text = section.optional_text(way, report)?;
            let secret = read_one_secret(way, &text, source, report)?;
            let place = format!("passphrase of {}", place_of(way, &text));
            Passphrase::new(place, &secret)
                .map_err(|fault| text.fault(report, fault))
                .ok()
                .map(|passphrase| Arc::new(passphrase) as Arc<dyn RootKeyProvider>)
        }
        _ => {
            let text = section.optional_text(way, report)?;
            let place = match way {
                "file" => RootKeySource::File(text.path(source.base, report)?),
                "environment" => RootKeySource::Environment(text.as_str().to_owned()),
                _ => RootKeySource::Credential(read_credential_name(&text, report)?),
            };
            let file = match &place {
                RootKeySource::File(path) => Some(path.clone()),
                RootKeySource::Environment(_) | RootKeySource::Credential(_) => None,
            };
            match GivenKey::load(place, source.environment) {
                Ok(key) => {
                    files.extend(file.map(|path| (text, path)));
                    Some(Arc::new(key))
                }
                Err(fault) => {
                    text.fault_elsewhere(report, fault);
                    None
                }
            }
        }
    }
}

fn read_token(mut section: Section<'_>, source: &Source<'_>, report: &mut Report) -> Option<Token> {
    let module = section.text("module", report);
    let token = section.text("token", report);
    let key = section.text("key", report);
    let pin = read_secret_of(&mut section, &["pin-file", "pin-environment", "pin-credential"], source, report);
    section.finish(report);
    let module_text = module?;
    let module = module_text.path(source.base, report)?;
    if !module.is_file() {
        module_text
            .fault_elsewhere(report, "there is no such PKCS#11 module (a shared library, such as libsofthsm2.so)");
        return None;
    }
    Some(Token::new(TokenSettings {
        module,
        token: token?.as_str().to_owned(),
        key: key?.as_str().to_owned(),
        pin: pin?,
    }))
}

fn read_other_kms(mut section: Section<'_>, source: &Source<'_>, report: &mut Report) -> Option<OtherKms> {
    let endpoint = section.text("endpoint", report);
    let key = section.text("key", report);
    let api_key = section.text("api-key", report);
    let secret_keys = ["api-secret-file", "api-secret-environment", "api-secret-credential"];
    let api_secret = read_secret_of(&mut section, &secret_keys, source, report);
    let authorities = section.optional_text("ca-file", report);
    section.finish(report);
    let endpoint_text = endpoint?;
    let authorities = if endpoint_text.as_str().starts_with("https:") {
        read_authorities(&endpoint_text, authorities.as_ref(), source, report)?
    } else {
        Vec::new()
    };
    let endpoint =
        Endpoint::new(endpoint_text.as_str(), &authorities).map_err(|fault| endpoint_text.fault(report, fault)).ok();
    let (key, api_key) = (key?, api_key?);
    let path_safe = |text: &Text<'_>| text.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !path_safe(&key) || key.as_str().is_empty() {
        key.fault(report, "must be the id of a key, such as \"019eef19-73ef-7ce3-9ea1-fcaa367ebd8d\"");
        return None;
    }
    if api_key.as_str().is_empty() || !api_key.as_str().bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
        api_key.fault(report, "must be the id of an API key");
        return None;
    }
    let clock = ServiceClock::system();
    Some(OtherKms::new(OtherKmsSettings {
        endpoint: endpoint?,
        key_id: key.as_str().to_owned(),
        api_key: api_key.as_str().to_owned(),
        api_secret: api_secret?,
        now: Box::new(move || clock.wall().as_seconds()),
    }))
}

fn read_authorities(
    endpoint: &Text<'_>,
    file: Option<&Text<'_>>,
    source: &Source<'_>,
    report: &mut Report,
) -> Option<Vec<CertificateDer<'static>>> {
    let (text, path) = match file {
        Some(text) => (text, text.path(source.base, report)?),
        None => (endpoint, Path::new(USUAL_AUTHORITIES).to_owned()),
    };
    tls::read_certificates(&path)
        .map_err(|fault| text.fault_elsewhere(report, format!("authorities of {}: {fault}", path.display())))
        .ok()
}

/// Exactly one of several ways to name a secret, with the line breaks at its end taken away.
fn read_secret_of(
    section: &mut Section<'_>,
    keys: &[&'static str],
    source: &Source<'_>,
    report: &mut Report,
) -> Option<SecretBytes> {
    let (key, text) = section.one_of(keys, report)?;
    let secret = read_one_secret(key, &text, source, report)?;
    let trimmed = secret.expose().trim_ascii_end();
    if trimmed.is_empty() {
        text.fault(report, "is empty");
        return None;
    }
    Some(SecretBytes::copy_from(trimmed))
}

fn read_one_secret(key: &str, text: &Text<'_>, source: &Source<'_>, report: &mut Report) -> Option<SecretBytes> {
    let (path, guard) = if key.ends_with("-environment") {
        let Some(value) = (source.environment)(text.as_str()) else {
            text.fault_elsewhere(report, "there is no such environment variable");
            return None;
        };
        return Some(SecretBytes::copy_from(&Zeroizing::new(value.into_encoded_bytes())));
    } else if key.ends_with("-credential") {
        let name = read_credential_name(text, report)?;
        let Some(directory) = (source.environment)("CREDENTIALS_DIRECTORY") else {
            text.fault_elsewhere(
                report,
                "CREDENTIALS_DIRECTORY is not set: is the service started by systemd with LoadCredential=?",
            );
            return None;
        };
        (Path::new(&directory).join(name), Guard::Elsewhere)
    } else {
        (text.path(source.base, report)?, Guard::Owner)
    };
    read_secret(&path, SECRET_LIMIT, guard).map_err(|error| text.fault_elsewhere(report, error)).ok()
}

fn place_of(key: &str, text: &Text<'_>) -> String {
    if key.ends_with("-environment") {
        format!("environment variable {}", text.as_str())
    } else if key.ends_with("-credential") {
        format!("credential {}", text.as_str())
    } else {
        format!("file {}", text.as_str())
    }
}
