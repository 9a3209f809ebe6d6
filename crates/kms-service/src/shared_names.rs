//! One copy of each organisation's and each zone's name, however many keys bear it.

use kms_types::{OrganisationName, ZoneName};
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{PoisonError, RwLock};

/// The names met so far. There are as many as organisations and zones, which are few.
#[derive(Default)]
pub(crate) struct SharedNames {
    organisations: RwLock<HashSet<OrganisationName>>,
    zones: RwLock<HashSet<ZoneName>>,
}

impl SharedNames {
    /// The shared copy of `name`.
    pub(crate) fn organisation(&self, name: OrganisationName) -> OrganisationName {
        shared(&self.organisations, name)
    }

    /// The shared copy of `name`.
    pub(crate) fn zone(&self, name: ZoneName) -> ZoneName {
        shared(&self.zones, name)
    }
}

fn shared<T: Clone + Eq + Hash>(known: &RwLock<HashSet<T>>, name: T) -> T {
    if let Some(known) = known.read().unwrap_or_else(PoisonError::into_inner).get(&name) {
        return known.clone();
    }
    let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
    match known.get(&name) {
        Some(known) => known.clone(),
        None => {
            known.insert(name.clone());
            name
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_one() {
        let names = SharedNames::default();
        let acme = || names.organisation("acme".parse().unwrap());
        let at = |name: &OrganisationName| name.as_str().as_ptr();
        assert_eq!(at(&acme()), at(&acme()));
        let other = names.organisation("other".parse().unwrap());
        assert!(other.as_str() == "other" && at(&other) != at(&acme()));
        let zone = || names.zone("ch-gva-2".parse().unwrap());
        assert_eq!(zone().as_str().as_ptr(), zone().as_str().as_ptr());
    }
}
