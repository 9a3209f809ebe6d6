//! One consistent look at a key: its lifecycle state and the material of every version, together.

use kms_crypto::KeyMaterial;
use kms_lifecycle::{DecryptPermit, EncryptPermit, InconsistentKey, Key, KeyParts, Kind};
use kms_storage::RecordVersion;
use kms_types::{KeyId, MaterialVersion};
use std::ops::Deref;
use std::sync::Arc;

use crate::usage::VersionUsage;

/// A key as its record at one version says it. Never changed, only replaced; the material is wiped with the last reference
/// to it.
///
/// What a use of the key reads stands first, in two cache lines: see [`Key`].
#[repr(C)]
pub(crate) struct Snapshot {
    /// The material of each of the key's versions, in their order.
    material: Materials,
    key: Key,
    record: RecordVersion,
}

/// The material of one version of a key, and what it was used for. Clones are the same one: versions live on in later snapshots.
#[derive(Clone)]
pub(crate) struct VersionMaterial(triomphe::Arc<Used>);

struct Used {
    material: KeyMaterial,
    usage: VersionUsage,
}

impl VersionMaterial {
    /// Material that was not used yet.
    pub(crate) fn new(material: KeyMaterial) -> Self {
        Self(triomphe::Arc::new(Used { material, usage: VersionUsage::default() }))
    }

    pub(crate) fn usage(&self) -> &VersionUsage {
        &self.0.usage
    }

    /// Whether both are the same one in memory.
    fn is(&self, other: &Self) -> bool {
        triomphe::Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Deref for VersionMaterial {
    type Target = KeyMaterial;

    fn deref(&self) -> &KeyMaterial {
        &self.0.material
    }
}

/// The material of a key's versions, oldest first. Most keys have one version, which takes no list.
#[derive(Clone)]
enum Materials {
    One(VersionMaterial),
    Many(Box<[VersionMaterial]>),
}

impl Snapshot {
    /// `material` holds one entry for each of the key's versions, oldest first.
    pub(crate) fn new(key: Key, material: Box<[VersionMaterial]>, record: RecordVersion) -> Self {
        let material = match &*material {
            [one] => Materials::One(one.clone()),
            _ => Materials::Many(material),
        };
        Self { key, material, record }
    }

    /// The same key as its organisation's default key.
    pub(crate) fn into_default_key(self) -> Result<Self, InconsistentKey> {
        let parts = KeyParts { kind: Kind::Default, ..self.key.to_parts() };
        Ok(Self { key: Key::restore(parts)?, ..self })
    }

    /// The same key and material, whose record has become version `record`.
    pub(crate) fn stored_as(&self, record: RecordVersion) -> Self {
        Self { key: self.key.clone(), material: self.material.clone(), record }
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// The key alone, to be told to a caller.
    pub(crate) fn to_key(&self) -> Arc<Key> {
        Arc::new(self.key.clone())
    }

    /// The version of the store record that this snapshot shows.
    pub(crate) fn record(&self) -> RecordVersion {
        self.record
    }

    /// All material, oldest first: to seal the key's next record.
    pub(crate) fn all_material(&self) -> &[VersionMaterial] {
        match &self.material {
            Materials::One(one) => std::slice::from_ref(one),
            Materials::Many(all) => all,
        }
    }

    /// Goes on counting where `before`, an earlier snapshot of the key that was not made from the same material in memory,
    /// leaves off. What is counted there meanwhile is lost.
    pub(crate) fn take_over_usage(&self, before: &Self) {
        for (info, material) in self.key.versions().iter().zip(self.all_material()) {
            let known = before.key.place_of(info.version).and_then(|place| before.all_material().get(place));
            if let Some(known) = known.filter(|known| !known.is(material)) {
                material.usage().set(known.usage().read());
            }
        }
    }

    /// The material to encrypt with; `None` when the permit is for another key.
    pub(crate) fn material_to_encrypt(&self, permit: &EncryptPermit) -> Option<&VersionMaterial> {
        self.material_of(permit.key_id(), permit.version())
    }

    /// The material to decrypt with; `None` when the permit is for another key.
    pub(crate) fn material_to_decrypt(&self, permit: &DecryptPermit) -> Option<&VersionMaterial> {
        self.material_of(permit.key_id(), permit.version())
    }

    fn material_of(&self, key: KeyId, version: MaterialVersion) -> Option<&VersionMaterial> {
        if key != self.key.id() {
            return None;
        }
        self.all_material().get(self.key.place_of(version)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;
    use std::sync::atomic::AtomicUsize;

    /// Each key in memory has one of each, and the allocator rounds both up, after eight bytes of its own, to a multiple of 16.
    #[test]
    fn a_snapshot_and_its_material_are_small() {
        assert_eq!(size_of::<[AtomicUsize; 2]>() + size_of::<Snapshot>(), 216);
        assert_eq!(size_of::<AtomicUsize>() + size_of::<Used>(), 40);
        assert_eq!(offset_of!(Snapshot, key), 16, "the material comes first, then what a use asks of the key");
    }
}
