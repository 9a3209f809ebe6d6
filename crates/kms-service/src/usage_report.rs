//! What operators are told of the use of keys.

use kms_lifecycle::{Key, Status, VersionInfo};
use kms_types::{KeyId, OrganisationName, Timestamp};
use std::sync::Arc;
use std::time::Duration;

use crate::kms::{Kms, Zone};
use crate::snapshot::Snapshot;
use crate::usage::Use;

/// A key that was used within this time is one that somebody would miss.
const RECENT: Duration = Duration::from_secs(86_400);

/// A key and what its versions were used for in this zone.
#[derive(Clone, Debug)]
pub struct KeyUse {
    /// The key.
    pub key: Arc<Key>,
    /// Its versions, oldest first.
    pub versions: Vec<VersionUse>,
    /// Whether it was used in the last day.
    pub recently: bool,
}

/// One version and what it was used for.
#[derive(Clone, Copy, Debug)]
pub struct VersionUse {
    /// The version.
    pub info: VersionInfo,
    /// What it was used for.
    pub used: Use,
}

/// Which keys a report is about.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    /// Those of this organisation; otherwise everyone's.
    pub organisation: Option<OrganisationName>,
    /// Those of which a version other than the newest was decrypted with, and of them those versions.
    pub old_versions: bool,
}

impl KeyUse {
    fn of(snapshot: &Snapshot, now: Timestamp) -> Self {
        let versions = snapshot.key().versions().iter().zip(snapshot.all_material());
        let versions: Vec<_> =
            versions.map(|(info, material)| VersionUse { info: *info, used: material.usage().read() }).collect();
        let mut told = Self { key: snapshot.to_key(), versions, recently: false };
        told.recently = told.in_all().last_at().is_some_and(|last| now.since(last) < RECENT);
        told
    }

    /// All versions together.
    #[must_use]
    pub fn in_all(&self) -> Use {
        self.versions.iter().fold(Use::default(), |all, version| all.and(version.used))
    }

    /// The key's status as the API names it.
    #[must_use]
    pub fn status_name(&self) -> &'static str {
        match self.key.status() {
            Status::Enabled { .. } => "enabled",
            Status::Disabled { .. } => "disabled",
            Status::PendingDeletion { .. } => "pending-deletion",
        }
    }

    /// When the key goes, if its deletion is scheduled.
    #[must_use]
    pub fn delete_at(&self) -> Option<Timestamp> {
        match self.key.status() {
            Status::PendingDeletion { delete_at, .. } => Some(*delete_at),
            Status::Enabled { .. } | Status::Disabled { .. } => None,
        }
    }

    fn only_old_versions(mut self) -> Option<Self> {
        let current = self.key.current_version().version;
        self.versions.retain(|version| version.info.version != current && version.used.decrypts > 0);
        (!self.versions.is_empty()).then_some(self)
    }
}

impl Kms {
    /// Since when uses are counted: the zone's first start, or the first after what was saved was lost.
    #[must_use]
    pub fn usage_counted_since(&self) -> Timestamp {
        self.zone().counting.since()
    }

    /// The use of one key, whosever it is; `None` when it is not there.
    #[must_use]
    pub fn usage_of(&self, id: KeyId) -> Option<KeyUse> {
        let snapshot = self.zone().directory.shown(id)?;
        Some(KeyUse::of(&snapshot, self.zone().clock.now()))
    }

    /// The use of at most `limit` keys after `after`, in the order of their ids, which is that of their creation.
    #[must_use]
    pub fn usage_page(&self, filter: &UsageFilter, after: Option<KeyId>, limit: usize) -> Vec<KeyUse> {
        let now = self.zone().clock.now();
        let mut shown = self.zone().directory.all_shown();
        shown.retain(|snapshot| after.is_none_or(|after| snapshot.key().id() > after));
        shown.sort_unstable_by_key(|snapshot| snapshot.key().id());
        let told = shown.iter().filter_map(|snapshot| {
            let asked = filter.organisation.as_ref().is_none_or(|name| name == snapshot.key().organisation());
            let told = asked.then(|| KeyUse::of(snapshot, now))?;
            if filter.old_versions { told.only_old_versions() } else { Some(told) }
        });
        told.take(limit).collect()
    }

    /// How many keys were used in the last day, and of how many of them an older version was decrypted with then.
    #[must_use]
    pub fn keys_used_recently(&self) -> (u64, u64) {
        let now = self.zone().clock.now();
        let recent = |time: Option<Timestamp>| time.is_some_and(|time| now.since(time) < RECENT);
        let (mut used, mut old) = (0, 0);
        for snapshot in self.zone().directory.all_shown() {
            let Some((newest, older)) = snapshot.all_material().split_last() else { continue };
            let of_old = older.iter().any(|material| recent(material.usage().read().decrypted_at));
            let of_any = of_old || older.iter().chain([newest]).any(|one| recent(one.usage().read().last_at()));
            used += u64::from(of_any);
            old += u64::from(of_old);
        }
        (used, old)
    }
}

impl Zone {
    /// Tells whoever operates the zone that a key whose deletion was asked for is in use.
    pub(crate) fn warn_of_recent_use(&self, snapshot: &Snapshot, by: &str) {
        let told = KeyUse::of(snapshot, self.clock.now());
        let Some(last) = told.in_all().last_at().filter(|_| told.recently) else { return };
        let Use { encrypts, decrypts, .. } = told.in_all();
        tracing::warn!(
            key = %told.key.id(),
            organisation = %told.key.organisation(),
            by,
            last_use = %last,
            encrypts,
            decrypts,
            "a key that was used in the last day is to be deleted"
        );
    }
}
