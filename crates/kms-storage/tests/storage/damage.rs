//! Damaged stores: refused, or wholly there, or the damaged record found by its seal. Never silently other or older, never
//! hung.

use crate::opening::copy_directory;
use crate::support::{Seeded, open, paths, record, sealed, unsealed};
use kms_storage::{Body, Commit, RecordVersion, SledStore, Store, Stored, Write};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

const FOLDER: &str = "ZONEKMS_DAMAGED_FOLDER";
const RECORDS: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(120);
const BLOCK: usize = 4096;

#[tokio::test]
async fn no_damage_passes_silently() {
    damage_again_and_again(60).await;
}

#[tokio::test]
#[ignore = "takes minutes: cargo test -p kms-storage --test storage -- --ignored --nocapture three_hundred"]
async fn no_damage_passes_silently_in_three_hundred_trials() {
    damage_again_and_again(300).await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Damage {
    BitFlipped,
    BlockZeroed,
    Truncated,
    YesterdayPutBack,
}

async fn damage_again_and_again(trials: u64) {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    fs::create_dir(&base).unwrap();
    let yesterday = folder.path().join("yesterday");
    make_store(&base, &yesterday).await;
    let mut random = Seeded(trials);
    let mut tally: BTreeMap<(Damage, String), u64> = BTreeMap::new();
    for trial in 0..trials {
        let damage = match trial % 10 {
            0..4 => Damage::BitFlipped,
            4..7 => Damage::BlockZeroed,
            7..9 => Damage::Truncated,
            _ => Damage::YesterdayPutBack,
        };
        let copy = folder.path().join("copy");
        copy_directory(&base, &copy);
        let what = inflict(damage, &copy, &yesterday, &mut random);
        let outcome = look(&copy);
        let (kind, _) = outcome.split_once(':').unwrap_or((&outcome, ""));
        assert!(["refused", "equal", "detected"].contains(&kind), "trial {trial}, {what}: {outcome}");
        if damage == Damage::YesterdayPutBack {
            assert!(outcome.contains("set back"), "trial {trial}: {outcome}");
        }
        *tally.entry((damage, kind.to_owned())).or_default() += 1;
        fs::remove_dir_all(&copy).unwrap();
    }
    println!("{trials} damaged stores:");
    for ((damage, outcome), count) in &tally {
        println!("  {damage:?} {outcome} {count}");
    }
    let refused: u64 = tally.iter().filter(|((_, kind), _)| kind == "refused").map(|(_, count)| count).sum();
    assert!(refused > trials / 4, "the damage must hit something to show anything: {refused} refused");
}

/// A record's last content; every seventh is deleted in the end.
fn expected(number: u64) -> (u64, Option<Vec<u8>>) {
    let version = 2 + number % 3;
    match number % 7 {
        0 => (version + 1, None),
        _ => (version, Some(content(number, version))),
    }
}

fn content(number: u64, version: u64) -> Vec<u8> {
    let length = if number % 50 == 49 { 70_000 } else { 300 };
    let mut random = Seeded(number << 8 | version);
    (0..length).map(|_| random.next().to_be_bytes()[0]).collect()
}

async fn make_store(folder: &Path, yesterday: &Path) {
    let store = open(folder).await.unwrap();
    for version in 1..=4 {
        for number in 0..RECORDS {
            if version <= 2 + number % 3 {
                put(&store, number, version).await;
            }
        }
        if version == 3 {
            store.close().await.unwrap();
            copy_directory(&paths(folder).store, yesterday);
            return finish_store(folder).await;
        }
    }
}

async fn finish_store(folder: &Path) {
    let store = open(folder).await.unwrap();
    for number in (0..RECORDS).filter(|number| number % 3 == 2) {
        put(&store, number, 4).await;
    }
    for number in (0..RECORDS).filter(|number| number % 7 == 0) {
        let version = RecordVersion::new(2 + number % 3);
        let write = Write::tombstone(record(0, number), version);
        let _durable = store.commit(Commit::new(vec![write])).await.unwrap();
    }
    store.close().await.unwrap();
}

async fn put(store: &SledStore, number: u64, version: u64) {
    let key = record(0, number);
    let body = sealed(&key, RecordVersion::new(version), &content(number, version));
    let write = Write::live(key, RecordVersion::new(version - 1), body);
    let _durable = store.commit(Commit::new(vec![write])).await.unwrap();
}

fn inflict(damage: Damage, folder: &Path, yesterday: &Path, random: &mut Seeded) -> String {
    let store = paths(folder).store;
    if damage == Damage::YesterdayPutBack {
        fs::remove_dir_all(&store).unwrap();
        copy_directory(yesterday, &store);
        return "yesterday's files".to_owned();
    }
    let path = victim(folder, random);
    let mut bytes = fs::read(&path).unwrap();
    let at = used_offset(&bytes, random);
    match damage {
        Damage::BitFlipped => bytes[at] ^= 1 << random.below(8),
        Damage::BlockZeroed => {
            let block = at / BLOCK * BLOCK;
            let end = bytes.len().min(block + BLOCK);
            bytes[block..end].fill(0);
        }
        Damage::Truncated => bytes.truncate(at),
        Damage::YesterdayPutBack => {}
    }
    fs::write(&path, bytes).unwrap();
    format!("{damage:?} at {at} of {}", path.display())
}

/// Any file of the store or the manifest file; the log in half of the trials.
fn victim(folder: &Path, random: &mut Seeded) -> PathBuf {
    let store = paths(folder).store;
    let mut files: Vec<_> = [store.clone(), store.join("blobs")]
        .iter()
        .flat_map(|directory| fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()))
        .filter(|path| path.is_file() && fs::metadata(path).unwrap().len() > 0)
        .collect();
    files.push(paths(folder).manifest);
    files.sort();
    match random.below(2) {
        0 => store.join("db"),
        _ => files[usize::try_from(random.below(files.len() as u64)).unwrap()].clone(),
    }
}

