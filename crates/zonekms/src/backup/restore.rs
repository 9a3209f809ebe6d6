//! `zonekms restore`: a zone made of a backup, where there is none.
//!
//! The keyring gets its own name last of all. Until then it has another, by which every later command sees that a restore was
//! cut short; so there is no instant at which a kill leaves half a zone that looks like a whole one.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use kms_crypto::{Entropy, OsEntropy};
use kms_service::{RestoreTarget, Restored, ServiceClock, VerifiedBackup, verify_backup};
use kms_storage::{SledPaths, SledStore, Store};

use super::locks::unlock;
use super::progress::Progress;
use super::verify::{describe, open};
use crate::cli::RestoreArguments;
use crate::control::{Target, ZoneFiles};
use crate::failure::Failure;
use crate::keyring_file::{OpenKeyring, ZoneLock, require_empty};
use crate::private_files::create_private_directory;
use crate::root_key::{PROCESS_ENVIRONMENT, RootKeysFrom, create_root_key_file};
use crate::serve::runtime;
use crate::zone_server::ManifestTags;

/// Restores, and says what was made.
pub(crate) fn restore(arguments: &RestoreArguments) -> Result<String, Failure> {
    let files = Target::find(&arguments.target)?.files()?;
    let file = &arguments.from;
    let unlock = unlock(&arguments.unlock)?;
    // Before the long part.
    let lock = ZoneLock::take(&files.store).map_err(Failure::run)?;
    require_empty(&files.store).map_err(Failure::run)?;
    require_no_log(&files.audit)?;
    let mut progress = Progress::new("verified");
    let verified = verify_backup(&unlock, open(file)?, &mut |records| progress.show(records, None));
    drop(progress);
    let told = |error: &dyn std::fmt::Display| Failure::run(format!("{}: {error}", file.display()));
    let verified = verified.map_err(|error| told(&error))?;
    let now = ServiceClock::system().wall();
    verified.check_target(&files.zone, now).map_err(|error| told(&error))?;
    make_missing_root_key(&files.root_keys)?;

    let keys = files.root_keys.load(PROCESS_ENVIRONMENT)?;
    let restored = runtime()?.block_on(async {
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let ZoneFiles { zone, store: location, .. } = &files;
        let made = OpenKeyring::make_for_restore(&lock, zone, &keys, &entropy, now.as_seconds()).await;
        let OpenKeyring { keyring, for_manifest, first_start, .. } = made.map_err(Failure::run)?;
        kms_crashpoint::passed("restore:keyring-made");
        let paths = SledPaths { store: location.directory.clone(), manifest: location.manifest.clone() };
        let tags = Arc::new(ManifestTags(for_manifest));
        let store = SledStore::open(paths, *keyring.store_id(), tags).await.map_err(Failure::run)?;
        kms_crashpoint::passed("restore:store-made");
        let mut progress = Progress::new("restored");
        let target = RestoreTarget { zone, store: &store, keyring, entropy, now };
        let restored =
            verified.restore(&unlock, open(file)?, target, &mut |records| progress.show(records, None)).await;
        kms_crashpoint::passed("restore:records-made");
        let closed = store.close().await;
        kms_crashpoint::passed("restore:store-closed");
        let restored = restored.map_err(|error| told(&error))?;
        closed.map_err(Failure::run)?;
        if let Some(restore) = first_start {
            restore.settle().map_err(Failure::run)?;
            kms_crashpoint::passed("restore:settled");
        }
        Ok::<_, Failure>(restored)
    })?;
    Ok(describe_restored(file, &verified, &restored))
}

/// The restored zone has a new keyring, and its log another key than any that is there: the server would not go on with that.
fn require_no_log(directory: &Path) -> Result<(), Failure> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::run(format!("{}: {error}", directory.display()))),
    };
    for entry in entries {
        let path = entry.map_err(|error| Failure::run(format!("{}: {error}", directory.display())))?.path();
        if path.extension().is_some_and(|ending| ending == "jsonl") {
            return Err(Failure::run(format!(
                "{} holds the audit log of an earlier zone, and a restored zone begins a log of its own: keep that one, and \
                 move it away or name another audit.directory",
                directory.display()
            )));
        }
    }
    Ok(())
}

/// A new lab has no root key yet, and no configuration that could name one.
fn make_missing_root_key(root_keys: &RootKeysFrom) -> Result<(), Failure> {
    match root_keys {
        RootKeysFrom::KeyFile(path) if !path.exists() => {
            if let Some(directory) = path.parent() {
                create_private_directory(directory)
                    .map_err(|error| Failure::run(format!("{}: {error}", directory.display())))?;
            }
            create_root_key_file(path, &OsEntropy).map(|_| ()).map_err(Failure::run)
        }
        RootKeysFrom::KeyFile(_) | RootKeysFrom::Config(_) => Ok(()),
    }
}

fn describe_restored(file: &Path, verified: &VerifiedBackup, restored: &Restored) -> String {
    let Restored { deletions_held, rotated } = restored;
    let mut text = format!("restored from {}\n\n{}", file.display(), describe(verified.content()));
    // Writing to a string does not fail.
    if *rotated > 0 {
        let _ = writeln!(text, "rotated   {rotated} keys of several zones have a new material version");
    }
    if *deletions_held > 0 {
        let _ = writeln!(
            text,
            "held      {deletions_held} deletions come seven days from now at the earliest; cancel those not wanted"
        );
    }
    let _ = writeln!(
        text,
        "\nWhat was changed after the backup is not in it: keys disabled or deleted since are as they were."
    );
    text
}
