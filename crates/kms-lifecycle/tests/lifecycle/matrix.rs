//! The whole table of state and command as one text file.
//!
//! `ZONEKMS_GOLDEN=write cargo test -p kms-lifecycle` writes the file anew; without the variable it is compared.

use crate::keys::{after, day, new_key, on_replica, rotated_by_hand, zone};
use kms_lifecycle::{
    Command, Decision, DecryptRefusal, DueWork, Key, Kind, Place, Reach, Rejection, RevisionStamp, Schedule, Status,
    decide, decide_due, permit_decrypt, permit_encrypt, permit_reencrypt_destination, permit_reencrypt_source,
};
use kms_types::{DeletionDelay, MaterialVersion, RotationPeriod, Timestamp};
use std::fmt::Write as _;
use std::path::Path;

const HEADER: &str = "\
# What every command and use does to a key in every state.
#
# Format: lines that begin with # are comments, empty lines mean nothing. Every other line has eight cells, divided by |;
# blanks around a cell mean nothing. The line whose first cell is `place` names the columns. The others are:
#   place      origin: the zone where the key was created, and the only one of a single-zone key; replica: another zone
#   operation  as in the API's path; `time` is no request: it is the work found due
#   case       what is special about the key or the request; empty when nothing is
# and one cell for each state that the key is in before. `gone` is a pending deletion whose date has come.
# `default` is the organisation's default key, which is always enabled.
#
# A cell with a capital letter first is a refusal: the title of the API's error. The others begin with
#   ok         done. Of a command, the status after it follows, and then what else changed:
#              +version (new material), +manual (one more in manual-count), rotation-on, rotation-off,
#              next-at (the next automatic rotation moved), delete-at (there is one, or it moved), +replica
#   already    the key was as asked for; success, and nothing is stored. The status follows
#   deleted    the key is replaced by its tombstone
#   mismatch   refused as every ciphertext that does not fit: the answer does not tell why
#   nothing    no work is due
#   -          there is no such key
";

#[derive(Clone, Copy, PartialEq)]
enum At {
    Origin,
    Replica,
}

#[derive(Clone, Copy)]
enum Before {
    Enabled,
    Disabled,
    PendingDeletion,
    Gone,
    Default,
}

const COLUMNS: [(&str, Before); 5] = [
    ("enabled", Before::Enabled),
    ("disabled", Before::Disabled),
    ("pending-deletion", Before::PendingDeletion),
    ("gone", Before::Gone),
    ("default", Before::Default),
];

#[derive(Clone, Copy)]
enum Case {
    Plain,
    SingleZone,
    TenManualRotations,
    ScheduleOff,
    MultiZone,
    MultiZoneWithReplica,
}

/// What is tried on a key at a time.
enum Try {
    Command(Command),
    Encrypt,
    Decrypt(MaterialVersion),
    ReencryptFrom,
    ReencryptTo,
    Time,
}

