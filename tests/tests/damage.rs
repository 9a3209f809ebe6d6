//! Damage to a zone's files is told, never hidden: the server refuses to start, or it names the damaged key and serves
//! the others, or the damage hit nothing that counts.

use crate::{program, scratch};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use zonekms_tests::client::Client;
use zonekms_tests::random::Choices;
use zonekms_tests::server::Dev;

const KEYS: usize = 40;

#[test]
fn no_damage_passes_silently() {
    damage(40);
}

/// `cargo test -p zonekms-tests -- --ignored --nocapture three_hundred_times`
#[test]
#[ignore = "three hundred damaged stores take minutes"]
fn no_damage_passes_silently_three_hundred_times() {
    damage(300);
}

/// What was in the store before it was damaged.
struct Contents {
    bodies: BTreeMap<String, Vec<u8>>,
    ciphertexts: BTreeMap<String, Vec<String>>,
}

fn damage(times: u64) {
    let seed = Choices::seed();
    println!("ZONEKMS_TEST_SEED={seed}");
    let directory = scratch();
    let dev = Dev::new(program(), directory.path());
    let server = dev.start();
    let mut client = server.client();
    let ids: Vec<String> = (0..KEYS).map(|number| client.create(&format!("k{number}"))).collect();
    server.stop();
    let yesterday = directory.path().join("yesterday");
    copy(dev.data(), &yesterday);

    let server = dev.start();
    let contents = fill(&mut server.client(), &ids);
    server.stop();

    let mut outcomes = BTreeMap::new();
    for trial in 0..times {
        let mut choices = Choices::new(seed, trial);
        let place = directory.path().join(format!("trial-{trial}"));
        let damaged = Dev::new(program(), &place);
        fs::create_dir_all(&place).unwrap();
        copy(dev.data(), damaged.data());
        let what = harm(&damaged.data().join("ch-gva-2"), &yesterday.join("ch-gva-2"), &mut choices);
        let outcome = outcome(&damaged, &contents, &what);
        *outcomes.entry(format!("{}: {outcome}", what.split(' ').next().unwrap())).or_insert(0) += 1;
        fs::remove_dir_all(&place).unwrap();
    }
    println!("{times} damaged zones: {outcomes:#?}");
    assert!(outcomes.keys().any(|key| key.ends_with("refused")), "no damage was ever noticed");
}

fn fill(client: &mut Client, ids: &[String]) -> Contents {
    let mut contents = Contents { bodies: BTreeMap::new(), ciphertexts: BTreeMap::new() };
    for (number, id) in ids.iter().enumerate() {
        let path = format!("/v2/kms-key/{id}");
        let mut ciphertexts = vec![client.encrypt(id, b"first").0];
        for _ in 0..number % 3 {
            client.post_empty(&format!("{path}/rotate")).ok();
            ciphertexts.push(client.encrypt(id, b"later").0);
        }
        match number % 5 {
            0 => drop(client.post_empty(&format!("{path}/disable")).ok()),
            1 => drop(client.post_empty(&format!("{path}/schedule-deletion")).ok()),
            _ => {}
        }
        contents.bodies.insert(id.clone(), client.get(&path).body);
        contents.ciphertexts.insert(id.clone(), ciphertexts);
    }
    contents
}

/// Damages one file; says how, the kind of damage first.
fn harm(zone: &Path, yesterday: &Path, choices: &mut Choices) -> String {
    let mut files: Vec<PathBuf> = vec![zone.join("manifest"), zone.join("keyring")];
    files.extend(files_under(&zone.join("store")));
    // The log holds nearly everything: it is hit as often as all others together.
    let log = zone.join("store/db");
    let file = if choices.below(2) == 0 { log } else { choices.pick(&files).clone() };
    let mut bytes = fs::read(&file).unwrap();
    let name = file.strip_prefix(zone).unwrap().display().to_string();
    let length = u64::try_from(bytes.len()).unwrap();
    match choices.below(6) {
        0 | 1 if length > 0 => {
            let (at, bit) = (choices.below(length), choices.below(8));
            bytes[usize::try_from(at).unwrap()] ^= 1 << bit;
            fs::write(&file, bytes).unwrap();
            format!("bit {bit} of byte {at} of {name}")
        }
        2 if length > 0 => {
            let at = usize::try_from(choices.below(length) / 4096 * 4096).unwrap();
            let end = bytes.len().min(at + 4096);
            bytes[at..end].fill(0);
            fs::write(&file, bytes).unwrap();
            format!("zeros from {at} of {name}")
        }
        3 if length > 0 => {
            let cut = length - 1 - choices.below(length.div_ceil(4));
            bytes.truncate(usize::try_from(cut).unwrap());
            fs::write(&file, bytes).unwrap();
            format!("truncated {name} from {length} to {cut}")
        }
        4 => {
            fs::remove_file(&file).unwrap();
            format!("removed {name}")
        }
        _ => {
            fs::remove_dir_all(zone.join("store")).unwrap();
            copy(&yesterday.join("store"), &zone.join("store"));
            "yesterday's store".to_owned()
        }
    }
}

