//! The operator's subcommands that work through the control socket: what they send, and what they print.

use super::Target;
use crate::cli::TargetArguments;
use crate::failure::Failure;
use crate::serve::runtime;

/// `zonekms root-key status`.
pub(crate) fn root_key_status(arguments: &TargetArguments) -> Result<String, Failure> {
    let target = Target::find(arguments)?;
    let status = runtime()?.block_on(async {
        let (mut client, zone) = target.connect().await?;
        client.get(&format!("{zone}/root-key")).await
    });
    let status = status.map_err(Failure::run)?;
    Ok(format!(
        "zone         {}\nfingerprint  {}\n",
        status["zone"].as_str().unwrap_or_default(),
        status["fingerprint"].as_str().unwrap_or_default()
    ))
}
