//! `zonekms audit`: reads and verifies the audit log of a zone.

mod commands;

use std::path::PathBuf;

use clap::Subcommand;
use kms_audit::NoteVerifier;
use kms_types::{KeyId, Timestamp};

pub(crate) use commands::run;

use crate::cli::ConfigArgument;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Find whatever was removed, altered, put in another order or cut off. Exit code 1 if something was.
    Verify {
        /// The log's directory.
        directory: PathBuf,
        #[command(flatten)]
        key: PublicKeyArgument,
        /// A checkpoint that was kept elsewhere: the log must be an extension of what it covers.
        #[arg(long, value_name = "FILE")]
        since: Option<PathBuf>,
        /// The entry that the oldest file begins with, when older files were moved away.
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        first: u64,
    },
    /// Print a proof for those who do not have the log: that an entry is in it, or that it was only added to.
    Prove {
        /// The log's directory.
        directory: PathBuf,
        #[command(flatten)]
        what: Provable,
    },
    /// Verify a proof and show what it proves.
    VerifyProof {
        /// The proof.
        file: PathBuf,
        /// The log's public key, as `zonekms audit key` prints it.
        #[arg(long, value_name = "KEY")]
        public_key: NoteVerifier,
    },
    /// Print entries, newest last. Nothing is verified.
    Tail(TailArguments),
    /// Print the newest checkpoint, to be kept elsewhere for `verify --since`.
    Checkpoint {
        /// The log's directory.
        directory: PathBuf,
    },
    /// Print the public key of a zone's log, to be kept elsewhere. Needs the root key.
    Key {
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Print the hash by which a zone's log shows an encryption context. Needs the root key.
    Context {
        #[command(flatten)]
        config: ConfigArgument,
        /// The context in base64, as in a request, or - to read it from standard input.
        #[arg(allow_hyphen_values = true)]
        context: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct PublicKeyArgument {
    /// The log's public key, as `zonekms audit key` prints it. Without it, the key that the log names is believed.
    #[arg(long, value_name = "KEY")]
    pub(crate) public_key: Option<NoteVerifier>,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Provable {
    /// That this entry is in the log.
    #[arg(long, value_name = "SEQ")]
    pub(crate) seq: Option<u64>,
    /// That the log is an extension of what this checkpoint covers.
    #[arg(long, value_name = "CHECKPOINT")]
    pub(crate) consistency: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TailArguments {
    /// The log's directory.
    pub(crate) directory: PathBuf,
    /// Go on printing what is added.
    #[arg(long)]
    pub(crate) follow: bool,
    /// The most entries to begin with.
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "all")]
    pub(crate) lines: usize,
    /// Begin with all entries.
    #[arg(long)]
    pub(crate) all: bool,
    /// Only entries about this key.
    #[arg(long, value_name = "ID")]
    pub(crate) key: Option<KeyId>,
    /// Only entries with this API key.
    #[arg(long, value_name = "ID")]
    pub(crate) credential: Option<String>,
    /// Only entries of this operation, such as encrypt or rotate-kms-key.
    #[arg(long, value_name = "NAME")]
    pub(crate) operation: Option<String>,
    /// Only entries of this time (RFC 3339) and later.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Timestamp>,
    /// Only entries before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Timestamp>,
    /// Only entries with this result.
    #[arg(long, value_name = "RESULT", value_parser = ["ok", "refused"])]
    pub(crate) result: Option<String>,
}
