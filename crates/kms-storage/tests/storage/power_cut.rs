//! Power cut at any instant: every answered change is there, every change is whole, the store opens.

use crate::loop_disk::LoopDisk;
use crate::support::Seeded;
use crate::workload::{Child, State, TASKS, check, under_strace};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::thread;
use std::time::Duration;

const DISK: u64 = 160 << 20;
/// Trials on one disk, each continuing from the last one's crash, before a fresh one is taken.
const CHAIN: u64 = 20;

#[tokio::test]
async fn nothing_answered_is_lost_when_the_power_is_cut() {
    cut_again_and_again(5).await;
}

#[tokio::test]
#[ignore = "takes minutes: cargo test -p kms-storage --test storage -- --ignored --nocapture hundred_power_cuts"]
async fn nothing_answered_is_lost_in_a_hundred_power_cuts() {
    cut_again_and_again(100).await;
}

async fn cut_again_and_again(trials: u64) {
    let mut random = Seeded(trials);
    let mut answers = 0;
    let mut done = 0;
    while done < trials {
        let folder = tempfile::tempdir().unwrap();
        let disk = match LoopDisk::create(folder.path(), DISK) {
            Ok(disk) => disk,
            Err(reason) => {
                println!("skipped: no loop mount here ({reason}); the recorded sync calls are checked all the same");
                return;
            }
        };
        let mut state: State = vec![0; TASKS as usize];
        for trial in 0..CHAIN.min(trials - done) {
            let mut child = Child::start(disk.path());
            if trial % 4 == 3 {
                // The power may also fail while the store is being opened.
                thread::sleep(Duration::from_millis(random.below(80)));
            } else {
                child.wait_for_acks(1 + random.below(300));
                thread::sleep(Duration::from_micros(random.below(3000)));
            }
            stop(&child);
            disk.copy_image().unwrap();
            let (acks, count) = child.kill();
            disk.continue_from_copy().unwrap();
            let answered: State = state.iter().zip(acks).map(|(before, ack)| ack.max(*before)).collect();
            state = check(disk.path(), &answered).await;
            answers += count;
        }
        done += CHAIN.min(trials - done);
    }
    println!("{trials} power cuts, {answers} answered commits, none lost, none in part, every store opened");
    assert!(answers > trials * 20, "{answers} answers are too few to show anything");
}

/// Stops the child and waits until every thread of it stands still.
fn stop(child: &Child) {
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(id, Signal::STOP).unwrap();
    for _ in 0..60_000 {
        let still = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap().all(|thread| {
            let status = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default();
            status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        });
        if still {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("the child did not stop within 60 s");
}

/// The same promise at the level of system calls, for machines without loop mounts: between the last write to the log and
/// the answer lies an fsync of the log, then a write and an fdatasync of the manifest file.
#[test]
fn every_answer_follows_the_syncs_it_needs() {
    const COMMITS: u64 = 30;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("calls");
    let mut files_made = 0;
    // The second round opens what the first one made.
    for round in ["new", "old"] {
        match under_strace(folder.path(), &log, COMMITS) {
            Ok(status) if status.success() => {}
            Ok(status) => panic!("{status}"),
            Err(reason) => {
                println!("skipped: no strace here ({reason})");
                return;
            }
        }
        let mut answers = 0;
        let mut safety = Safety::default();
        for call in finished_calls(&fs::read_to_string(&log).unwrap()) {
            if call.contains("\"\\nack 0 ") {
                safety.check();
                answers += 1;
            } else {
                safety.note(&call);
            }
        }
        assert_eq!(answers, COMMITS, "{round}");
        files_made += safety.files_made;
    }
    println!("{} answers, {files_made} files made or replaced on the way", 2 * COMMITS);
    assert!(files_made > 2, "no new file was seen");
}

/// What the calls so far have left unsafe.
#[derive(Default)]
struct Safety {
    log_written: bool,
    log_unsynced: bool,
    manifest_written: bool,
    manifest_unsynced: bool,
    /// Files made and directories whose entries changed since they were synced.
    unsynced: BTreeSet<String>,
    files_made: usize,
}

impl Safety {
    fn note(&mut self, call: &str) {
        let is = |name: &str, path: &str| call.starts_with(name) && call.contains(path);
        if is("openat", "/store/db>") {
            // What a killed process wrote may lie in the page cache only.
            self.log_unsynced = true;
        }
        if is("pwrite64", "/store/db>") {
            (self.log_written, self.log_unsynced) = (true, true);
        } else if is("pwrite64", "/manifest>") {
            assert!(!self.log_unsynced, "the manifest file runs ahead of the log");
            (self.manifest_written, self.manifest_unsynced) = (true, true);
        } else if is("fdatasync", "/manifest>") {
            self.manifest_unsynced = false;
        } else if (is("openat", "O_CREAT") || call.starts_with("rename")) && call.contains("/store/") {
            // The last quoted path is the one that appears.
            let path = call.split('"').skip(1).step_by(2).last().unwrap();
            if !path.ends_with("generating") {
                self.unsynced.insert(path.to_owned());
            }
            self.unsynced.insert(path.rsplit_once('/').unwrap().0.to_owned());
            self.files_made += 1;
        } else if call.starts_with("fsync")
            && let Some(path) = call.split(['<', '>']).nth(1)
        {
            self.log_unsynced &= !path.ends_with("/store/db");
            self.unsynced.remove(path);
        }
    }

    fn check(&mut self) {
        assert!(self.log_written && self.manifest_written, "an answer without a write");
        assert!(!self.log_unsynced && !self.manifest_unsynced, "an answer before the sync");
        assert!(self.unsynced.is_empty(), "an answer before the sync of {:?}", self.unsynced);
        (self.log_written, self.manifest_written) = (false, false);
    }
}

/// The calls in the order in which they began to write or ended to sync, each on one line without its process id.
fn finished_calls(log: &str) -> Vec<String> {
    let mut begun: HashMap<&str, &str> = HashMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let Some((process, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(first) = call.strip_suffix(" <unfinished ...>") {
            begun.insert(process, first);
            // A write counts from its beginning, a sync from its end.
            if !first.starts_with('f') && !first.starts_with("openat") {
                calls.push(first.to_owned());
            }
        } else if call.starts_with("<... ") {
            let first = begun.remove(process).unwrap_or_default();
            if first.starts_with('f') || first.starts_with("openat") {
                calls.push(format!("{first} {call}"));
            }
        } else {
            calls.push(call.to_owned());
        }
    }
    calls
}
