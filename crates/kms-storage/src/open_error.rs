//! Why a store on disk was not opened.

use std::io;
use std::path::PathBuf;

/// Why a store was not opened. No record was written; every message says what happened and what to do. (sled may have cut
/// what it takes for the torn end of its log: keep a copy of damaged files before any further try.)
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the store {} is in use by another process: stop that one, or give this one a store of its own", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The store holds an older state than the manifest file has seen.
    #[error(
        "the store was set back: it stands at revision {store}, but revision {expected} was reached. Older files were put \
         in its place, or changes were lost. Keys disabled or deleted since may come back: stop, and put the newest files \
         or a current backup in place"
    )]
    RolledBack {
        /// The store's revision.
        store: u64,
        /// The revision of the manifest file.
        expected: u64,
    },
    /// There are fewer or other records than the store's own account says.
    #[error(
        "records were lost: the store holds {found} live records, its manifest says {expected} at revision {revision}. \
         Do not start empty: put the newest files or a current backup in place"
    )]
    RecordsLost {
        /// Live records found.
        found: u64,
        /// Live records there should be.
        expected: u64,
        /// The revision of the manifest.
        revision: u64,
    },
    /// The files are damaged.
    #[error("the store is damaged: {what}. Check the disk, then put a current backup in place")]
    Damaged {
        /// What is wrong, with the record's name where one is known.
        what: String,
    },
    /// A newer build wrote it.
    #[error("the store has format {found}, this build reads up to {known}: start the newer build that wrote it")]
    NewerFormat {
        /// The store's format.
        found: u8,
        /// The newest format this build reads.
        known: u8,
    },
    /// It belongs to another keyring.
    #[error(
        "{} belongs to another keyring: the keyring, the store and the manifest file were not made together. Start with \
         those that belong together", path.display()
    )]
    WrongStore {
        /// The store's directory or the manifest file.
        path: PathBuf,
    },
    /// The store is there, but the manifest file is not.
    #[error(
        "the manifest file {} is missing, so nobody can tell whether the store was set back: put it back, or, when you know \
         that the store is the newest, let it be adopted", path.display()
    )]
    ManifestMissing {
        /// The manifest file.
        path: PathBuf,
    },
    /// Files belong to another user, or cannot be closed to other users.
    #[error("{} must belong to the user that runs this process, and to nobody else: {what}", path.display())]
    Permissions {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}
