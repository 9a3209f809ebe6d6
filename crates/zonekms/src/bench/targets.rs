//! From `--target KIND=URL` to servers that can be put under load.

use std::str::FromStr;
use std::sync::Arc;

use kms_load::{
    AwsCredentials, AwsKms, CosmianJose, Endpoint, Exoscale, Fixed, InvalidEndpoint, KeyHandle, Protocol,
    ServerProcess, Target, Trust, TrustFault, VaultTransit, Wire,
};

use super::arguments::BenchArguments;
use super::credentials::{Credentials, Missing};

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Exoscale,
    Aws,
    Vault,
    Cosmian,
    Noop,
}

/// `KIND=URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TargetArgument {
    kind: Kind,
    endpoint: Endpoint,
}

/// A text that is no target.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidTarget {
    #[error("{0:?} must begin with exoscale, aws, vault, cosmian or noop, then =, then the URL")]
    Kind(String),
    #[error(transparent)]
    Endpoint(#[from] InvalidEndpoint),
}

/// Why there is no load.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnusableTarget {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("EXOSCALE_API_ENDPOINT: {0}")]
    Endpoint(#[from] InvalidEndpoint),
    #[error(transparent)]
    Trust(#[from] TrustFault),
    #[error("--server-pid {0}: there is no such process that can be looked at")]
    NoProcess(u32),
    #[error("--server-pid is given {given} times for {targets} targets: give it once for each, in their order")]
    Processes { given: usize, targets: usize },
    #[error("--key is for one target: a key of one is none of another's")]
    KeysOfSeveral,
}

impl FromStr for TargetArgument {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let (kind, url) = text.split_once('=').ok_or_else(|| InvalidTarget::Kind(text.to_owned()))?;
        let kind = match kind {
            "exoscale" => Kind::Exoscale,
            "aws" => Kind::Aws,
            "vault" => Kind::Vault,
            "cosmian" => Kind::Cosmian,
            "noop" => Kind::Noop,
            _ => return Err(InvalidTarget::Kind(text.to_owned())),
        };
        Ok(Self { kind, endpoint: url.parse()? })
    }
}

/// The targets with their credentials, connections and processes.
pub(super) fn targets(
    arguments: &BenchArguments,
    credentials: &Credentials<'_>,
) -> Result<Vec<Target>, UnusableTarget> {
    let given = match arguments.targets.is_empty() {
        false => arguments.targets.clone(),
        true => {
            let endpoint = credentials.needed("EXOSCALE_API_ENDPOINT")?.parse()?;
            vec![TargetArgument { kind: Kind::Exoscale, endpoint }]
        }
    };
    if !arguments.given_keys.is_empty() && given.len() > 1 {
        return Err(UnusableTarget::KeysOfSeveral);
    }
    let trust = match (&arguments.ca_file, arguments.insecure) {
        (Some(file), _) => Some(Trust::from_file(file)?),
        (None, true) => Some(Trust::Anything),
        (None, false) => None,
    };
    let servers = processes(arguments, &given)?;
    let labels = labels(&given);
    let all = given.into_iter().zip(labels).zip(servers).map(|((target, label), server)| {
        let protocol = protocol(&target, credentials)?;
        let wire = Wire::new(&target.endpoint, arguments.version(), arguments.keep_alive(), trust.as_ref())?;
        let keys = arguments.given_keys.iter().map(KeyHandle::new).collect();
        Ok(Target { label, protocol, wire, keys, server })
    });
    all.collect()
}

fn protocol(target: &TargetArgument, credentials: &Credentials<'_>) -> Result<Arc<dyn Protocol>, Missing> {
    Ok(match target.kind {
        Kind::Exoscale => {
            let api_key = credentials.needed("EXOSCALE_API_KEY")?;
            Arc::new(Exoscale::new(&target.endpoint, api_key, credentials.secret("EXOSCALE_API_SECRET")?))
        }
        Kind::Aws => {
            let aws = AwsCredentials {
                access_key: credentials.needed("AWS_ACCESS_KEY_ID")?,
                secret_key: credentials.secret("AWS_SECRET_ACCESS_KEY")?,
                session_token: credentials.secret("AWS_SESSION_TOKEN").ok(),
                region: credentials.needed("AWS_REGION")?,
            };
            Arc::new(AwsKms::new(&target.endpoint, aws))
        }
        Kind::Vault => Arc::new(VaultTransit::new(&target.endpoint, credentials.secret("VAULT_TOKEN")?)),
        Kind::Cosmian => Arc::new(CosmianJose::new(&target.endpoint, credentials.secret("COSMIAN_ACCESS_TOKEN").ok())),
        Kind::Noop => Arc::new(Fixed::new(&target.endpoint)),
    })
}

/// The process of each target, as far as it is known.
fn processes(
    arguments: &BenchArguments,
    targets: &[TargetArgument],
) -> Result<Vec<Option<ServerProcess>>, UnusableTarget> {
    let pids = &arguments.server_pids;
    if pids.is_empty() {
        let ours = matches!(targets, [TargetArgument { kind: Kind::Exoscale, endpoint }] if endpoint.is_loopback());
        let found = if ours { ServerProcess::find_zonekms() } else { None };
        return Ok(targets.iter().map(|_| found).collect());
    }
    if pids.len() != targets.len() {
        return Err(UnusableTarget::Processes { given: pids.len(), targets: targets.len() });
    }
    let process = |pid: &u32| ServerProcess::new(*pid).map(Some).ok_or(UnusableTarget::NoProcess(*pid));
    pids.iter().map(process).collect()
}

/// The kind; with the address where several are of one kind.
fn labels(targets: &[TargetArgument]) -> Vec<String> {
    let label = |target: &TargetArgument| {
        let alone = targets.iter().filter(|other| other.kind == target.kind).count() == 1;
        let name = match target.kind {
            Kind::Exoscale => "exoscale",
            Kind::Aws => "aws",
            Kind::Vault => "vault",
            Kind::Cosmian => "cosmian",
            Kind::Noop => "noop",
        };
        if alone {
            name.to_owned()
        } else {
            format!("{name} {}{}", target.endpoint.authority(), target.endpoint.path())
        }
    };
    targets.iter().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_tell_targets_apart() {
        let of = |texts: &[&str]| {
            let targets: Vec<TargetArgument> = texts.iter().map(|text| text.parse().unwrap()).collect();
            labels(&targets)
        };
        assert_eq!(
            of(&["exoscale=http://h:1/v2", "vault=http://h:2", "cosmian=http://h:3"]),
            ["exoscale", "vault", "cosmian"]
        );
        assert_eq!(of(&["noop=http://h:1/a", "noop=http://h:2/b"]), ["noop h:1/a", "noop h:2/b"]);
    }
}
