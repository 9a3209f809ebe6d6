//! First starts, lost files, wrong root keys, and what others could do to a keyring.

use super::*;
use kms_crypto::OsEntropy;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

struct Zone {
    _scratch: tempfile::TempDir,
    location: StoreLocation,
    root: RootKey,
}

impl Zone {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let location = StoreLocation {
            directory: scratch.path().join("zone/store"),
            manifest: scratch.path().join("zone/manifest"),
            keyring: scratch.path().join("zone/keyring"),
        };
        Self { _scratch: scratch, location, root: RootKey::generate(&OsEntropy).unwrap() }
    }

    fn lock(&self) -> ZoneLock {
        ZoneLock::take(&self.location).unwrap()
    }

    fn open<'lock>(&self, lock: &'lock ZoneLock) -> Result<OpenKeyring<'lock>, KeyringFileError> {
        OpenKeyring::open(lock, &self.root, &OsEntropy)
    }

    fn refusal(&self) -> KeyringFileError {
        self.open(&self.lock()).err().expect("a keyring that is not to be opened")
    }

    fn make_store(&self) {
        fs::create_dir_all(&self.location.directory).unwrap();
        fs::write(self.location.directory.join("db"), b"x").unwrap();
        fs::write(&self.location.manifest, b"x").unwrap();
    }

    /// A zone that has been started once; its store id.
    fn started() -> (Self, [u8; 16]) {
        let zone = Self::new();
        let lock = zone.lock();
        let OpenKeyring { keyring, first_start, .. } = zone.open(&lock).unwrap();
        zone.make_store();
        first_start.expect("a first start").settle().unwrap();
        (zone, *keyring.store_id())
    }
}

#[test]
fn the_keyring_of_the_first_start_is_found_again() {
    let (zone, id) = Zone::started();
    let lock = zone.lock();
    let OpenKeyring { keyring, first_start, .. } = zone.open(&lock).unwrap();
    assert_eq!(keyring.store_id(), &id);
    assert!(first_start.is_none());
    assert_eq!(OpenKeyring::open_existing(&lock, &zone.root).unwrap().keyring.store_id(), &id);
}

#[test]
fn a_zone_belongs_to_one_process_from_before_its_first_file() {
    let zone = Zone::new();
    let lock = zone.lock();
    assert!(matches!(ZoneLock::take(&zone.location), Err(KeyringFileError::InUse { .. })));
    let opened = zone.open(&lock).unwrap();
    assert!(matches!(ZoneLock::take(&zone.location), Err(KeyringFileError::InUse { .. })));
    drop(opened);
    drop(lock);
    assert!(ZoneLock::take(&zone.location).is_ok());
}

#[test]
fn a_keyring_that_appeared_meanwhile_is_not_replaced() {
    let zone = Zone::new();
    let lock = zone.lock();
    let OpenKeyring { first_start, .. } = zone.open(&lock).unwrap();
    fs::write(&zone.location.keyring, b"another").unwrap();
    assert!(matches!(first_start.unwrap().settle(), Err(KeyringFileError::Io { .. })));
    assert_eq!(fs::read(&zone.location.keyring).unwrap(), b"another");
}

#[test]
fn adopting_makes_no_keyring() {
    let zone = Zone::new();
    let lock = zone.lock();
    let refused = OpenKeyring::open_existing(&lock, &zone.root);
    assert!(matches!(refused, Err(KeyringFileError::NothingToAdopt { .. })));
    assert!(!provisional_name(&zone.location.keyring).exists());
}

#[test]
fn a_first_start_cut_short_goes_on() {
    let zone = Zone::new();
    let lock = zone.lock();
    let OpenKeyring { keyring, first_start: _cut_short, .. } = zone.open(&lock).unwrap();
    let id = *keyring.store_id();
    for store_was_made in [false, true] {
        if store_was_made {
            zone.make_store();
        }
        let OpenKeyring { keyring, first_start, .. } = zone.open(&lock).unwrap();
        assert_eq!(keyring.store_id(), &id);
        assert!(first_start.is_some());
    }
}

#[test]
fn nothing_is_made_beside_what_remains() {
    let (zone, _) = Zone::started();
    fs::remove_file(&zone.location.keyring).unwrap();
    assert!(matches!(zone.refusal(), KeyringFileError::Missing { remains, .. } if remains == zone.location.manifest));
    fs::remove_file(&zone.location.manifest).unwrap();
    assert!(matches!(zone.refusal(), KeyringFileError::Missing { remains, .. } if remains == zone.location.directory));
    assert!(!zone.location.keyring.exists() && !provisional_name(&zone.location.keyring).exists());

    let (zone, _) = Zone::started();
    fs::remove_file(&zone.location.manifest).unwrap();
    fs::remove_dir_all(&zone.location.directory).unwrap();
    assert!(matches!(zone.refusal(), KeyringFileError::StoreMissing { .. }));
}

#[test]
fn a_wrong_root_key_is_named_and_changes_nothing() {
    let (mut zone, _) = Zone::started();
    let before = fs::read(&zone.location.keyring).unwrap();
    let right = zone.root.fingerprint().to_string();
    zone.root = RootKey::generate(&OsEntropy).unwrap();
    let message = zone.refusal().to_string();
    assert!(message.contains(&right) && message.contains(&zone.root.fingerprint().to_string()), "{message}");
    assert_eq!(fs::read(&zone.location.keyring).unwrap(), before);
}

#[test]
fn a_keyring_that_others_could_read_is_tightened_and_one_they_could_replace_is_refused() {
    let (zone, _) = Zone::started();
    let keyring = &zone.location.keyring;
    fs::set_permissions(keyring, Permissions::from_mode(0o666)).unwrap();
    let _opened = zone.open(&zone.lock()).unwrap().keyring;
    assert_eq!(fs::metadata(keyring).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(keyring.parent().unwrap(), Permissions::from_mode(0o777)).unwrap();
    let Err(refused) = ZoneLock::take(&zone.location) else { panic!("a directory for all") };
    assert!(refused.to_string().contains("can be written by others (mode 0777)"), "{refused}");
}

#[test]
fn a_named_pipe_in_the_keyrings_place_is_refused_at_once() {
    for in_place_of in [PathBuf::clone, |keyring: &PathBuf| provisional_name(keyring)] {
        let (zone, _) = Zone::started();
        fs::remove_file(&zone.location.keyring).unwrap();
        let pipe = in_place_of(&zone.location.keyring);
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        assert!(zone.refusal().to_string().ends_with("is not a regular file"), "{}", zone.refusal());
    }
}

#[test]
fn a_damaged_keyring_is_refused() {
    let (zone, _) = Zone::started();
    let mut bytes = fs::read(&zone.location.keyring).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&zone.location.keyring, &bytes).unwrap();
    assert!(matches!(zone.refusal(), KeyringFileError::Damaged { .. }));
}