/// An offset near which something is written.
fn used_offset(bytes: &[u8], random: &mut Seeded) -> usize {
    for _ in 0..1000 {
        let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
        let end = bytes.len().min(at + 16);
        if bytes[at..end].iter().any(|byte| *byte != 0) {
            return at;
        }
    }
    0
}

/// Lets a child open the store, and gives its verdict; a child that hangs is killed.
fn look(folder: &Path) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "damage::child", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        text
    });
    let pause = Duration::from_millis(5);
    let ended = (0..PATIENCE.as_millis() / pause.as_millis()).any(|_| {
        thread::sleep(pause);
        child.try_wait().unwrap().is_some()
    });
    if !ended {
        child.kill().unwrap();
    }
    child.wait().unwrap();
    let text = reader.join().unwrap();
    match text.lines().find_map(|line| line.strip_prefix("outcome ")) {
        Some(outcome) if ended => outcome.to_owned(),
        Some(outcome) => format!("hung: after {outcome}"),
        None => format!("hung or died: {text}"),
    }
}

/// The child's life: does nothing in an ordinary test run.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let outcome = tokio::runtime::Runtime::new().unwrap().block_on(judge(Path::new(&folder)));
    println!("\noutcome {}", outcome.replace('\n', " "));
}

/// What the store is worth; one that seems whole must also take a change and be whole after another opening.
async fn judge(folder: &Path) -> String {
    let mut damaged = 0;
    for added in 0..2 {
        let store = match open(folder).await {
            Ok(store) => store,
            Err(error) if added == 0 => return format!("refused: {error}"),
            Err(error) => return format!("broken by a change: {error}"),
        };
        let entries = store.scan("key/", None, None, 1000).await.unwrap().entries;
        if entries.len() as u64 != RECORDS + added {
            return format!("silent: {} records", entries.len());
        }
        damaged = 0;
        for (number, (key, found)) in (0..RECORDS).zip(&entries) {
            let (version, content) = expected(number);
            if *key != record(0, number) || found.version.get() != version {
                return format!("silent: {key} at version {}", found.version);
            }
            match (found, content) {
                (Stored { body: Body::Live(body), version }, Some(content)) => match unsealed(key, *version, body) {
                    Some(found) if found == content => {}
                    Some(_) => return format!("silent: {key} has other content"),
                    None => damaged += 1,
                },
                (Stored { body: Body::Tombstone, .. }, None) => {}
                _ => return format!("silent: {key} is {found:?}"),
            }
        }
        if added == 0 {
            let write = Write::live(record(1, 0), RecordVersion::NEVER, vec![0; 300]);
            if let Err(error) = store.commit(Commit::new(vec![write])).await {
                return format!("refused: a change: {error}");
            }
        }
        store.close().await.unwrap();
    }
    if damaged == 0 { "equal".to_owned() } else { format!("detected: {damaged} records") }
}
