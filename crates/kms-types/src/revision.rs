//! Counters that only go up.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

/// The version of a key's material: 1 for the first, and one more with every rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct MaterialVersion(NonZeroU32);

impl MaterialVersion {
    /// The version that a new key begins with.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The version of that number, or `None` for zero.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number, from 1.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The version after this one, or `None` at the end of the range.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl fmt::Display for MaterialVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The revision of a key: 1 at creation, and one more with every change made at the key's origin zone or, for a zone's own
/// changes, in that zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Revision(NonZeroU64);

impl Revision {
    /// The revision of a key just created.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The revision of that number, or `None` for zero.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number, from 1.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The revision after this one, or `None` at the end of the range.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a replica has come: nothing applied yet, or the origin's revision that it confirmed last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Watermark(u64);

impl Watermark {
    /// Nothing applied yet.
    pub const NONE: Self = Self(0);

    /// The watermark after `revision` was applied. A watermark never goes back: see [`Watermark::advanced_to`].
    #[must_use]
    pub const fn at(revision: Revision) -> Self {
        Self(revision.get())
    }

    /// The later of this watermark and `revision`.
    #[must_use]
    pub fn advanced_to(self, revision: Revision) -> Self {
        self.max(Self::at(revision))
    }

    /// The number that the API shows: 0 for none.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_begin_at_one_and_refuse_to_wrap() {
        assert_eq!(MaterialVersion::new(0), None);
        assert_eq!(MaterialVersion::FIRST.next().map(MaterialVersion::get), Some(2));
        assert_eq!(MaterialVersion::new(u32::MAX).unwrap().next(), None);
        assert_eq!(Revision::new(0), None);
        assert_eq!(Revision::FIRST.next().map(Revision::get), Some(2));
        assert_eq!(Revision::new(u64::MAX).unwrap().next(), None);
    }

    #[test]
    fn a_watermark_never_goes_back() {
        let at_three = Watermark::NONE.advanced_to(Revision::new(3).unwrap());
        assert_eq!(at_three.advanced_to(Revision::FIRST), at_three);
        assert_eq!(at_three.get(), 3);
    }
}
