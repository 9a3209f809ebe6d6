//! The versions of a key's material.

use kms_types::{MaterialVersion, Revision, Timestamp};

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

/// All versions of a key in ascending order: the first, number 1, made with the key, the others by rotation, none older
/// than the one before. There is no gap between their numbers but where a restore from a backup left room for versions that
/// nobody knows of any more: see [`floor`]. Most keys have one, which takes no memory of its own, so it is the list of the others
/// that lies behind one more pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    /// The first only.
    One(VersionInfo),
    /// The first and those of the rotations since, oldest first.
    Rotated(Box<Box<[VersionInfo]>>),
}

impl Versions {
    /// The one version of a key created at `now`.
    pub(crate) const fn first(now: Timestamp) -> Self {
        Self::One(VersionInfo { version: MaterialVersion::FIRST, created_at: now, made: Made::Created })
    }

    /// Versions of a key at the origin's `revision` read from a store, oldest first; `None` when they are not what
    /// [`Versions`] promises.
    pub(crate) fn from_list(all: Vec<VersionInfo>, revision: Revision) -> Option<Self> {
        let (first, later) = all.split_first()?;
        if first.version != MaterialVersion::FIRST || first.made != Made::Created {
            return None;
        }
        let mut current = *first;
        for next in later {
            let gap = next.version > current.version && next.version <= floor(revision);
            let follows = Some(next.version) == current.version.next() || gap;
            if !follows || next.made == Made::Created || next.created_at < current.created_at {
                return None;
            }
            current = *next;
        }
        if later.is_empty() {
            return Some(Self::One(current));
        }
        Some(Self::Rotated(Box::new(all.into())))
    }

    /// The version that follows when the key is at `revision`, made at `now`; `None` at the end of the range.
    pub(crate) fn following(&self, revision: Revision, now: Timestamp, made: Made) -> Option<VersionInfo> {
        let version = self.current().version.next()?.max(floor(revision));
        Some(VersionInfo { version, created_at: now, made })
    }

    /// These versions and those of `held` that they lack; `None` when the two contradict each other. What is lacking must be
    /// below the floor of `revision`, at which these are: made before a restore that left room for it.
    pub(crate) fn joined_with(&self, held: &Self, revision: Revision) -> Option<Self> {
        let mut all = self.as_slice().to_vec();
        for info in held.as_slice() {
            match self.place_of(info.version).and_then(|place| self.as_slice().get(place)) {
                Some(own) if own == info => {}
                None if info.version < floor(revision) => all.push(*info),
                Some(_) | None => return None,
            }
        }
        all.sort_by_key(|info| info.version);
        Self::from_list(all, revision)
    }

    /// These versions and `next`, which [`Versions::following`] gave for them.
    pub(crate) fn with(&self, next: VersionInfo) -> Self {
        Self::Rotated(Box::new(self.as_slice().iter().copied().chain([next]).collect()))
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

    /// Where that version stands in [`Versions::as_slice`]; `None` when the key does not have it.
    pub(crate) fn place_of(&self, version: MaterialVersion) -> Option<usize> {
        // Without gaps the number tells.
        let guess = usize::try_from(version.get() - 1).ok()?;
        let all = self.as_slice();
        match all.get(guess) {
            Some(info) if info.version == version => Some(guess),
            Some(_) | None => all.binary_search_by_key(&version, |info| info.version).ok(),
        }
    }

    pub(crate) fn made_manually(&self) -> usize {
        self.as_slice().iter().filter(|info| info.made == Made::Manually).count()
    }
}

/// The lowest number that a version made at `revision` may have.
///
/// Revisions count changes until a restore from a backup, which takes the revision to the microseconds since 1970
/// ([`Key::restored`](crate::Key::restored)). A version made after it is numbered above one for every 2^22 of them, some four
/// seconds: above every version that was made between the backup and the restore, of which nothing is known. Until a restore
/// a key has too few revisions for the floor to be above the next number; no restore leads to the numbers beyond its range.
pub(crate) fn floor(revision: Revision) -> MaterialVersion {
    let number = u32::try_from(revision.get() >> 22).ok();
    number.and_then(MaterialVersion::new).unwrap_or(MaterialVersion::FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_with_their_range() {
        let at = |number| {
            let version = MaterialVersion::new(number).unwrap();
            let last = VersionInfo { version, created_at: Timestamp::EPOCH, made: Made::Manually };
            Versions::One(last).following(Revision::FIRST, Timestamp::EPOCH, Made::Manually)
        };
        assert_eq!(at(u32::MAX - 1).map(|info| info.version.get()), Some(u32::MAX));
        assert_eq!(at(u32::MAX), None);
    }

    #[test]
    fn the_version_that_follows_becomes_the_current_one() {
        let one = Versions::first(Timestamp::EPOCH);
        let two = one.with(one.following(Revision::FIRST, Timestamp::EPOCH, Made::Automatically).unwrap());
        assert_eq!(two.current(), two.as_slice().last().unwrap());
        assert_eq!(Versions::from_list(two.as_slice().to_vec(), Revision::FIRST), Some(two));
    }

    #[test]
    fn a_gap_is_taken_below_the_floor_alone() {
        let revision = Revision::new(9 << 22).unwrap();
        let info = |number, made| VersionInfo {
            version: MaterialVersion::new(number).unwrap(),
            created_at: Timestamp::EPOCH,
            made,
        };
        let versions = |last| vec![info(1, Made::Created), info(2, Made::Manually), info(last, Made::Manually)];
        let gap = Versions::from_list(versions(9), revision).unwrap();
        assert_eq!(Versions::from_list(versions(10), revision), None);
        assert_eq!(Versions::from_list(versions(9), Revision::new((9 << 22) - 1).unwrap()), None);
        let places: Vec<_> = (1..=10).map(|number| gap.place_of(MaterialVersion::new(number).unwrap())).collect();
        assert_eq!(places[..3], [Some(0), Some(1), None]);
        assert_eq!(places[3..], [None, None, None, None, None, Some(2), None]);
        let next =
            |versions: &Versions| versions.following(revision, Timestamp::EPOCH, Made::Manually).unwrap().version.get();
        assert_eq!(next(&gap), 10);
        assert_eq!(next(&Versions::from_list(versions(3), revision).unwrap()), 9);
        assert_eq!(next(&Versions::first(Timestamp::EPOCH)), 9);
    }
}
