//! The ZoneKMS server and its command line.
//!
//! [`main_entry`] is the whole program. The modules below it hold no rule about keys: they read the command line and the
//! configuration, load root keys and keyrings, and wire the store, the service and the front door together.

pub mod config;

mod adopt;
mod audit;
mod backup;
mod bench;
mod cli;
mod control;
mod dev;
mod duration;
mod failure;
mod file_lock;
mod inspect;
mod key_report;
mod keyring_file;
mod logging;
mod metrics;
mod operations;
mod private_files;
mod process;
mod root_key;
mod serve;
mod shred;
mod signals;
mod status;
mod tls;
mod usage_keeper;
mod zone_identity;
mod zone_server;

pub use logging::{LogFormat, LogLevel, LogSettings};
pub use root_key::{Environment, NewRootKeyError, RootKeyFault, RootKeySource};
pub use zone_identity::{PeerIdentity, ZoneIdentity, ZoneIdentityFault};

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use kms_crypto::OsEntropy;
use kms_root_key::RootKeyProvider;

use cli::{BackupKeyCommand, Cli, Command, KeyCommand, RootKeyCommand, ZoneIdentityCommand};
use failure::Failure;
use zone_identity::describe_new_identity;

/// Runs the command that the process's arguments name, and gives its exit code. `zonekms --help` lists the codes.
#[must_use]
pub fn main_entry() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" too, with exit code 0. A closed terminal is no reason to fail.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr().lock(), "zonekms: {failure}");
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    process::guard_secrets().map_err(Failure::run)?;
    let environment = root_key::PROCESS_ENVIRONMENT;
    match command {
        Command::Dev(arguments) => dev::dev(arguments, environment),
        Command::Serve { config } => serve::serve(&config.file, environment),
        Command::CheckConfig { config } => check_config(&config.file, environment),
        Command::AdoptStore { target } => print(&adopt::adopt_store(&target, environment)?),
        Command::Bench(arguments) => bench::bench(&arguments, environment),
        Command::Inspect { ciphertext } => print(&inspect::inspect(&ciphertext, io::stdin().lock())?),
        Command::Backup(arguments) => print(&backup::take(&arguments)?),
        Command::VerifyBackup(arguments) => print(&backup::verify(&arguments)?),
        Command::Restore(arguments) => print(&backup::restore(&arguments)?),
        Command::BackupKey(BackupKeyCommand::New { file }) => print(&backup::new_key(&file)?),
        Command::Shred(arguments) => print(&shred::shred(&arguments)?),
        Command::ZoneIdentity(ZoneIdentityCommand::New { directory, zone }) => {
            let identity = ZoneIdentity::create(&directory, &zone, &OsEntropy).map_err(Failure::run)?;
            print(&describe_new_identity(&directory, &zone, &identity))
        }
        Command::Key(KeyCommand::Status(arguments)) => print(&key_report::status(&arguments)?),
        Command::Key(KeyCommand::Report(arguments)) => print(&key_report::report(&arguments)?),
        Command::RootKey(RootKeyCommand::Status { target }) => print(&control::root_key_status(&target)?),
        Command::RootKey(RootKeyCommand::Rotate(arguments)) => print(&control::root_key_rotate(&arguments)?),
        Command::RootKey(RootKeyCommand::NewTokenKey { config }) => {
            let token = config::token(&config.file, environment).map_err(Failure::input)?;
            serve::runtime()?.block_on(token.create_wrapping_key()).map_err(Failure::run)?;
            print(&format!("made the {}", token.place()))
        }
        Command::Audit(command) => audit::run(command, environment, io::stdout().lock()),
        Command::RootKey(RootKeyCommand::New { file }) => {
            let key = root_key::create_root_key_file(&file, &OsEntropy).map_err(Failure::run)?;
            print(&root_key::describe_new_root_key(&file, &key.fingerprint()))
        }
    }
}

fn check_config(file: &Path, environment: Environment<'_>) -> Result<(), Failure> {
    let (config, report) = config::load(file, environment).map_err(Failure::input)?;
    for warning in report.warnings() {
        let _ = writeln!(io::stderr().lock(), "warning: {warning}");
    }
    print(&format!("{}: ok\n\n{config}", file.display()))
}

fn print(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{}", text.trim_end())
        .map_err(|error| Failure::run(format!("standard output: {error}")))
}
