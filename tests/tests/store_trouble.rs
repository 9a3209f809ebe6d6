//! File systems that refuse: nothing is lost, the message says what refused, and with the trouble gone all is as before.

use crate::disk_full::fill;
use crate::{program, scratch};
use rustix::process::{Resource, Rlimit, prlimit};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;
use zonekms_tests::changes::{Ledger, work};
use zonekms_tests::disk::Disk;
use zonekms_tests::random::Choices;
use zonekms_tests::server::{Dev, plain_get};
use zonekms_tests::stop_flag::StopFlag;

/// A lab whose data lies on the disk, and its log elsewhere.
fn lab_on(disk: &Disk, place: &Path) -> Dev {
    fs::create_dir(place).unwrap();
    let data = disk.mounted_at().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&data, place.join("data")).unwrap();
    Dev::new(program(), place)
}

#[test]
fn a_read_only_file_system_is_named_and_nothing_is_lost() {
    let directory = scratch();
    let Some(disk) = Disk::create(directory.path(), 64 << 20) else {
        println!("no loop mount is permitted here: the read-only file system is not shown by this test");
        return;
    };
    let dev = lab_on(&disk, &directory.path().join("lab"));
    let server = dev.start();
    let key = server.client().create("k");
    let (ciphertext, _) = server.client().encrypt(&key, b"kept");
    server.stop();

    assert!(disk.set_read_only(true));
    let Err(mut process) = dev.try_start() else { panic!("it serves what it cannot write") };
    assert!(!process.ends_within(Duration::ZERO).unwrap().success());
    let log = process.log();
    let told =
        log.lines().find(|line| line.starts_with("zonekms: ")).unwrap_or_else(|| panic!("nothing is said: {log}"));
    assert!(told.contains("Read-only file system") && told.contains("/data"), "{told}");
    assert!(disk.set_read_only(false));
    let server = dev.start();
    server.client().decrypt(&key, &ciphertext).ok();
    server.client().create("it takes changes again");
    server.stop();
}

/// A limit on the size of files, as `ulimit -f` sets it: it comes as a signal that ends most programs.
#[test]
fn a_limit_on_file_sizes_stops_changes_and_nothing_else() {
    let seed = Choices::seed();
    println!("ZONEKMS_TEST_SEED={seed}");
    let directory = scratch();
    let dev = Dev::new(program(), directory.path());
    let mut server = dev.start();
    let key = server.client().create("used all the time");
    let (ciphertext, _) = server.client().encrypt(&key, b"kept");
    let ledger = Mutex::new(Ledger::new("w"));
    let now = fs::metadata(dev.data().join("ch-gva-2/store/db")).unwrap().len();
    let limit = Rlimit { current: Some(now + (1 << 20)), maximum: None };
    prlimit(Some(server.process.pid()), Resource::Fsize, limit).unwrap();
    // The worker ends at the first change that is refused.
    work(server.client(), &ledger, Choices::new(seed, 0), &StopFlag::default(), &|| {});
    assert!(server.process.ends_within(Duration::ZERO).is_none(), "the signal ended it");
    let refused = server.client().post_empty(&format!("/v2/kms-key/{key}/disable"));
    assert_eq!(refused.status, 503, "{}", refused.text());
    server.client().decrypt(&key, &ciphertext).ok();
    let ready = plain_get(server.environment.lab, "/readyz").unwrap();
    assert_eq!(ready.status, 503);
    assert!(server.process.log().contains("check the disk, then start again"), "what to do is in the log");
    server.kill();

    let server = dev.start();
    let opened = ledger.lock().unwrap().verify(&mut server.client());
    println!("{} changes were answered before the limit, {opened} ciphertexts opened", ledger.lock().unwrap().answers);
    server.client().decrypt(&key, &ciphertext).ok();
    server.stop();
}

/// What is less than a change meets a full disk as well: a backup is refused and leaves nothing, and the use of keys goes
/// unsaved, which is said and keeps nothing from stopping in good order.
#[test]
fn a_backup_and_the_use_of_keys_meet_a_full_disk() {
    let directory = scratch();
    let Some(disk) = Disk::create(directory.path(), 64 << 20) else {
        println!("no loop mount is permitted here: the full disk is not shown by this test");
        return;
    };
    let dev = lab_on(&disk, &directory.path().join("lab"));
    let server = dev.start();
    let key = server.client().create("k");
    let (ciphertext, _) = server.client().encrypt(&key, b"kept");
    let passphrase = directory.path().join("passphrase");
    fs::write(&passphrase, "correct horse battery staple\n").unwrap();
    fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).unwrap();
    let target = disk.mounted_at().join("backup.age");
    let backup = || {
        let mut command = Command::new(program());
        command.arg("backup").arg("--data-dir").arg(dev.data()).arg("--to").arg(&target);
        command.arg("--passphrase-file").arg(&passphrase).output().unwrap()
    };
    fill(&disk.mounted_at().join("filler"));
    let refused = backup();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("backup.age: ") && told.contains("No space left on device"), "{told}");
    let left: Vec<_> = fs::read_dir(disk.mounted_at()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("backup")), "{left:?}");
    server.client().decrypt(&key, &ciphertext).ok();
    server.stop();
    let log = fs::read_to_string(dev.log()).unwrap();
    assert!(log.contains("the use of keys cannot be saved"), "{log}");

    fs::remove_file(disk.mounted_at().join("filler")).unwrap();
    let server = dev.start();
    server.client().decrypt(&key, &ciphertext).ok();
    let made = backup();
    assert!(made.status.success(), "{made:?}");
    server.stop();
}