/// What the server makes of it. Panics if the damage is hidden.
fn outcome(damaged: &Dev, contents: &Contents, what: &str) -> &'static str {
    let server = match damaged.try_start() {
        Ok(server) => server,
        Err(mut process) => {
            let status = process.ends_within(std::time::Duration::ZERO).unwrap();
            let log = process.log();
            assert!(!status.success(), "{what}: it ended as if all were well:\n{log}");
            assert!(!log.contains("panicked at"), "{what}: it panicked:\n{log}");
            assert!(log.lines().any(|line| line.len() > 20), "{what}: it does not say why it ended: {log}");
            return "refused";
        }
    };
    let mut client = server.client();
    let listed = client.get("/v2/kms-key").ok();
    let listed = listed["kms-keys"].as_array().unwrap();
    let mut flagged = 0;
    for (id, body) in &contents.bodies {
        let answer = client.get(&format!("/v2/kms-key/{id}"));
        let in_list = listed.iter().any(|key| key["id"] == json!(id));
        if answer.title() == "Key Record Damaged" {
            assert!(server.process.log().contains(id.as_str()), "{what}: the log does not name {id}");
            assert!(!in_list, "{what}: a damaged key is listed as if it were whole");
            flagged += 1;
            continue;
        }
        assert!(in_list, "{what}: {id} is lost from the list");
        assert_eq!(answer.text(), String::from_utf8_lossy(body), "{what}: {id} is silently another");
        if answer.json()["status"] == "enabled" {
            for ciphertext in &contents.ciphertexts[id] {
                assert_eq!(client.decrypt(id, ciphertext).status, 200, "{what}: a ciphertext of {id} does not open");
            }
        }
    }
    // A zone that serves takes changes, too.
    client.create("after the damage");
    server.stop();
    if flagged == 0 { "harmless" } else { "flagged" }
}

/// A keyring, manifest, store or root key that is missing is named and never made anew: when it is put back, all is well.
#[test]
fn lost_files_are_not_made_anew() {
    let directory = scratch();
    let dev = Dev::new(program(), directory.path());
    let server = dev.start();
    let key = server.client().create("k");
    server.stop();
    let away = directory.path().join("away");
    for lost in ["keyring", "manifest", "store", "root.key"] {
        let path = dev.data().join("ch-gva-2").join(lost);
        fs::rename(&path, &away).unwrap();
        let Err(process) = dev.try_start() else { panic!("it starts without {lost}") };
        assert!(process.log().contains(lost), "it does not name {lost}:\n{}", process.log());
        let made_anew = path.is_file() || (path.is_dir() && !files_under(&path).is_empty());
        assert!(!made_anew, "it made a new {lost}");
        fs::rename(&away, &path).unwrap();
        let server = dev.start();
        assert_eq!(server.client().get(&format!("/v2/kms-key/{key}")).status, 200, "{lost} was put back");
        server.stop();
    }
}

/// C14: a root key that is not this store's, or that others can read, is refused and nothing is written.
#[test]
fn a_wrong_root_key_is_refused() {
    let directory = scratch();
    let dev = Dev::new(program(), directory.path());
    dev.start().stop();
    let root_key = dev.data().join("ch-gva-2/root.key");
    let right = fs::read_to_string(&root_key).unwrap();
    let flipped = if right.starts_with('0') { "1" } else { "0" };
    let wrong = [
        ("another", format!("{flipped}{}", &right[1..])),
        ("short", right[..40].to_owned()),
        ("empty", String::new()),
        ("all alike", "0".repeat(64)),
        ("a text", "correct horse battery staple\n".to_owned()),
    ];
    for (what, text) in &wrong {
        fs::write(&root_key, text).unwrap();
        let before = listing(dev.data());
        let Err(process) = dev.try_start() else { panic!("it starts with a root key that is {what}") };
        let log = process.log();
        assert!(log.to_lowercase().contains("root key") || log.contains("root.key"), "{what}: {log}");
        assert!(!log.contains(right.trim()), "the log shows the root key");
        assert_eq!(listing(dev.data()), before, "it wrote something with a root key that is {what}");
    }
    fs::write(&root_key, &right).unwrap();
    fs::set_permissions(&root_key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(dev.try_start().is_err(), "it starts with a root key that everyone can read");
    fs::set_permissions(&root_key, fs::Permissions::from_mode(0o600)).unwrap();
    dev.start().stop();
}

/// D8, D15: files are the owner's alone whatever the umask, and a second process is turned away.
#[test]
fn files_are_private_and_the_directory_is_taken() {
    let directory = scratch();
    let dev = Dev::new(program(), directory.path());
    let server = dev.start();
    server.client().create("k");
    for (path, mode) in modes(dev.data()) {
        assert_eq!(mode & 0o077, 0, "{} is open to others: {mode:o}", path.display());
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.process.pid().as_raw_pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "a core dump would hold key material: {core}");
    let mut second = Dev::new(program(), directory.path()).spawn();
    let status = second.ends_within(std::time::Duration::from_secs(60)).expect("the second process ends by itself");
    assert!(!status.success());
    server.client().create("the first one goes on");
    server.stop();
}

fn modes(directory: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = vec![(directory.to_owned(), fs::metadata(directory).unwrap().permissions().mode())];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(modes(&path));
        } else {
            found.push((path.clone(), fs::metadata(&path).unwrap().permissions().mode()));
        }
    }
    found
}

/// Every file of a zone and a digest of its bytes, leaving out locks.
pub(crate) fn listing(data: &Path) -> BTreeMap<PathBuf, String> {
    let files = files_under(&data.join("ch-gva-2"));
    let files = files.into_iter().filter(|path| path.extension().is_none_or(|extension| extension != "lock"));
    files.map(|path| (path.clone(), hex::encode(Sha256::digest(fs::read(path).unwrap())))).collect()
}

fn files_under(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_under(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("--archive").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "the directory is copied");
}
