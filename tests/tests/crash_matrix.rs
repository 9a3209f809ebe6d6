//! Promise 1, step by step: SIGKILL at every point of a change, a deletion, a rotation of the root key, a backup and a
//! restore. Afterwards everything answered is there, every ciphertext opens, and no step is half done.
//!
//! The server of these tests is built with the feature `crashpoints`:
//! `cargo test -p zonekms-tests --features crashpoints crash_matrix`, and for the long run `... -- --ignored --nocapture`.

mod backups;
mod changes;
mod deletions;
mod root_keys;

use crate::program;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;
use zonekms_tests::crash_at::VARIABLE;
use zonekms_tests::random::Choices;

/// A process that has not come to its point by then will not.
const PATIENCE: Duration = Duration::from_secs(120);

/// Points that a server passes when a key is made or changed.
const CHANGE_POINTS: [&str; 9] = [
    "create:sealed",
    "create:durable",
    "create:published",
    "change:sealed",
    "change:durable",
    "change:published",
    "store:decided",
    "store:written",
    "store:manifest-written",
];

/// Points that a server passes when a deletion becomes final.
const DELETION_POINTS: [&str; 7] = [
    "epoch:kept",
    "deletion:sealed",
    "deletion:durable",
    "deletion:published",
    "store:decided",
    "store:written",
    "store:manifest-written",
];

/// Points that a server passes when the root key is rotated.
const ROOT_KEY_POINTS: [&str; 3] = ["root-key:made", "root-key:keyring-written", "root-key:settled"];

/// Points of `zonekms backup`.
const BACKUP_POINTS: [&str; 3] = ["backup:part-written", "backup:synced", "backup:linked"];

/// Points of `zonekms restore`.
const RESTORE_POINTS: [&str; 5] =
    ["restore:keyring-made", "restore:store-made", "restore:records-made", "restore:store-closed", "restore:settled"];

/// `cargo test -p zonekms-tests --features crashpoints -- --ignored --nocapture five_hundred`
#[test]
#[ignore = "five hundred kills take minutes"]
fn nothing_is_lost_in_five_hundred_kills() {
    let seed = Choices::seed();
    println!("ZONEKMS_TEST_SEED={seed}");
    let mut kills = BTreeMap::new();
    for trial in 0.. {
        if kills.values().sum::<u64>() >= 500 {
            break;
        }
        let mut choices = Choices::new(seed, trial);
        let (what, died) = match choices.below(10) {
            0..=4 => {
                // Half of them at a point, half at any instant at all.
                let point = (choices.below(2) == 0).then(|| *choices.pick(&CHANGE_POINTS));
                ("changes", changes::killed_in_turn(seed + trial, point, 10))
            }
            5 | 6 => {
                let point = *choices.pick(&DELETION_POINTS);
                ("deletion", deletions::killed(point, choices.below(4)))
            }
            7 => ("root key", root_keys::killed(&ROOT_KEY_POINTS.map(|point| (point, 0)))),
            8 => ("backup", backups::killed_backups(&[(*choices.pick(&BACKUP_POINTS), choices.below(2))])),
            _ => ("restore", backups::killed_restores(&[(*choices.pick(&RESTORE_POINTS), 0)])),
        };
        *kills.entry(what).or_insert(0) += died;
    }
    println!("kills that lost nothing: {kills:?}");
    assert_eq!(kills.len(), 5, "every kind of work was killed");
}

/// Runs a command that is to be killed at a point.
fn command_killed_at(at: &str, words: &[&str]) -> Output {
    Command::new(program()).args(words).env(VARIABLE, at).output().unwrap()
}

/// What a command prints; it must succeed.
fn command(words: &[&str]) -> String {
    let output = Command::new(program()).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(9)
}
