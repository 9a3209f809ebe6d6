//! `zonekms adopt-store`: an operator says that the store as it is now is the right one.

use std::sync::Arc;

use kms_audit::{AuditSettings, FileAuditLog, LogKeys};
use kms_crypto::{Entropy, OsEntropy};
use kms_service::{AuditLog, record_adoption};
use kms_storage::{SledPaths, SledStore};

use crate::cli::TargetArguments;
use crate::control::{Target, ZoneFiles};
use crate::failure::Failure;
use crate::keyring_file::{OpenKeyring, ZoneLock};
use crate::root_key::Environment;
use crate::zone_server::ManifestTags;

/// Writes the manifest of a zone's store anew, has the audit log take the store as it stands, and says at which revision
/// that is.
pub(crate) fn adopt_store(arguments: &TargetArguments, environment: Environment<'_>) -> Result<String, Failure> {
    let target = Target::find(arguments)?;
    let ZoneFiles { zone, store, audit, root_keys } = target.files()?;
    let lock = ZoneLock::take(&store).map_err(Failure::run)?;
    let root_keys = root_keys.load(environment)?;
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let runtime = crate::serve::runtime()?;
    let opened = runtime.block_on(OpenKeyring::open_existing(&lock, &zone, &root_keys, &entropy));
    let OpenKeyring { keyring, for_manifest, .. } = opened.map_err(Failure::run)?;
    // Before the manifest: without its log the zone would not be served either.
    let clock = target.clock()?;
    let log_keys = LogKeys::derive(&keyring, &zone).map_err(Failure::run)?;
    let log =
        FileAuditLog::open(AuditSettings::in_directory(audit), log_keys, Arc::clone(&clock)).map_err(Failure::run)?;
    let paths = SledPaths { store: store.directory, manifest: store.manifest };
    let adopted = SledStore::adopt_manifest(paths, *keyring.store_id(), Arc::new(ManifestTags(for_manifest)));
    let revision = runtime.block_on(adopted).map_err(Failure::run)?;
    let recorded = runtime.block_on(async {
        let recorded = record_adoption(&log, revision, clock.now()).await;
        log.close().await;
        recorded
    });
    let missing = recorded.map_err(|fault| Failure::run(format!("{fault}: make room, and repeat the command")))?;
    let mut text = format!("the store is adopted as it stands, at revision {}", revision.get());
    if missing > 0 {
        text += &format!("; the audit log knew of {missing} commits more, which are given up");
    }
    Ok(text)
}
