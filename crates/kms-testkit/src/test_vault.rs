//! A place for a keyring that fails when it is told to.

use kms_crypto::{Keyring, RootKey};
use kms_service::{KeyringNotStored, KeyringVault};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::SeededEntropy;

/// What happens to one storing of the keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaultFault {
    /// It is not stored.
    NotStored,
    /// It is stored, and the answer says that it was not: as when the disk fails after the file was renamed.
    StoredUnanswered,
}

/// Keeps a keyring as a file would: wrapped, the last one only.
pub struct TestVault {
    root: RootKey,
    entropy: SeededEntropy,
    kept: Mutex<Kept>,
}

struct Kept {
    wrapped: Vec<u8>,
    faults: VecDeque<VaultFault>,
}

impl TestVault {
    /// A vault that holds a new keyring; equal seeds give equal ones.
    ///
    /// # Panics
    ///
    /// Never: seeded randomness does not fail.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let entropy = SeededEntropy::new(seed);
        let root = RootKey::generate(&entropy).expect("seeded randomness does not fail");
        let keyring = Keyring::generate(&entropy).expect("seeded randomness does not fail");
        let wrapped = keyring.wrap(&root, &entropy).expect("seeded randomness does not fail");
        Self { root, entropy, kept: Mutex::new(Kept { wrapped, faults: VecDeque::new() }) }
    }

    /// The keyring that is kept: what a process that starts now finds.
    ///
    /// # Panics
    ///
    /// Never: what was wrapped opens.
    #[must_use]
    pub fn keyring(&self) -> Keyring {
        Keyring::unwrap(&self.root, &self.kept().wrapped).expect("it was wrapped under this root key")
    }

    /// The kept bytes, as they would lie in the keyring file.
    #[must_use]
    pub fn wrapped(&self) -> Vec<u8> {
        self.kept().wrapped.clone()
    }

    /// The root key that the keyring is wrapped under.
    #[must_use]
    pub const fn root_key(&self) -> &RootKey {
        &self.root
    }

    /// Plans a fault for the next storing that has none yet.
    pub fn fail_next(&self, fault: VaultFault) {
        self.kept().faults.push_back(fault);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyringVault for TestVault {
    fn store(&self, keyring: &Keyring) -> Result<(), KeyringNotStored> {
        let wrapped = keyring.wrap(&self.root, &self.entropy);
        let wrapped = wrapped.map_err(|cause| KeyringNotStored::new(cause.to_string()))?;
        let mut kept = self.kept();
        match kept.faults.pop_front() {
            None => {
                kept.wrapped = wrapped;
                Ok(())
            }
            Some(VaultFault::NotStored) => Err(KeyringNotStored::new("a fault was planned before the storing")),
            Some(VaultFault::StoredUnanswered) => {
                kept.wrapped = wrapped;
                Err(KeyringNotStored::new("a fault was planned after the storing"))
            }
        }
    }
}
