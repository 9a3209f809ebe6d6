//! A child process that writes concurrently and tells each answer, and what its store must hold afterwards.
//!
//! Task `t` makes commits 1, 2, 3 ... Commit `c` writes the task's two twin records with the number `c`, writes the slot
//! `c mod 32` and deletes the slot `c + 16 mod 32`. So the whole state of a task follows from its last commit.

use crate::support::{open, record, sealed, unsealed};
use kms_storage::{Body, Commit, RecordVersion, SledStore, Store, Stored, Write};
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

pub(crate) const TASKS: u32 = 8;

const FOLDER: &str = "ZONEKMS_WORKLOAD_FOLDER";
const TASK_COUNT: &str = "ZONEKMS_WORKLOAD_TASKS";
const COMMIT_COUNT: &str = "ZONEKMS_WORKLOAD_COMMITS";
const SLOTS: u64 = 32;
const HALF: u64 = SLOTS / 2;
/// A child that nobody kills ends by itself after so many commits of each task.
const END: u64 = 1_000_000;

/// The last commit of each task.
pub(crate) type State = Vec<u64>;

/// The child's life: does nothing in an ordinary test run.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let tasks = u32::try_from(number(TASK_COUNT, u64::from(TASKS))).unwrap();
    let commits = number(COMMIT_COUNT, END);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = Arc::new(open(Path::new(&folder)).await.unwrap());
        let mut writers = tokio::task::JoinSet::new();
        for task in 0..tasks {
            writers.spawn(write(Arc::clone(&store), task, commits));
        }
        while let Some(written) = writers.join_next().await {
            written.unwrap();
        }
        store.close().await.unwrap();
    });
}

