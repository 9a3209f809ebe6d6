//! First starts, lost files, wrong root keys, and what others could do to a keyring.

use super::current::Step;
use super::*;
use crate::root_key::{ConfiguredKey, GivenKey, RootKeySource, RootKeysFrom, Section, create_root_key_file};
use kms_crypto::{OsEntropy, RootKey};
use kms_service::KeyringVault;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

struct Zone {
    scratch: tempfile::TempDir,
    location: StoreLocation,
}

const NOW: i64 = 1_800_000_000;

impl Zone {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let location = StoreLocation {
            directory: scratch.path().join("zone/store"),
            manifest: scratch.path().join("zone/manifest"),
            keyring: scratch.path().join("zone/keyring"),
        };
        let zone = Self { scratch, location };
        create_root_key_file(&zone.root_key(), &OsEntropy).unwrap();
        zone
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn root_key(&self) -> PathBuf {
        self.path("root.key")
    }

    fn keys(&self) -> RootKeys {
        RootKeysFrom::KeyFile(self.root_key()).load(&|_| None).unwrap()
    }

    /// With another file as the next root key.
    fn keys_with_next(&self, next: &str) -> RootKeys {
        let provider = Arc::new(GivenKey::load(RootKeySource::File(self.path(next)), &|_| None).unwrap());
        RootKeys { next: Some(ConfiguredKey { section: Section::RootKeyNext, provider }), ..self.keys() }
    }

    fn lock(&self) -> ZoneLock {
        ZoneLock::take(&self.location).unwrap()
    }

    fn open<'lock>(&self, lock: &'lock ZoneLock) -> Result<OpenKeyring<'lock>, KeyringFileError> {
        self.open_with(lock, &self.keys())
    }

    fn open_with<'lock>(&self, lock: &'lock ZoneLock, keys: &RootKeys) -> Result<OpenKeyring<'lock>, KeyringFileError> {
        block_on(OpenKeyring::open(lock, &name(), keys, &entropy(), NOW))
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

fn name() -> ZoneName {
    "ch-gva-2".parse().unwrap()
}

