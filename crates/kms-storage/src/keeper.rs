//! Making one group of commits durable: the engine first, then the manifest file.

use crate::engine::{self, Engine, MANIFEST_PATH};
use crate::manifest::{Accountant, Manifest};
use crate::manifest_file::ManifestFile;
use crate::opening::Found;
use crate::own_files::StoreLock;
use crate::record_key::RecordKey;
use crate::view::{History, Staged, View};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The engine and the two manifests. Fields are dropped in order: the lock last.
pub(crate) struct Keeper<E> {
    engine: E,
    manifest: Manifest,
    manifest_file: ManifestFile,
    accountant: Accountant,
    _lock: StoreLock,
}

impl<E: Engine> Keeper<E> {
    /// Takes over a store that was found right; the view reads its records.
    pub(crate) fn take_over(found: Found<E>, accountant: Accountant, history: History) -> (Self, View) {
        let Found { engine, records, manifest, manifest_file, lock } = found;
        let view = View::new(engine.reader(), manifest.revision, history).after(records);
        (Self { engine, manifest, manifest_file, accountant, _lock: lock }, view)
    }

    /// Makes what a group wrote durable.
    ///
    /// # Errors
    /// In words. It is then not known what of the group is there, and the keeper is not to be asked again.
    pub(crate) fn keep(&mut self, staged: &HashMap<RecordKey, Staged>) -> Result<(), String> {
        let kept = catch_unwind(AssertUnwindSafe(|| {
            let mut manifest = self.manifest.clone();
            let mut entries = Vec::with_capacity(staged.len() + 1);
            for (key, Staged { before, entry }) in staged {
                if let Some(before) = before {
                    self.accountant.remove(&mut manifest, key, before);
                }
                self.accountant.add(&mut manifest, key, entry);
                manifest.revision = manifest.revision.max(entry.revision);
                entries.push((key.as_str().into(), engine::encode_entry(entry)));
            }
            entries.push((MANIFEST_PATH.into(), self.accountant.encode(&manifest).to_vec()));
            self.engine.write(entries)?;
            self.manifest_file.write(&self.accountant, &manifest).map_err(|error| error.to_string())?;
            self.manifest = manifest;
            Ok(())
        }));
        kept.unwrap_or_else(|_| Err("the engine panicked".to_owned()))
    }
}