async fn write(store: Arc<SledStore>, task: u32, commits: u64) {
    let last = store.get(&record(task, 0)).await.unwrap().version.get();
    for commit in last + 1..=last + commits {
        let _durable = store.commit(Commit::new(writes(task, commit))).await.unwrap();
        let mut out = std::io::stdout().lock();
        out.write_all(format!("\nack {task} {commit}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    }
}

fn writes(task: u32, commit: u64) -> Vec<Write> {
    let live = |number, version: u64| {
        let key = record(task, number);
        let body = sealed(&key, RecordVersion::new(version), &content(task, commit));
        Write::live(key, RecordVersion::new(version - 1), body)
    };
    let slot = commit % SLOTS;
    let other = (commit + HALF) % SLOTS;
    let emptied = RecordVersion::new(slot_version(other, commit) - 1);
    vec![
        live(0, commit),
        live(1, commit),
        live(2 + slot, slot_version(slot, commit)),
        Write::tombstone(record(task, 2 + other), emptied),
    ]
}

/// Mostly small; sometimes larger than a page, and sometimes so large that the engine keeps it in a file of its own.
fn content(task: u32, commit: u64) -> Vec<u8> {
    let length = match commit {
        _ if commit % 389 == 17 => 200_000,
        _ if commit % 41 == 5 => 9_000,
        _ => 200,
    };
    let mut content = vec![u8::try_from(task).unwrap(); length];
    content[..8].copy_from_slice(&commit.to_be_bytes());
    content
}

/// How often a slot was written by the time of `commit`.
fn slot_version(slot: u64, commit: u64) -> u64 {
    let first = match slot % HALF {
        0 => HALF,
        early => early,
    };
    if commit < first { 0 } else { (commit - first) / HALF + 1 }
}

/// A running child.
pub(crate) struct Child {
    process: std::process::Child,
    reader: Option<thread::JoinHandle<()>>,
    acks: Arc<Mutex<Acks>>,
}

#[derive(Default)]
struct Acks {
    last: State,
    count: u64,
}

impl Child {
    /// Starts one on the store in `folder`.
    pub(crate) fn start(folder: &Path) -> Self {
        Self::started_by(Command::new(std::env::current_exe().unwrap()).env(FOLDER, folder))
    }

    fn started_by(command: &mut Command) -> Self {
        let mut process = command
            .args(["--exact", "workload::child", "--nocapture", "--test-threads=1"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let acks = Arc::new(Mutex::new(Acks { last: vec![0; TASKS as usize], count: 0 }));
        let out = BufReader::new(process.stdout.take().unwrap());
        let heard = Arc::clone(&acks);
        let reader = thread::spawn(move || {
            for line in out.lines() {
                let line = line.unwrap();
                // A line cut short by the kill has no end and is not an answer; `lines` gives it all the same.
                let Some((task, commit)) = line.strip_prefix("ack ").and_then(|rest| rest.split_once(' ')) else {
                    continue;
                };
                let mut acks = heard.lock().unwrap();
                let last = &mut acks.last[task.parse::<usize>().unwrap()];
                *last = (*last).max(commit.parse().unwrap());
                acks.count += 1;
            }
        });
        Self { process, reader: Some(reader), acks }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it has told so many answers.
    pub(crate) fn wait_for_acks(&mut self, count: u64) {
        for _ in 0..120_000 {
            if self.acks.lock().unwrap().count >= count {
                return;
            }
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("the child ended by itself: {status}");
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("no {count} answers within 120 s");
    }

    /// Kills it with SIGKILL; the last answered commit of each task, and how many answers there were.
    pub(crate) fn kill(mut self) -> (State, u64) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        let acks = self.acks.lock().unwrap();
        (acks.last.clone(), acks.count)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Already dead unless a test failed half-way.
        let _killed = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Makes one task's commits under `strace`, which writes to `log`.
pub(crate) fn under_strace(folder: &Path, log: &Path, commits: u64) -> std::io::Result<std::process::ExitStatus> {
    Command::new("strace")
        .args(["-f", "-y", "-s", "64", "-o"])
        .arg(log)
        .args(["-e", "trace=pwrite64,write,fsync,fdatasync,openat,rename,renameat,renameat2"])
        .arg(std::env::current_exe()?)
        .args(["--exact", "workload::child", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(TASK_COUNT, "1")
        .env(COMMIT_COUNT, commits.to_string())
        .stdout(Stdio::null())
        .status()
}

/// Opens the store and checks that every commit answered is there, that each task's state is that of one commit, whole, and
/// that no task is further than one commit beyond its last answer. Gives what was found.
pub(crate) async fn check(folder: &Path, answered: &State) -> State {
    let store = open(folder).await.unwrap_or_else(|error| panic!("the store does not open: {error}"));
    let mut found = State::new();
    for (task, answered) in (0..TASKS).zip(answered) {
        let commit = store.get(&record(task, 0)).await.unwrap().version.get();
        assert!(commit >= *answered, "task {task}: commit {answered} was answered, {commit} is there");
        assert!(commit <= answered + 1, "task {task}: commit {answered} was answered last, {commit} is there");
        check_twins_and_slots(&store, task, commit).await;
        found.push(commit);
    }
    store.close().await.unwrap();
    found
}

async fn check_twins_and_slots(store: &SledStore, task: u32, commit: u64) {
    if commit == 0 {
        return;
    }
    for twin in 0..2 {
        let key = record(task, twin);
        check_live(&key, &store.get(&key).await.unwrap(), commit, &content(task, commit));
    }
    for slot in 0..SLOTS {
        let key = record(task, 2 + slot);
        let found = store.get(&key).await.unwrap();
        let version = slot_version(slot, commit);
        // The last commit that touched this slot wrote it when it fell on the slot itself, and emptied it otherwise.
        let Some(last) = (1..=commit).rev().find(|at| at % HALF == slot % HALF) else {
            assert_eq!(found, Stored::ABSENT);
            continue;
        };
        if last % SLOTS == slot {
            check_live(&key, &found, version, &content(task, last));
        } else {
            assert_eq!(found, Stored { version: RecordVersion::new(version), body: Body::Tombstone }, "{key}");
        }
    }
}

fn check_live(key: &kms_storage::RecordKey, found: &Stored, version: u64, expected: &[u8]) {
    assert_eq!(found.version.get(), version, "{key}");
    let Body::Live(body) = &found.body else { panic!("{key} is not live") };
    let content = unsealed(key, found.version, body).unwrap_or_else(|| panic!("{key} is damaged"));
    assert!(content == expected, "{key} holds other content");
}
