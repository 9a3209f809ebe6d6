//! The operator's subcommands about root keys: through the control socket of a running server, or on the zone's files when none
//! runs.

use std::fmt::Write;
use std::sync::Arc;

use kms_crypto::{Entropy, OsEntropy};
use kms_service::ServiceClock;
use kms_types::Timestamp;
use serde_json::{Value, json};

use super::client::ClientFault;
use super::root_key::ZoneRootKey;
use super::target::{Target, ZoneFiles};
use crate::cli::{RotateArguments, TargetArguments};
use crate::failure::Failure;
use crate::keyring_file::{KeyringLabel, OpenKeyring, RotateTo, ZoneLock};
use crate::root_key::PROCESS_ENVIRONMENT;
use crate::serve::runtime;

/// `zonekms root-key status`.
pub(crate) fn root_key_status(arguments: &TargetArguments) -> Result<String, Failure> {
    let target = Target::find(arguments)?;
    let status = runtime()?.block_on(async {
        let (mut client, zone) = target.connect().await?;
        client.get(&format!("{zone}/root-key")).await
    });
    match status {
        Ok(status) => Ok(describe(&status)),
        Err(no_server @ ClientFault::NoServer { .. }) => {
            let without_server = |fault| Failure::run(format!("{no_server}; and of its files: {fault}"));
            let ZoneFiles { zone, store, .. } = target.files()?;
            let label = KeyringLabel::read(&store.keyring).map_err(without_server)?;
            let status = json!({
                "zone": zone.as_str(),
                "provider": label.provider.to_string(),
                "fingerprint": label.fingerprint.to_string(),
                "since": label.since,
                "generation": label.generation,
            });
            Ok(describe(&status) + "server       none runs: as the keyring file says, not verified\n")
        }
        Err(fault) => Err(Failure::run(fault)),
    }
}

/// `zonekms root-key rotate`.
pub(crate) fn root_key_rotate(arguments: &RotateArguments) -> Result<String, Failure> {
    let target = Target::find(&arguments.target)?;
    let (to, word) = if arguments.to_next {
        (RotateTo::NextProvider, "next-provider")
    } else {
        (RotateTo::SameProvider, "same-provider")
    };
    let runtime = runtime()?;
    let rotated = runtime.block_on(async {
        let (mut client, zone) = target.connect().await?;
        client.post(&format!("{zone}/root-key/rotate"), &json!({ "to": word })).await
    });
    let status = match rotated {
        Ok(status) => status,
        Err(ClientFault::NoServer { .. }) => runtime.block_on(rotate_files(target.files()?, to))?,
        Err(fault) => return Err(Failure::run(fault)),
    };
    let advice = match to {
        RotateTo::SameProvider => "",
        RotateTo::NextProvider => {
            "\nNow, in the configuration, put the content of [root-key-next] into [root-key] and remove [root-key-next]. The \
             server can go on running, and starts either way. Keep the old root key as long as you keep backups of the keyring from \
             before.\n"
        }
    };
    Ok(format!("the keyring is wrapped under another root key\n{}{advice}", describe(&status)))
}

/// Under the zone's lock, so that no server starts meanwhile.
async fn rotate_files(files: ZoneFiles, to: RotateTo) -> Result<Value, Failure> {
    let ZoneFiles { zone, store, root_keys, .. } = files;
    let keys = root_keys.load(PROCESS_ENVIRONMENT)?;
    let lock = ZoneLock::take(&store).map_err(Failure::run)?;
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let opened = OpenKeyring::open_existing(&lock, &zone, &keys, &entropy).await.map_err(Failure::run)?;
    let root_key = ZoneRootKey::new(zone, opened.file, root_keys, Arc::new(ServiceClock::system()));
    root_key.rotate(to).await.map(|done| done.0).map_err(Failure::run)
}

fn whole_seconds(time: Timestamp) -> String {
    time.to_string().replace(".000000000", "")
}

fn describe(status: &Value) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &Value| {
        let shown = match value {
            Value::Null => return,
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().map(Value::to_string).collect::<Vec<_>>().join(", "),
            Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:12} {shown}");
    };
    line("zone", &status["zone"]);
    line("provider", &status["provider"]);
    line("place", &status["place"]);
    line("section", &status["section"]);
    line("fingerprint", &status["fingerprint"]);
    let since = status["since"].as_i64().and_then(|seconds| seconds.checked_mul(1_000_000_000));
    line("since", &since.map_or(Value::Null, |nanos| whole_seconds(Timestamp::from_nanos(nanos)).into()));
    line("generation", &status["generation"]);
    line("epochs", &status["epochs"]);
    text
}
