//! Whatever is removed, altered, put in another order or cut off is found, and where.

use crate::log::{Scene, change, written};
use kms_audit::{
    Expected, Frontier, NoteSigner, SignedCheckpoint, TreeHash, VerifyError, newest_checkpoint, verify_log,
};
use kms_service::AuditLog;
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use zeroize::Zeroizing;

fn found(scene: &Scene) -> Option<VerifyError> {
    scene.verify().err()
}

/// The place that a fault names: the file's name and the line.
fn place(error: Option<VerifyError>) -> Option<(String, u64)> {
    match error? {
        VerifyError::Fault(fault) => Some((fault.file.file_name()?.to_str()?.to_owned(), fault.line)),
        VerifyError::Io { .. } | VerifyError::Nothing(_) | VerifyError::Since(_) => None,
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_untouched_log_is_in_order() {
    let scene = written().await;
    let verified = scene.verify().unwrap();
    let lines = scene.lines().len() as u64;
    assert_eq!((verified.first, verified.size, verified.unsigned()), (0, lines, 0));
    assert!(verified.files > 4, "there are several files: {}", verified.files);
    assert_eq!(verified.files, scene.files(".jsonl").len());
    assert!(!verified.is_torn);
}

#[tokio::test]
async fn every_altered_byte_is_found() {
    let scene = written().await;
    let mut tried = 0;
    for file in scene.files("0") {
        let original = fs::read(&file).unwrap();
        for at in 0..original.len() {
            let mut altered = original.clone();
            // Another bit each time; with the lowest, digits and letters stay digits and letters.
            altered[at] ^= 1 << (tried % 7);
            fs::write(&file, &altered).unwrap();
            assert!(found(&scene).is_some(), "byte {at} of {}", name(&file));
            tried += 1;
        }
        fs::write(&file, &original).unwrap();
    }
    assert!(found(&scene).is_none());
    assert!(tried > 8_000, "{tried} bytes");
}

#[tokio::test]
async fn every_cut_is_found() {
    let scene = written().await;
    for file in scene.files(".jsonl") {
        let original = fs::read(&file).unwrap();
        for length in 0..original.len() {
            fs::write(&file, &original[..length]).unwrap();
            assert!(found(&scene).is_some(), "{} cut at {length}", name(&file));
        }
        fs::write(&file, &original).unwrap();
    }
    assert!(found(&scene).is_none());
}

/// The last file's newest checkpoints can be cut off as a crash could have kept them from being written: then fewer entries
/// are covered, and that is said.
#[tokio::test]
async fn every_cut_of_checkpoints_is_found_or_leaves_entries_uncovered() {
    let scene = written().await;
    let files = scene.files(".checkpoints");
    for file in &files {
        let original = fs::read(file).unwrap();
        for length in 0..original.len() {
            fs::write(file, &original[..length]).unwrap();
            match scene.verify() {
                Err(_) => {}
                Ok(verified) => {
                    assert!(verified.unsigned() > 0 && Some(file) == files.last(), "{} cut at {length}", name(file));
                }
            }
        }
        fs::remove_file(file).unwrap();
        assert!(found(&scene).is_some(), "{} removed", name(file));
        fs::write(file, &original).unwrap();
    }
}

/// Logs of earlier versions have the same checkpoint several times where a file could not be begun.
#[tokio::test]
async fn a_checkpoint_that_is_repeated_is_the_same_checkpoint() {
    let scene = written().await;
    let verified = scene.verify().unwrap();
    for file in scene.files(".checkpoints") {
        let original = fs::read_to_string(&file).unwrap();
        let begin = original[..original.rfind("\n\n\u{2014}").unwrap()].rfind("\n\n").map_or(0, |end| end + 2);
        let again = &original[begin..];
        fs::write(&file, format!("{original}{again}{again}")).unwrap();
        let repeated = scene.verify().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (repeated.size, repeated.files, repeated.checkpoints),
            (verified.size, verified.files, verified.checkpoints)
        );
        // Another tree of the same size is none.
        let size = again.lines().nth(1).unwrap().parse().unwrap();
        let mut other = Frontier::default();
        while other.size() < size {
            other.append(TreeHash::of_leaf(b"other"));
        }
        if size > 0 {
            let other = SignedCheckpoint::sign(&other, scene.keys().signer());
            fs::write(&file, format!("{original}{}\n", other.note())).unwrap();
            assert!(scene.verify().unwrap_err().to_string().contains("it is not in its place"));
        }
        fs::write(&file, original).unwrap();
    }
    scene.open().close().await;
    scene.verify().unwrap();
}

#[tokio::test]
async fn every_removed_repeated_or_exchanged_line_is_found_with_its_place() {
    let scene = written().await;
    for file in scene.files(".jsonl") {
        let original = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = original.lines().collect();
        for at in 0..lines.len() {
            let mut variants = Vec::new();
            let mut removed = lines.clone();
            removed.remove(at);
            variants.push(removed);
            let mut repeated = lines.clone();
            repeated.insert(at, lines[at]);
            variants.push(repeated);
            if at + 1 < lines.len() {
                let mut exchanged = lines.clone();
                exchanged.swap(at, at + 1);
                variants.push(exchanged);
            }
            for variant in variants {
                fs::write(&file, variant.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
                let (found, line) = place(found(&scene)).unwrap_or_else(|| panic!("{} line {at}", name(&file)));
                let next = at as u64 + 1;
                let is_last = at + 1 == lines.len();
                // A last line that is removed is missed where the next file begins, or at the end.
                let exact = found == name(&file) && (line == next || line == next + 1);
                assert!(exact || is_last, "{} line {at}: found at {found}:{line}", name(&file));
            }
        }
        fs::write(&file, &original).unwrap();
    }
}

/// An altered line is named itself or by the line behind it, not only by the next checkpoint.
#[tokio::test]
async fn an_altered_line_is_found_with_its_place() {
    let scene = written().await;
    for file in scene.files(".jsonl") {
        let original = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = original.lines().collect();
        for (at, line) in lines.iter().enumerate().take(lines.len() - 1).skip(1) {
            let altered = line.replacen("\"result\":\"ok\"", "\"result\":\"ko\"", 1);
            assert_ne!(altered, *line);
            fs::write(&file, original.replacen(line, &altered, 1)).unwrap();
            let next = at as u64 + 2;
            assert_eq!(place(found(&scene)), Some((name(&file), next)), "line {at} from 0");
        }
        fs::write(&file, &original).unwrap();
    }
}

#[tokio::test]
async fn every_removed_file_is_found() {
    let scene = written().await;
    for file in scene.files("0") {
        let original = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        assert!(found(&scene).is_some(), "{}", name(&file));
        fs::write(&file, &original).unwrap();
    }
}

#[tokio::test]
async fn a_log_set_back_is_found_by_a_remembered_checkpoint() {
    let scene = Scene::new();
    let log = scene.open();
    log.record_change(&change(1)).await.unwrap();
    log.close().await;
    let early: Vec<_> = scene.files("0").into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect();
    let remembered_early = newest_checkpoint(scene.directory()).unwrap().0.note().to_owned();
    let log = scene.open();
    log.record_change(&change(2)).await.unwrap();
    log.close().await;
    let remembered = newest_checkpoint(scene.directory()).unwrap().0.note().to_owned();
    for note in [&remembered_early, &remembered] {
        let expected = Expected { since: Some(note.clone()), ..scene.expected() };
        assert!(verify_log(scene.directory(), &expected).is_ok());
    }
    for file in scene.files("0") {
        fs::remove_file(file).unwrap();
    }
    for (file, content) in early {
        fs::write(file, content).unwrap();
    }
    assert!(scene.verify().is_ok(), "nothing in the files themselves shows it");
    let expected = Expected { since: Some(remembered), ..scene.expected() };
    let error = verify_log(scene.directory(), &expected).unwrap_err().to_string();
    assert!(error.contains("the end of the log was removed"), "{error}");
}

/// Whoever has the files but not the key can make another log, but not one that the key vouches for.
#[tokio::test]
async fn a_log_rewritten_with_another_key_is_found_by_the_public_key() {
    let (scene, forger) = (written().await, written().await);
    let expected = scene.expected();
    let error = verify_log(forger.directory(), &expected).unwrap_err();
    assert!(matches!(error, VerifyError::Fault(_)), "{error}");
    let without = Expected { public_key: None, ..expected };
    assert!(verify_log(forger.directory(), &without).is_ok(), "without the key, the log vouches for itself");
    let other = NoteSigner::new("zonekms/other", &Zeroizing::new([3; 32])).unwrap_or_else(|error| panic!("{error}"));
    let expected = Expected { public_key: Some(other.verifier().clone()), ..Expected::default() };
    assert!(verify_log(scene.directory(), &expected).is_err());
}

#[tokio::test]
async fn older_files_can_be_moved_away_and_the_rest_is_verified() {
    let scene = written().await;
    let (lines, checkpoints) = (scene.files(".jsonl"), scene.files(".checkpoints"));
    let first: u64 = lines[2].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    for file in lines[..2].iter().chain(&checkpoints[..2]) {
        fs::remove_file(file).unwrap();
    }
    let error = scene.verify().unwrap_err().to_string();
    assert!(error.contains("older files are missing"), "{error}");
    let expected = Expected { first, ..scene.expected() };
    let verified = verify_log(scene.directory(), &expected).unwrap();
    assert_eq!((verified.first, verified.unsigned()), (first, 0));
    // The tree that the oldest file goes on from is signed as well.
    let text = fs::read_to_string(&lines[2]).unwrap();
    let peak = text.split("\"peaks\":[\"").nth(1).unwrap()[..1].to_owned();
    let other = if peak == "A" { "B" } else { "A" };
    fs::write(&lines[2], text.replacen(&format!("[\"{peak}"), &format!("[\"{other}"), 1)).unwrap();
    assert!(verify_log(scene.directory(), &expected).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_splice_is_found(from in 0.0..1.0_f64, length in 0_usize..400, with in proptest::collection::vec(any::<u8>(), 0..60), file in 0_usize..64) {
        thread_local! {
            static SCENE: Scene = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(written());
        }
        SCENE.with(|scene| {
            let files = scene.files(".jsonl");
            let file = &files[file % files.len()];
            let original = fs::read(file).unwrap();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a small file")]
            let begin = (original.len() as f64 * from) as usize;
            let end = (begin + length).min(original.len());
            let spliced = [&original[..begin], &with, &original[end..]].concat();
            fs::write(file, &spliced).unwrap();
            let found = found(scene);
            fs::write(file, &original).unwrap();
            prop_assert!(found.is_some() || spliced == original);
            Ok(())
        })?;
    }
}
