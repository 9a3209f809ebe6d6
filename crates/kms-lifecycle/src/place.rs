//! Where a key belongs among the zones.

use kms_types::{Revision, ZoneName};
use std::collections::BTreeSet;
use std::ops::Deref;

/// Which zones a new key may reach; chosen once, at creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The key stays in its zone.
    SingleZone,
    /// The key may be replicated to other zones.
    MultiZone,
}

/// What this zone is to the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The only zone that has the key.
    SingleZone,
    /// The zone where a multi-zone key was created. Its rotation and deletion are decided here.
    Origin {
        /// The zones registered for a replica; never the origin zone itself.
        replicas: Replicas,
    },
    /// Another zone that holds a copy of a multi-zone key. Only enabling and disabling are decided here.
    Replica {
        /// The origin's revision that was applied last. The key's own revision counts the changes in this zone.
        applied: Revision,
    },
}

/// A set of zones, small where there are none, as with most keys. It is read as the set that it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::box_collection, reason = "every key has room for one pointer here, where a set takes three")]
pub struct Replicas(
    /// Never an empty set, so equal sets are equal values.
    Option<Box<BTreeSet<ZoneName>>>,
);

static NO_ZONES: BTreeSet<ZoneName> = BTreeSet::new();

impl From<BTreeSet<ZoneName>> for Replicas {
    fn from(zones: BTreeSet<ZoneName>) -> Self {
        Self((!zones.is_empty()).then(|| Box::new(zones)))
    }
}

impl<const N: usize> From<[ZoneName; N]> for Replicas {
    fn from(zones: [ZoneName; N]) -> Self {
        BTreeSet::from(zones).into()
    }
}

impl From<Replicas> for BTreeSet<ZoneName> {
    fn from(replicas: Replicas) -> Self {
        replicas.0.map_or_else(Self::new, |zones| *zones)
    }
}

impl Deref for Replicas {
    type Target = BTreeSet<ZoneName>;

    fn deref(&self) -> &BTreeSet<ZoneName> {
        self.0.as_deref().unwrap_or(&NO_ZONES)
    }
}

impl From<Reach> for Place {
    /// The place of a key just created.
    fn from(reach: Reach) -> Self {
        match reach {
            Reach::SingleZone => Self::SingleZone,
            Reach::MultiZone => Self::Origin { replicas: Replicas::default() },
        }
    }
}