fn entropy() -> Arc<dyn Entropy> {
    Arc::new(OsEntropy)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn the_keyring_of_the_first_start_is_found_again() {
    let (zone, id) = Zone::started();
    let lock = zone.lock();
    let OpenKeyring { keyring, first_start, .. } = zone.open(&lock).unwrap();
    assert_eq!(keyring.store_id(), &id);
    assert!(first_start.is_none());
    assert_eq!(
        block_on(OpenKeyring::open_existing(&lock, &name(), &zone.keys(), &entropy())).unwrap().keyring.store_id(),
        &id
    );
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
    let refused = block_on(OpenKeyring::open_existing(&lock, &name(), &zone.keys(), &entropy()));
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
    let (zone, _) = Zone::started();
    let before = fs::read(&zone.location.keyring).unwrap();
    let fingerprint = || zone.keys().current.provider.fingerprint().unwrap().to_string();
    let right = fingerprint();
    fs::remove_file(zone.root_key()).unwrap();
    create_root_key_file(&zone.root_key(), &OsEntropy).unwrap();
    let message = zone.refusal().to_string();
    assert!(message.contains(&right) && message.contains(&fingerprint()), "{message}");
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

/// A kill between two steps of writing may leave a second copy of the keyring, which no later rotation would reach.
#[test]
fn who_takes_the_zone_removes_every_copy_that_a_killed_process_left() {
    let (zone, _) = Zone::started();
    let (old, keyring) = (root_key_of(&zone.root_key()).unwrap(), &zone.location.keyring);
    let parts =
        ["keyring.part", "keyring.first-start.part", "keyring.restoring.part"].map(|name| zone.path("zone").join(name));
    fs::hard_link(keyring, &parts[1]).unwrap();
    fs::copy(keyring, &parts[0]).unwrap();
    fs::copy(keyring, &parts[2]).unwrap();
    let of_another = zone.path("zone/keyring2.part");
    fs::write(&of_another, b"half").unwrap();
    let lock = zone.lock();
    for part in &parts {
        assert!(!part.exists(), "{}", part.display());
    }
    assert!(of_another.exists(), "another zone's");
    let OpenKeyring { file, .. } = zone.open(&lock).unwrap();
    block_on(file.rotate(&zone.keys(), RotateTo::SameProvider, NOW)).unwrap();
    assert!(!opens_something(&zone, &old));
}

/// The root key that a file of the zone's directory holds, if it is one.
fn root_key_of(path: &Path) -> Option<RootKey> {
    let digits = fs::read_to_string(path).ok()?;
    RootKey::from_bytes(&hex::decode(digits.trim()).ok()?).ok()
}

/// Whether `key` opens anything in the zone's directories.
fn opens_something(zone: &Zone, key: &RootKey) -> bool {
    let files = |directory: &Path| -> Vec<PathBuf> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
    };
    let all = [files(zone.scratch.path()), files(&zone.path("zone"))].concat();
    all.iter().any(|file| Keyring::unwrap(key, &fs::read(file).unwrap()).is_ok())
}

#[test]
fn a_keyring_of_format_1_opens_and_becomes_format_2_when_it_is_written() {
    let (zone, id) = Zone::started();
    let root = root_key_of(&zone.root_key()).unwrap();
    let keyring = Keyring::unwrap(&root, &fs::read(&zone.location.keyring).unwrap()).unwrap();
    let old = keyring.wrap(&root, &OsEntropy).unwrap();
    fs::write(&zone.location.keyring, &old).unwrap();
    let lock = zone.lock();
    let OpenKeyring { mut keyring, file, .. } = zone.open(&lock).unwrap();
    assert_eq!(keyring.store_id(), &id);
    assert_eq!(fs::read(&zone.location.keyring).unwrap(), old, "reading writes nothing");
    assert_eq!((file.status().unwrap().generation, file.status().unwrap().since), (0, None));

    let epoch = keyring.add_epoch(&OsEntropy).unwrap();
    file.store(&keyring).unwrap();
    let status = file.status().unwrap();
    assert_eq!((status.generation, status.since, status.epochs), (1, None, vec![1, epoch.get()]));
    let label = KeyringLabel::read(&zone.location.keyring).unwrap();
    assert_eq!((label.generation, label.fingerprint), (Some(1), root.fingerprint()));
    drop(lock);
    let lock = zone.lock();
    assert_eq!(zone.open(&lock).unwrap().keyring.current_epoch(), epoch);
}

/// A file's root key is renewed in place: the configuration stays right, and the old root key is gone.
#[test]
fn after_a_rotation_the_old_root_key_opens_nothing() {
    let (zone, id) = Zone::started();
    let old = root_key_of(&zone.root_key()).unwrap();
    assert!(opens_something(&zone, &old));
    let lock = zone.lock();
    let OpenKeyring { mut keyring, file, .. } = zone.open(&lock).unwrap();
    for generation in 2..5 {
        block_on(file.rotate(&zone.keys(), RotateTo::SameProvider, NOW + generation)).unwrap();
        let status = file.status().unwrap();
        assert_eq!((i64::try_from(status.generation).unwrap(), status.since), (generation, Some(NOW + generation)));
    }
    assert!(!opens_something(&zone, &old));
    let now = root_key_of(&zone.root_key()).unwrap();
    assert!(opens_something(&zone, &now));
    assert!(!zone.path(".root.key.renewal").exists());
    // The live process goes on writing under the new one.
    keyring.add_epoch(&OsEntropy).unwrap();
    file.store(&keyring).unwrap();
    drop(lock);
    let lock = zone.lock();
    let OpenKeyring { keyring, .. } = zone.open(&lock).unwrap();
    assert_eq!((keyring.store_id(), keyring.epochs().count()), (&id, 2));
}

#[test]
fn a_rotation_cut_short_at_any_step_leaves_a_keyring_that_the_configuration_opens() {
    let cut = || KeyringFileError::Io { path: PathBuf::new(), source: io::ErrorKind::Interrupted.into() };
    for to in [RotateTo::SameProvider, RotateTo::NextProvider] {
        for step in [Step::RootKeyMade, Step::KeyringWritten, Step::Settled] {
            for left_over in [None, Some("zone/keyring.part"), Some(".root.key.renewal.part")] {
                let (zone, id) = Zone::started();
                create_root_key_file(&zone.path("other.key"), &OsEntropy).unwrap();
                let old = root_key_of(&zone.root_key()).unwrap();
                let lock = zone.lock();
                let OpenKeyring { file, .. } = zone.open(&lock).unwrap();
                let keys = zone.keys_with_next("other.key");
                let stop = |reached| if reached == step { Err(cut()) } else { Ok(()) };
                let ended = block_on(file.rotate_stepwise(&keys, to, NOW, &stop));
                assert!(matches!(ended, Err(KeyringFileError::Io { .. })), "{ended:?}");
                if let Some(left_over) = left_over {
                    fs::write(zone.path(left_over), b"half").unwrap();
                }
                drop((file, lock));

                let title = format!("{to:?} {step:?} {left_over:?}");
                let lock = zone.lock();
                let keys = zone.keys_with_next("other.key");
                let OpenKeyring { keyring, file, .. } = zone.open_with(&lock, &keys).unwrap();
                assert_eq!(keyring.store_id(), &id, "{title}");
                let done = step != Step::RootKeyMade;
                assert_eq!(opens_something(&zone, &old), !done, "{title}");
                assert!(!zone.path(".root.key.renewal").exists(), "{title}");
                let section =
                    if done && to == RotateTo::NextProvider { Section::RootKeyNext } else { Section::RootKey };
                assert_eq!(file.status().unwrap().section, section, "{title}");
                // And the next rotation, which reads the configuration anew, is done as a whole.
                block_on(file.rotate(&zone.keys_with_next("other.key"), RotateTo::SameProvider, NOW)).unwrap();
                assert!(!opens_something(&zone, &old), "{title}");
            }
        }
    }
}

/// While the process goes on after a settling that failed, nothing may throw away the root key in use.
#[test]
fn a_second_rotation_first_ends_the_one_before() {
    let (zone, id) = Zone::started();
    let lock = zone.lock();
    let OpenKeyring { file, .. } = zone.open(&lock).unwrap();
    let cut = |reached| match reached {
        Step::KeyringWritten => {
            Err(KeyringFileError::Io { path: PathBuf::new(), source: io::ErrorKind::Interrupted.into() })
        }
        Step::RootKeyMade | Step::Settled => Ok(()),
    };
    block_on(file.rotate_stepwise(&zone.keys(), RotateTo::SameProvider, NOW, &cut)).unwrap_err();
    assert!(zone.path(".root.key.renewal").exists(), "the root key in use");
    block_on(file.rotate(&zone.keys(), RotateTo::SameProvider, NOW)).unwrap();
    drop(lock);
    let lock = zone.lock();
    assert_eq!(zone.open(&lock).unwrap().keyring.store_id(), &id);
}

#[test]
fn a_rotation_that_cannot_be_right_changes_nothing() {
    let (zone, _) = Zone::started();
    fs::copy(zone.root_key(), zone.path("same.key")).unwrap();
    let lock = zone.lock();
    let OpenKeyring { file, .. } = zone.open(&lock).unwrap();
    let before = fs::read(&zone.location.keyring).unwrap();
    let refused = |keys: &RootKeys, to| block_on(file.rotate(keys, to, NOW)).unwrap_err().to_string();

    let same = refused(&zone.keys_with_next("same.key"), RotateTo::NextProvider);
    assert!(same.ends_with("is the one that is in use: nothing was changed"), "{same}");
    let none = refused(&zone.keys(), RotateTo::NextProvider);
    assert!(none.contains("no section [root-key-next]"), "{none}");
    let variable = RootKeySource::Environment("KEY".to_owned());
    let digits = fs::read_to_string(zone.root_key()).unwrap();
    let fixed = GivenKey::load(variable, &|_| Some(digits.clone().into())).unwrap();
    let fixed = refused(&RootKeys::only(Arc::new(fixed)), RotateTo::SameProvider);
    assert!(fixed.contains("environment variable KEY cannot be changed from here"), "{fixed}");
    // The configuration names another root key than the one in use: the next start would fail.
    create_root_key_file(&zone.path("wrong.key"), &OsEntropy).unwrap();
    let wrong = GivenKey::load(RootKeySource::File(zone.path("wrong.key")), &|_| None).unwrap();
    let wrong = refused(&RootKeys::only(Arc::new(wrong)), RotateTo::SameProvider);
    assert!(wrong.starts_with("wrong root key"), "{wrong}");
    assert_eq!(fs::read(&zone.location.keyring).unwrap(), before);
    assert!(!zone.path(".root.key.renewal").exists() && !zone.path(".wrong.key.renewal").exists());
}

/// Somebody may well call the next root key `root.key.next`, as earlier versions called what they removed.
#[test]
fn a_root_key_that_somebody_prepared_beside_the_one_in_use_is_never_touched() {
    let (zone, id) = Zone::started();
    create_root_key_file(&zone.path("root.key.next"), &OsEntropy).unwrap();
    let (first, next) = (fs::read(zone.root_key()).unwrap(), fs::read(zone.path("root.key.next")).unwrap());
    let unchanged = |when| {
        assert_eq!(fs::read(zone.root_key()).unwrap(), first, "{when}");
        assert_eq!(fs::read(zone.path("root.key.next")).unwrap(), next, "{when}");
    };
    let lock = zone.lock();
    let OpenKeyring { file, .. } = zone.open(&lock).unwrap();
    unchanged("after a start");
    block_on(file.rotate(&zone.keys_with_next("root.key.next"), RotateTo::NextProvider, NOW)).unwrap();
    unchanged("after the rotation to it");
    drop((file, lock));
    for start in ["start", "second start"] {
        let lock = zone.lock();
        let OpenKeyring { keyring, file, .. } = zone.open_with(&lock, &zone.keys_with_next("root.key.next")).unwrap();
        assert_eq!((keyring.store_id(), file.status().unwrap().section), (&id, Section::RootKeyNext), "{start}");
        unchanged(start);
    }
}

/// An earlier version was killed when the keyring was under `root.key.next`, which had not yet got its own name.
#[test]
fn a_renewal_that_an_earlier_version_did_not_end_still_opens_the_keyring() {
    let (zone, id) = Zone::started();
    create_root_key_file(&zone.path("root.key.next"), &OsEntropy).unwrap();
    let lock = zone.lock();
    let OpenKeyring { file, .. } = zone.open(&lock).unwrap();
    block_on(file.rotate(&zone.keys_with_next("root.key.next"), RotateTo::NextProvider, NOW)).unwrap();
    drop((file, lock));
    let next = fs::read(zone.path("root.key.next")).unwrap();
    for half in [None, Some("half")] {
        if let Some(half) = half {
            fs::write(zone.path(".root.key.renewal"), half).unwrap();
            fs::set_permissions(zone.path(".root.key.renewal"), Permissions::from_mode(0o600)).unwrap();
        }
        let lock = zone.lock();
        let opened = zone.open(&lock);
        match half {
            None => {
                let OpenKeyring { keyring, file, .. } = opened.unwrap();
                assert_eq!(keyring.store_id(), &id);
                block_on(file.rotate(&zone.keys(), RotateTo::SameProvider, NOW)).unwrap();
                assert!(opens_something(&zone, &root_key_of(&zone.root_key()).unwrap()));
            }
            // The renewal was done: what is half written is of no use.
            Some(_) => assert!(opened.is_ok() && !zone.path(".root.key.renewal").exists()),
        }
        assert_eq!(fs::read(zone.path("root.key.next")).unwrap(), next, "{half:?}");
    }
}

/// The root key was read, and then its file went: nothing may be wrapped under it.
#[test]
fn a_rotation_to_a_file_that_went_or_changed_meanwhile_changes_nothing() {
    let (zone, _) = Zone::started();
    create_root_key_file(&zone.path("other.key"), &OsEntropy).unwrap();
    let lock = zone.lock();
    let OpenKeyring { file, .. } = zone.open(&lock).unwrap();
    let before = fs::read(&zone.location.keyring).unwrap();
    let keys = zone.keys_with_next("other.key");
    fs::remove_file(zone.path("other.key")).unwrap();
    for changed in [false, true] {
        if changed {
            create_root_key_file(&zone.path("other.key"), &OsEntropy).unwrap();
        }
        let refused = block_on(file.rotate(&keys, RotateTo::NextProvider, NOW)).unwrap_err().to_string();
        assert!(refused.contains("holds another root key than a moment ago, or none"), "{refused}");
        assert_eq!(fs::read(&zone.location.keyring).unwrap(), before);
    }
}
