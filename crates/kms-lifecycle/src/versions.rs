//! The versions of a key's material.

use kms_types::{MaterialVersion, Timestamp};

/// How a version of the material came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// With the key; version 1 only.
    Created,
    /// By a user's request to rotate.
    Manually,
    /// By the rotation schedule.
    Automatically,
}

/// What is known of one version of a key's material.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionInfo {
    /// Its number.
    pub version: MaterialVersion,
    /// When it was made.
    pub created_at: Timestamp,
    /// How it was made.
    pub made: Made,
}

/// All versions of a key: numbered 1 to n without a gap, the first made with the key, the others by rotation, none older
/// than the one before. Most keys have one, which takes no memory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    /// The first only.
    One(VersionInfo),
    /// The first and those of the rotations since, oldest first.
    Rotated(Box<[VersionInfo]>),
}

impl Versions {
    /// The one version of a key created at `now`.
    pub(crate) const fn first(now: Timestamp) -> Self {
        Self::One(VersionInfo { version: MaterialVersion::FIRST, created_at: now, made: Made::Created })
    }

    /// Versions read from a store, oldest first; `None` when they are not what [`Versions`] promises.
    pub(crate) fn from_list(all: Vec<VersionInfo>) -> Option<Self> {
        let (first, later) = all.split_first()?;
        if first.version != MaterialVersion::FIRST || first.made != Made::Created {
            return None;
        }
        let mut current = *first;
        for next in later {
            let follows = Some(next.version) == current.version.next() && next.created_at >= current.created_at;
            if !follows || next.made == Made::Created {
                return None;
            }
            current = *next;
        }
        if later.is_empty() {
            return Some(Self::One(current));
        }
        Some(Self::Rotated(all.into()))
    }

    /// The version that follows, made at `now`; `None` at the end of the range.
    pub(crate) fn following(&self, now: Timestamp, made: Made) -> Option<VersionInfo> {
        self.current().version.next().map(|version| VersionInfo { version, created_at: now, made })
    }

    /// These versions and `next`, which [`Versions::following`] gave for them.
    pub(crate) fn with(&self, next: VersionInfo) -> Self {
        Self::Rotated(self.as_slice().iter().copied().chain([next]).collect())
    }

    pub(crate) const fn as_slice(&self) -> &[VersionInfo] {
        match self {
            Self::One(version) => std::slice::from_ref(version),
            Self::Rotated(all) => all,
        }
    }

    pub(crate) fn first_created_at(&self) -> Timestamp {
        match self {
            Self::One(version) => version.created_at,
            Self::Rotated(all) => all[0].created_at,
        }
    }

    pub(crate) fn current(&self) -> &VersionInfo {
        match self {
            Self::One(version) => version,
            Self::Rotated(all) => &all[all.len() - 1],
        }
    }

    /// Whether the key has that version. They have no gap, so the newest number tells.
    pub(crate) fn contains(&self, version: MaterialVersion) -> bool {
        version <= self.current().version
    }

    pub(crate) fn made_manually(&self) -> usize {
        self.as_slice().iter().filter(|info| info.made == Made::Manually).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_with_their_range() {
        let at = |number| {
            let version = MaterialVersion::new(number).unwrap();
            let last = VersionInfo { version, created_at: Timestamp::EPOCH, made: Made::Manually };
            Versions::One(last).following(Timestamp::EPOCH, Made::Manually)
        };
        assert_eq!(at(u32::MAX - 1).map(|info| info.version.get()), Some(u32::MAX));
        assert_eq!(at(u32::MAX), None);
    }

    #[test]
    fn the_version_that_follows_becomes_the_current_one() {
        let one = Versions::first(Timestamp::EPOCH);
        let two = one.with(one.following(Timestamp::EPOCH, Made::Automatically).unwrap());
        assert_eq!(two.current(), two.as_slice().last().unwrap());
        assert_eq!(Versions::from_list(two.as_slice().to_vec()), Some(two));
    }
}
