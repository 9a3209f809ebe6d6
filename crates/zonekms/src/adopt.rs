//! `zonekms adopt-store`: an operator says that the store as it is now is the right one.

use std::path::Path;
use std::sync::Arc;

use kms_crypto::{Entropy, OsEntropy};
use kms_storage::{SledPaths, SledStore};

use crate::config;
use crate::failure::Failure;
use crate::keyring_file::{OpenKeyring, ZoneLock};
use crate::root_key::Environment;
use crate::zone_server::ManifestTags;

/// Writes the manifest of the configured store anew, and says at which revision the store stands.
pub(crate) fn adopt_store(file: &Path, environment: Environment<'_>) -> Result<String, Failure> {
    let (config, _) = config::load(file, environment).map_err(Failure::input)?;
    let lock = ZoneLock::take(&config.store).map_err(Failure::run)?;
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let runtime = crate::serve::runtime()?;
    let opened = runtime.block_on(OpenKeyring::open_existing(&lock, &config.zone, &config.root_keys, &entropy));
    let OpenKeyring { keyring, for_manifest, .. } = opened.map_err(Failure::run)?;
    let paths = SledPaths { store: config.store.directory, manifest: config.store.manifest };
    let adopted = SledStore::adopt_manifest(paths, *keyring.store_id(), Arc::new(ManifestTags(for_manifest)));
    let revision = runtime.block_on(adopted).map_err(Failure::run)?;
    Ok(format!("the store is adopted as it stands, at revision {}", revision.get()))
}
