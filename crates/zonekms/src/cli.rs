//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use kms_types::{KeyId, KeyName, OrganisationName, ZoneName};

use crate::audit::AuditCommand;
use crate::bench::BenchArguments;

/// A self-hosted key management service that speaks Exoscale's KMS API.
#[derive(Debug, Parser)]
#[command(name = "zonekms", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done, or stopped in good order by SIGTERM or SIGINT
  1    the server could not start, or had to stop; nothing that was answered is lost
  2    the command line, the configuration or the input is not right
  130  SIGINT (143: SIGTERM) came a second time, and the server ended at once

Environment:
  ZONEKMS_LOG  what to log, such as info or info,kms_http=debug; replaces the configured level";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole lab on this machine: a real server per zone, with keys and an API key made on first start.
    Dev(DevArguments),
    /// Run one zone.
    Serve {
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Check a configuration and everything it points to, and say what it means. Nothing is started or written.
    CheckConfig {
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Accept the store as it is, after its manifest was lost or older files were put in its place. Keys that were disabled or
    /// deleted since are back. The audit log is told.
    AdoptStore {
        #[command(flatten)]
        target: TargetArguments,
    },
    /// Put load on key management services, one or several side by side, and report what they can do.
    Bench(Box<BenchArguments>),
    /// Show what a ciphertext says about itself: key, version, sizes. Needs no key.
    Inspect {
        /// The ciphertext in base64, or - to read it from standard input.
        #[arg(allow_hyphen_values = true)]
        ciphertext: String,
    },
    /// What a zone proves itself with to other zones.
    #[command(subcommand)]
    ZoneIdentity(ZoneIdentityCommand),
    /// How keys are used, of a running server.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Root keys.
    #[command(subcommand)]
    RootKey(RootKeyCommand),
    /// Read and verify the audit log of a zone.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Back a zone up into one encrypted file, while its server runs or while none does.
    Backup(BackupArguments),
    /// Prove that a backup is whole and that every key version in it matches its check value. Nothing is restored.
    VerifyBackup(VerifyBackupArguments),
    /// Make a zone of a backup, where there is none: with a new keyring under the configured root key.
    Restore(RestoreArguments),
    /// Keys that backups are encrypted to.
    #[command(subcommand)]
    BackupKey(BackupKeyCommand),
    /// Show how far the material of deleted keys is shredded, or shred it now: through a running server.
    Shred(ShredArguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgument {
    /// The configuration (TOML).
    #[arg(long = "config", value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Which server a command is for.
#[derive(Debug, clap::Args)]
pub(crate) struct TargetArguments {
    /// The configuration of the server (TOML).
    #[arg(long, value_name = "FILE", required_unless_present = "data_dir", conflicts_with = "data_dir")]
    pub(crate) config: Option<PathBuf>,
    /// The data directory of `zonekms dev`.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The zone, where a server has several.
    #[arg(long, value_name = "NAME")]
    pub(crate) zone: Option<ZoneName>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Show one key and how often, and when last, each of its versions was used.
    Status(KeyStatusArguments),
    /// Show how often, and when last, each version of each key was used.
    Report(KeyReportArguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct KeyStatusArguments {
    /// The key's id.
    pub(crate) key: KeyId,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct KeyReportArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    /// Only the keys of this organisation.
    #[arg(long, value_name = "NAME")]
    pub(crate) organisation: Option<OrganisationName>,
    /// Only older versions that were decrypted with: what a rewrap has yet to reach.
    #[arg(long)]
    pub(crate) old_versions: bool,
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RotateArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    /// Change to the root key of the configuration's section [root-key-next], instead of another one of the same provider.
    #[arg(long)]
    pub(crate) to_next: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RootKeyCommand {
    /// Make a random root key in a new file that only you can read.
    New {
        /// The file; it must not exist.
        file: PathBuf,
    },
    /// Show which root key a zone's keyring is wrapped under.
    Status {
        #[command(flatten)]
        target: TargetArguments,
    },
    /// Wrap a zone's keyring under another root key: by the running server, or on the files when none runs.
    Rotate(RotateArguments),
    /// Make the AES key that the section pkcs11 of the configuration names, in its token.
    NewTokenKey {
        #[command(flatten)]
        config: ConfigArgument,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct BackupArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    /// The file of the backup. It must not exist.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
    #[command(flatten)]
    pub(crate) lock: LockArguments,
    /// Put the new backup in the place of a file that exists, once it is whole.
    #[arg(long)]
    pub(crate) force: bool,
}

/// Who can open a backup.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct LockArguments {
    /// A public key, as `zonekms backup-key new` or age-keygen prints it. Several may be given.
    #[arg(long = "recipient", value_name = "AGE1...", conflicts_with = "passphrase_file")]
    pub(crate) recipients: Vec<String>,
    /// A file with a public key on each line.
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_file")]
    pub(crate) recipients_file: Option<PathBuf>,
    /// A file with a passphrase of at least 12 characters, which only you can read.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// What opens a backup.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct UnlockArguments {
    /// The file of a private key, which only you can read.
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// The file of the passphrase, which only you can read.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyBackupArguments {
    /// The backup.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) unlock: UnlockArguments,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArguments {
    /// The backup.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: PathBuf,
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    #[command(flatten)]
    pub(crate) unlock: UnlockArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupKeyCommand {
    /// Make a private key in a new file that only you can read, and print its public key.
    New {
        /// The file; it must not exist.
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShredArguments {
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    /// Make a pass now, and wait for its end. Afterwards nothing in the data directory opens what was deleted before.
    #[arg(long)]
    pub(crate) now: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ZoneIdentityCommand {
    /// Make a certificate and an HPKE key in a new directory that only you can read, and print what other zones need of it.
    New {
        /// The directory; it must not exist.
        directory: PathBuf,
        /// The zone.
        #[arg(long, value_name = "NAME")]
        zone: ZoneName,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct DevArguments {
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", default_value = "./zonekms-data")]
    pub(crate) data_dir: PathBuf,
    /// The first zone's address, on loopback; the other zones and the lab follow on the next ports. Port 0: free ports.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// The zones, the first being the one the env file names.
    #[arg(long, value_name = "ZONES", value_delimiter = ',', default_value = "ch-gva-2,ch-dk-2,de-fra-1")]
    pub(crate) zones: Vec<ZoneName>,
    /// Have a default key of this name in every zone.
    #[arg(long, value_name = "NAME")]
    pub(crate) default_key: Option<KeyName>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn dev_needs_no_arguments() {
        let cli = Cli::try_parse_from(["zonekms", "dev"]).unwrap();
        let Command::Dev(dev) = cli.command else { panic!("not dev") };
        assert_eq!(dev.data_dir, PathBuf::from("./zonekms-data"));
        assert_eq!(dev.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(dev.zones.iter().map(ZoneName::as_str).collect::<Vec<_>>(), ["ch-gva-2", "ch-dk-2", "de-fra-1"]);
        assert_eq!(dev.default_key, None);
    }
}