#[test]
fn the_matrix_is_as_written_down() {
    let actual = render();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/state-matrix.txt");
    if std::env::var_os("ZONEKMS_GOLDEN").is_some_and(|mode| mode == "write") {
        std::fs::write(&path, &actual).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    for (number, (written, actual)) in written.lines().zip(actual.lines()).enumerate() {
        assert_eq!(written, actual, "line {} of {}", number + 1, path.display());
    }
    assert_eq!(written, actual);
}

fn rows() -> Vec<(&'static str, &'static str, Case, Try)> {
    let enable_rotation = || Try::Command(Command::EnableRotation { period: RotationPeriod::DEFAULT });
    let replicate = |target| Try::Command(Command::Replicate { target: zone(target) });
    let version = |number| MaterialVersion::new(number).unwrap();
    vec![
        ("enable", "", Case::Plain, Try::Command(Command::Enable)),
        ("disable", "", Case::Plain, Try::Command(Command::Disable)),
        ("rotate", "", Case::Plain, Try::Command(Command::Rotate)),
        ("rotate", "10 manual rotations before", Case::TenManualRotations, Try::Command(Command::Rotate)),
        ("enable-key-rotation", "it is off", Case::ScheduleOff, enable_rotation()),
        ("enable-key-rotation", "it is on", Case::Plain, enable_rotation()),
        ("disable-key-rotation", "it is on", Case::Plain, Try::Command(Command::DisableRotation)),
        ("disable-key-rotation", "it is off", Case::ScheduleOff, Try::Command(Command::DisableRotation)),
        (
            "schedule-deletion",
            "",
            Case::Plain,
            Try::Command(Command::ScheduleDeletion { delay: DeletionDelay::DEFAULT }),
        ),
        ("cancel-deletion", "", Case::Plain, Try::Command(Command::CancelDeletion)),
        ("replicate", "single-zone key", Case::SingleZone, replicate("de-fra-1")),
        ("replicate", "multi-zone key, new zone", Case::MultiZone, replicate("de-fra-1")),
        ("replicate", "multi-zone key, zone has it", Case::MultiZoneWithReplica, replicate("de-fra-1")),
        ("replicate", "multi-zone key, origin zone", Case::MultiZone, replicate("ch-gva-2")),
        ("encrypt", "", Case::Plain, Try::Encrypt),
        ("generate-data-key", "", Case::Plain, Try::Encrypt),
        ("decrypt", "", Case::Plain, Try::Decrypt(version(1))),
        ("decrypt", "an older version", Case::TenManualRotations, Try::Decrypt(version(10))),
        ("decrypt", "a version it never had", Case::TenManualRotations, Try::Decrypt(version(12))),
        ("re-encrypt", "as source", Case::Plain, Try::ReencryptFrom),
        ("re-encrypt", "as destination", Case::Plain, Try::ReencryptTo),
        ("time", "next-at has come, it is on", Case::Plain, Try::Time),
        ("time", "next-at has come, it is off", Case::ScheduleOff, Try::Time),
    ]
}

fn render() -> String {
    let names: Vec<String> = ["place", "operation", "case"].into_iter().map(String::from).collect();
    let mut lines = vec![[names, COLUMNS.map(|(name, _)| name.to_owned()).to_vec()].concat()];
    for (at, place) in [(At::Origin, "origin"), (At::Replica, "replica")] {
        for (operation, case_name, case, attempt) in rows() {
            let now = if matches!(attempt, Try::Time) { day(365) } else { day(100) };
            let cells = COLUMNS.map(|(_, before)| {
                build(at, before, case, now).map_or_else(|| "-".to_owned(), |key| outcome(&key, &attempt, now))
            });
            lines.push([vec![place.to_owned(), operation.to_owned(), case_name.to_owned()], cells.to_vec()].concat());
        }
    }
    let widths: Vec<usize> =
        (0..lines[0].len()).map(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0)).collect();
    let mut text = HEADER.to_owned();
    let mut block = String::new();
    for line in &lines {
        if line[0] != block {
            text.push('\n');
            block.clone_from(&line[0]);
        }
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(text, "{}", cells.join(" | ").trim_end()).unwrap();
    }
    text
}

/// The key in that place and state at `now`, or `None` when there can be no such key.
fn build(at: At, before: Before, case: Case, now: Timestamp) -> Option<Key> {
    let kind = match before {
        Before::Default => Kind::Default,
        Before::Enabled | Before::Disabled | Before::PendingDeletion | Before::Gone => Kind::Ordinary,
    };
    let single = || new_key(Reach::SingleZone, kind);
    let multi = || new_key(Reach::MultiZone, kind);
    let with_replica = |key: Key| {
        let mut parts = key.to_parts();
        parts.place = Place::Origin { replicas: [zone("de-fra-1")].into() };
        Key::restore(parts).unwrap()
    };
    let key = match case {
        Case::Plain => single(),
        Case::SingleZone if at == At::Replica => return None,
        Case::SingleZone => single(),
        Case::TenManualRotations => rotated_by_hand(&single(), 10, day(1)),
        Case::ScheduleOff if kind == Kind::Default => return None,
        Case::ScheduleOff => after(&single(), &Command::DisableRotation, day(1)),
        Case::MultiZone => multi(),
        Case::MultiZoneWithReplica => with_replica(multi()),
    };
    let key = match at {
        At::Origin => key,
        At::Replica => on_replica(&key),
    };
    let since = day(50);
    let mut parts = key.to_parts();
    parts.status = match before {
        Before::Enabled | Before::Default => Status::Enabled { since },
        Before::Disabled => Status::Disabled { since },
        Before::PendingDeletion => Status::PendingDeletion { since, delete_at: now.plus_days(1) },
        Before::Gone => Status::PendingDeletion { since, delete_at: now },
    };
    parts.revision = RevisionStamp { at: since, ..parts.revision };
    Some(Key::restore(parts).unwrap())
}

