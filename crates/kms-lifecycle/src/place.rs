//! Where a key belongs among the zones.

use kms_types::{Revision, ZoneName};
use std::collections::BTreeSet;

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
        replicas: BTreeSet<ZoneName>,
    },
    /// Another zone that holds a copy of a multi-zone key. Only enabling and disabling are decided here.
    Replica {
        /// The origin's revision that was applied last. The key's own revision counts the changes in this zone.
        applied: Revision,
    },
}

impl From<Reach> for Place {
    /// The place of a key just created.
    fn from(reach: Reach) -> Self {
        match reach {
            Reach::SingleZone => Self::SingleZone,
            Reach::MultiZone => Self::Origin { replicas: BTreeSet::new() },
        }
    }
}
