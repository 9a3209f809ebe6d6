//! What each `zonekms audit` command does.

use std::collections::VecDeque;
use std::fmt::Display;
use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kms_audit::{
    Expected, Filter, LogKeys, NoteVerifier, Proven, Tail, Verified, VerifyError, newest_checkpoint, prove_consistency,
    prove_inclusion, verify_log, verify_proof,
};
use kms_crypto::EncryptionContext;

use super::{AuditCommand, Provable, PublicKeyArgument, TailArguments};
use crate::config;
use crate::failure::Failure;
use crate::keyring_file::OpenKeyring;
use crate::root_key::Environment;

/// How often `tail --follow` looks for more.
const LOOK: Duration = Duration::from_millis(200);

/// Carries out `command` and writes its answer to `out`.
pub(crate) fn run(command: AuditCommand, environment: Environment<'_>, out: impl Write) -> Result<(), Failure> {
    let mut out = BufWriter::new(out);
    let answer = match command {
        AuditCommand::Tail(arguments) => return tail(arguments, &mut out),
        AuditCommand::Verify { directory, key: PublicKeyArgument { public_key }, since, first } => {
            let since = since.map(|file| read(&file)).transpose()?;
            verify(&directory, &Expected { public_key, since, first })?
        }
        AuditCommand::Prove { directory, what } => prove(&directory, &what)?,
        AuditCommand::VerifyProof { file, public_key } => check_proof(&file, &public_key)?,
        AuditCommand::Checkpoint { directory } => {
            newest_checkpoint(&directory).map_err(Failure::run)?.0.note().to_owned()
        }
        AuditCommand::Key { config } => format!("{}\n", keys(&config.file, environment)?.signer().verifier()),
        AuditCommand::Context { config, context } => context_hash(&config.file, &context, environment)?,
    };
    out.write_all(answer.as_bytes()).and_then(|()| out.flush()).map_err(output_failed)
}

fn verify(directory: &Path, expected: &Expected) -> Result<String, Failure> {
    let given = expected.public_key.is_some();
    let verified = verify_log(directory, expected).map_err(|error| match error {
        VerifyError::Nothing(_) => Failure::input(error),
        VerifyError::Io { .. } | VerifyError::Since(_) | VerifyError::Fault(_) => Failure::run(error),
    })?;
    let Verified { first, size, files, checkpoints, .. } = &verified;
    let mut text = format!(
        "in order: entries {first} to {} in {files} files, {checkpoints} checkpoints\nsigned with {}\n",
        size - 1,
        verified.public_key
    );
    match verified.unsigned() {
        0 => {}
        count => text += &format!("the last {count} entries are not covered by a checkpoint yet\n"),
    }
    if verified.is_torn {
        text += "the last line is not whole: it is being written, or the server crashed and was not started again\n";
    }
    if !given {
        text += "the key is the one that the log itself names: give --public-key to rule out that all of it was rewritten\n";
    }
    Ok(text)
}

fn prove(directory: &Path, what: &Provable) -> Result<String, Failure> {
    match (what.seq, &what.consistency) {
        (Some(seq), _) => prove_inclusion(directory, seq).map_err(Failure::run),
        (None, Some(older)) => prove_consistency(directory, &read(older)?).map_err(Failure::run),
        (None, None) => Err(Failure::input("say what to prove: --seq or --consistency")),
    }
}

fn check_proof(file: &Path, key: &NoteVerifier) -> Result<String, Failure> {
    let failure = |error: &dyn Display| Failure::run(format!("{}: {error}", file.display()));
    match verify_proof(&read(file)?, key).map_err(|error| failure(&error))? {
        Proven::Entry { index, line, size } => {
            let line = String::from_utf8(line).map_err(|error| failure(&error))?;
            Ok(format!("entry {index} is among the {size} entries that were signed:\n{line}\n"))
        }
        Proven::Extension { old, new } => {
            Ok(format!("the log of {new} entries begins with all {old} of the older one\n"))
        }
    }
}

/// The keys of a configured zone's log. The server may run meanwhile: the keyring file is replaced whole.
fn keys(file: &Path, environment: Environment<'_>) -> Result<LogKeys, Failure> {
    let (config, _) = config::load(file, environment).map_err(Failure::input)?;
    let reading = OpenKeyring::read(&config.store, &config.root_keys);
    let keyring = crate::serve::runtime()?.block_on(reading).map_err(Failure::run)?;
    LogKeys::derive(&keyring, &config.zone).map_err(Failure::run)
}

fn context_hash(file: &Path, context: &str, environment: Environment<'_>) -> Result<String, Failure> {
    let mut text = context.to_owned();
    if context == "-" {
        text.clear();
        io::stdin().lock().take(1 << 20).read_to_string(&mut text).map_err(Failure::input)?;
    }
    let context = STANDARD.decode(text.trim()).map_err(|_| Failure::input("the context must be in base64"))?;
    let hash = keys(file, environment)?.contexts().hash(EncryptionContext::from_bytes(&context));
    let hash = hash.ok_or_else(|| Failure::input("an empty context is none, and not shown"))?;
    Ok(format!("{}\n", hex::encode(hash)))
}

fn tail(arguments: TailArguments, out: &mut impl Write) -> Result<(), Failure> {
    let TailArguments { directory, follow, lines, all, key, credential, operation, since, until, result } = arguments;
    let mut tail = Tail::new(&directory, Filter { key, credential, operation, since, until, result });
    let failed = |error: io::Error| Failure::run(format!("{}: {error}", directory.display()));
    if all {
        tail.read(&mut |line| writeln!(out, "{line}")).map_err(failed)?;
    } else {
        let mut newest = VecDeque::new();
        tail.read(&mut |line| {
            newest.push_back(line.to_owned());
            if newest.len() > lines {
                newest.pop_front();
            }
            Ok(())
        })
        .map_err(failed)?;
        for line in newest {
            writeln!(out, "{line}").map_err(output_failed)?;
        }
    }
    out.flush().map_err(output_failed)?;
    if !follow {
        return Ok(());
    }
    loop {
        thread::sleep(LOOK);
        tail.read(&mut |line| writeln!(out, "{line}")).map_err(failed)?;
        out.flush().map_err(output_failed)?;
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| Failure::input(format!("{}: {error}", file.display())))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn output_failed(error: io::Error) -> Failure {
    Failure::run(format!("standard output: {error}"))
}
