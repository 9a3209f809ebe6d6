//! The name and the place of a key that is being made.

use kms_storage::Durable;
use kms_types::{KeyId, KeyName, OrganisationName};
use std::sync::Arc;

use crate::directory::{Directory, Unsettled, UnsettledAttempt};
use crate::snapshot::Snapshot;

/// A name and a place held for a key that is being made.
pub(crate) struct Reservation {
    directory: Arc<Directory>,
    organisation: OrganisationName,
    name: KeyName,
    end: End,
}

/// What becomes of a reservation when it is dropped.
enum End {
    Release,
    Keep,
}

impl Reservation {
    /// `name` and a place are taken for it in `directory`.
    pub(crate) fn new(directory: Arc<Directory>, organisation: OrganisationName, name: KeyName) -> Self {
        Self { directory, organisation, name, end: End::Release }
    }

    /// The key was made: it takes the place, and every call from now on finds it.
    pub(crate) fn fulfil(mut self, snapshot: Snapshot, _durable: &Durable) {
        self.end = End::Keep;
        self.directory.load(snapshot);
    }

    /// Whether the key `id` was made is not known: name and place stay taken until the store tells.
    pub(crate) fn keep(mut self, id: KeyId) {
        self.end = End::Keep;
        let attempt = UnsettledAttempt::Creation(self.name.clone());
        self.directory.unsettle(id, Unsettled { organisation: self.organisation.clone(), attempt });
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        match self.end {
            End::Keep => {}
            End::Release => self.directory.release(&self.organisation, &self.name),
        }
    }
}