fn outcome(key: &Key, attempt: &Try, now: Timestamp) -> String {
    let version = key.current_version().version;
    match attempt {
        Try::Command(command) => match decide(key, command, now) {
            Ok(Decision::Change(change)) => difference(key, &key.apply(&change).unwrap()),
            Ok(Decision::AlreadyApplied) => format!("already {}", status(key)),
            Err(rejection) => rejection.title().to_owned(),
        },
        Try::Encrypt => used(permit_encrypt(key, now).map(|_| ())),
        Try::Decrypt(version) => opened(permit_decrypt(key, *version, now).map(|_| ())),
        Try::ReencryptFrom => opened(permit_reencrypt_source(key, version, now).map(|_| ())),
        Try::ReencryptTo => used(permit_reencrypt_destination(key, now).map(|_| ())),
        Try::Time => match decide_due(key, now) {
            Some(DueWork::Rotate(change)) => difference(key, &key.apply(&change).unwrap()),
            Some(DueWork::Delete(_)) => "deleted".to_owned(),
            None => "nothing".to_owned(),
        },
    }
}

fn used(result: Result<(), Rejection>) -> String {
    result.map_or_else(|rejection| rejection.title().to_owned(), |()| "ok".to_owned())
}

fn opened(result: Result<(), DecryptRefusal>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(DecryptRefusal::Rejected(rejection)) => rejection.title().to_owned(),
        Err(DecryptRefusal::UnknownVersion) => "mismatch".to_owned(),
    }
}

fn status(key: &Key) -> &'static str {
    match key.status() {
        Status::Enabled { .. } => "enabled",
        Status::Disabled { .. } => "disabled",
        Status::PendingDeletion { .. } => "pending-deletion",
    }
}

fn difference(before: &Key, after: &Key) -> String {
    let (old, new) = (before.rotation(), after.rotation());
    let delete_at = |key: &Key| match *key.status() {
        Status::PendingDeletion { delete_at, .. } => Some(delete_at),
        Status::Enabled { .. } | Status::Disabled { .. } => None,
    };
    let switched_to = |schedule| old.schedule() != new.schedule() && new.schedule() == schedule;
    let marks = [
        (after.versions().len() == before.versions().len() + 1, " +version"),
        (new.manual_count() > old.manual_count(), " +manual"),
        (switched_to(Schedule::On), " rotation-on"),
        (switched_to(Schedule::Off), " rotation-off"),
        (new.next_at() != old.next_at(), " next-at"),
        (delete_at(after).is_some() && delete_at(after) != delete_at(before), " delete-at"),
        (after.place() != before.place(), " +replica"),
    ];
    let marks: String = marks.into_iter().filter_map(|(applies, mark)| applies.then_some(mark)).collect();
    format!("ok {}{marks}", status(after))
}

#[test]
fn every_line_follows_the_format_in_the_header() {
    let text = render();
    let mut lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let names: Vec<&str> = ["place", "operation", "case"].into_iter().chain(COLUMNS.map(|(name, _)| name)).collect();
    assert_eq!(lines.next(), Some(names));
    let mut count = 0;
    for line in lines {
        assert_eq!(line.len(), 8, "{line:?}");
        for cell in &line[3..] {
            let first = cell.split(' ').next().unwrap();
            let outcome = ["ok", "already", "deleted", "mismatch", "nothing", "-"].contains(&first);
            assert!(outcome || first.starts_with(char::is_uppercase), "{cell}");
            for mark in cell.strip_prefix("ok ").into_iter().flat_map(|marks| marks.split(' ')) {
                assert!(HEADER.contains(mark) || names_a_status(mark), "{mark} is not in the header");
            }
        }
        count += 1;
    }
    assert_eq!(count, 2 * rows().len());
}

fn names_a_status(word: &str) -> bool {
    ["enabled", "disabled", "pending-deletion"].contains(&word)
}
