//! A backup and a restore that die.

use super::{BACKUP_POINTS, RESTORE_POINTS, command, command_killed_at, was_killed};
use crate::{program, scratch};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use zonekms_tests::crash_at;
use zonekms_tests::server::{Dev, Server};

const ZONE: &str = "ch-gva-2";

#[test]
fn crash_matrix_of_backups() {
    assert_eq!(killed_backups(&BACKUP_POINTS.map(|point| (point, 0))), 3, "not every point was come to");
}

#[test]
fn crash_matrix_of_restores() {
    let points: Vec<_> =
        RESTORE_POINTS.into_iter().chain(["store:written", "file:linked"]).map(|point| (point, 0)).collect();
    assert_eq!(killed_restores(&points), 7, "not every point was come to");
}

/// A zone that runs, and what is known of it.
struct Backed {
    directory: tempfile::TempDir,
    _server: Server,
    data: String,
    passphrase: String,
    secrets: Vec<(String, String)>,
}

impl Backed {
    fn new() -> Self {
        let directory = scratch();
        let dev = Dev::new(program(), directory.path());
        let server = dev.start();
        let mut client = server.client();
        let mut secrets = Vec::new();
        for number in 0..5 {
            let key = client.create(&format!("k{number}"));
            secrets.push((key.clone(), client.encrypt(&key, b"first").0));
            client.post_empty(&format!("/v2/kms-key/{key}/rotate")).ok();
            secrets.push((key.clone(), client.encrypt(&key, b"second").0));
        }
        let passphrase = directory.path().join("passphrase");
        fs::write(&passphrase, "correct horse battery staple\n").unwrap();
        fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).unwrap();
        let (data, passphrase) = (dev.data().display().to_string(), passphrase.display().to_string());
        Self { directory, _server: server, data, passphrase, secrets }
    }

    fn words<'a>(&'a self, file: &'a str) -> [&'a str; 7] {
        ["backup", "--data-dir", &self.data, "--to", file, "--passphrase-file", &self.passphrase]
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn verify(&self, file: &str) {
        let told = command(&["verify-backup", file, "--passphrase-file", &self.passphrase]);
        assert!(told.contains("keys      5, with 10 material versions"), "{told}");
    }
}

/// Kills `zonekms backup` at these points; gives how often it died.
pub(super) fn killed_backups(points: &[(&str, u64)]) -> u64 {
    let backed = Backed::new();
    let mut died = 0;
    for (number, (point, passes)) in points.iter().enumerate() {
        let file = backed.file(&format!("{number}.age"));
        let output = command_killed_at(&crash_at::at(point, *passes), &backed.words(&file));
        died += u64::from(was_killed(output.status));
        if !Path::new(&file).exists() {
            // What the dead one left is in nobody's way.
            command(&backed.words(&file));
        }
        backed.verify(&file);
        let of_this = format!("{number}.age.");
        let is_part = |name: &str| name.starts_with(&of_this) && name.ends_with(".part");
        let mut names =
            fs::read_dir(Path::new(&file).parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!names.any(|name| name.to_str().is_some_and(is_part)) || was_killed(output.status));
    }
    died
}

/// Kills `zonekms restore` at these points; gives how often it died.
pub(super) fn killed_restores(points: &[(&str, u64)]) -> u64 {
    let backed = Backed::new();
    let file = backed.file("backup.age");
    command(&backed.words(&file));
    let mut died = 0;
    for (number, (point, passes)) in points.iter().enumerate() {
        let place = backed.directory.path().join(format!("restored-{number}"));
        fs::create_dir(&place).unwrap();
        let dev = Dev::new(program(), &place);
        let data = dev.data().display().to_string();
        let words =
            ["restore", "--from", &file, "--data-dir", &data, "--zone", ZONE, "--passphrase-file", &backed.passphrase];
        let status = command_killed_at(&crash_at::at(point, *passes), &words).status;
        died += u64::from(was_killed(status));
        let zone = dev.data().join(ZONE);
        if !zone.join("keyring").exists() {
            let unfinished = zone.join("keyring.restoring");
            if unfinished.exists() {
                let Err(process) = dev.try_start() else { panic!("{point}: half a restore is served") };
                let log = process.log();
                assert!(log.contains("a restore of this zone was not finished: delete "), "{point}: {log}");
                // As the message says.
                fs::remove_file(&unfinished).unwrap();
                let _ = fs::remove_dir_all(zone.join("store"));
                let _ = fs::remove_file(zone.join("manifest"));
            }
            command(&words);
        }
        let server = dev.start();
        for (key, ciphertext) in &backed.secrets {
            server.client().decrypt(key, ciphertext).ok();
        }
        server.stop();
    }
    died
}
