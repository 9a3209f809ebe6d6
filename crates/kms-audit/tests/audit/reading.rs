//! Proofs, and reading like `tail`.

use crate::log::{Scene, at, call, change, key, refusal, written};
use kms_audit::{
    BadProof, Filter, ProofError, Proven, Tail, newest_checkpoint, prove_consistency, prove_inclusion, verify_proof,
};
use kms_service::AuditLog;
use std::fs;

#[tokio::test]
async fn every_entry_is_proven_without_the_log() {
    let scene = written().await;
    let key = scene.keys();
    let verifier = key.signer().verifier();
    let lines = scene.lines();
    let size = lines.len() as u64;
    for (index, line) in lines.iter().enumerate() {
        let index = index as u64;
        let proof = prove_inclusion(scene.directory(), index).unwrap();
        assert!(proof.starts_with("c2sp.org/tlog-proof@v1\nextra "), "{proof}");
        let expected = Proven::Entry { index, line: line.clone().into_bytes(), size };
        assert_eq!(verify_proof(&proof, verifier), Ok(expected));
    }
    assert!(matches!(prove_inclusion(scene.directory(), size), Err(ProofError::NotCovered { .. })));
}

#[tokio::test]
async fn every_altered_byte_of_a_proof_is_found() {
    let scene = written().await;
    let early = scene.files(".checkpoints")[2].clone();
    let early = fs::read_to_string(early).unwrap();
    let early = early.split_inclusive("\n\n").take(2).collect::<String>();
    let early = early.strip_suffix('\n').unwrap();
    let keys = scene.keys();
    for proof in [prove_inclusion(scene.directory(), 7).unwrap(), prove_consistency(scene.directory(), early).unwrap()]
    {
        assert!(verify_proof(&proof, keys.signer().verifier()).is_ok(), "{proof}");
        for at in 0..proof.len() {
            let mut bytes = proof.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(altered) = String::from_utf8(bytes) {
                assert!(verify_proof(&altered, keys.signer().verifier()).is_err(), "byte {at} of {proof}");
            }
        }
    }
    let other = Scene::new();
    let proof = prove_inclusion(scene.directory(), 0).unwrap();
    assert!(matches!(verify_proof(&proof, other.keys().signer().verifier()), Err(BadProof::Checkpoint(_))));
}

#[tokio::test]
async fn a_log_is_proven_to_be_an_extension_of_what_it_was() {
    let scene = Scene::new();
    let log = scene.open();
    log.record_change(&change(1)).await.unwrap();
    log.close().await;
    let older = newest_checkpoint(scene.directory()).unwrap().0;
    let log = scene.open();
    log.record_change(&change(2)).await.unwrap();
    log.close().await;
    let (old, new) = (older.checkpoint().size(), scene.lines().len() as u64);
    let proof = prove_consistency(scene.directory(), older.note()).unwrap();
    assert_eq!(verify_proof(&proof, scene.keys().signer().verifier()), Ok(Proven::Extension { old, new }));
}

#[tokio::test]
async fn nothing_is_proven_of_an_altered_log() {
    let scene = written().await;
    let file = &scene.files(".jsonl")[1];
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, text.replacen("encrypt", "decrypt", 1)).unwrap();
    assert!(matches!(prove_inclusion(scene.directory(), 0), Err(ProofError::Altered)));
}

#[tokio::test]
async fn a_filter_shows_what_matches_all_of_it() {
    let scene = Scene::new();
    let log = scene.open();
    log.record_change(&change(1)).await.unwrap();
    log.record_use(&call(2)).unwrap();
    log.record_refusal(&refusal(3));
    log.close().await;
    let shown = |filter: Filter| {
        let mut count = 0;
        let mut tail = Tail::new(scene.directory(), filter);
        tail.read(&mut |_| {
            count += 1;
            Ok(())
        })
        .unwrap();
        count
    };
    let operation = |name: &str| Some(name.to_owned());
    assert_eq!(shown(Filter::default()), 4);
    assert_eq!(shown(Filter { key: Some(key(1)), ..Filter::default() }), 1);
    assert_eq!(shown(Filter { operation: operation("encrypt"), ..Filter::default() }), 2);
    assert_eq!(shown(Filter { operation: operation("encrypt"), result: operation("ok"), ..Filter::default() }), 1);
    assert_eq!(shown(Filter { credential: operation("EXO1"), ..Filter::default() }), 0);
    // The first line of the file has the clock's time, which is that of no entry.
    assert_eq!(shown(Filter { since: Some(at(2)), until: Some(at(3)), ..Filter::default() }), 1);
}

#[tokio::test]
async fn following_shows_every_line_once() {
    let scene = Scene::with(|settings| settings.file_bytes = 1_200);
    let log = scene.open();
    let mut tail = Tail::new(scene.directory(), Filter::default());
    let mut seen = Vec::new();
    for number in 1..=12 {
        log.record_change(&change(number)).await.unwrap();
        tail.read(&mut |line| {
            seen.push(line.to_owned());
            Ok(())
        })
        .unwrap();
    }
    log.close().await;
    tail.read(&mut |line| {
        seen.push(line.to_owned());
        Ok(())
    })
    .unwrap();
    assert!(scene.files(".jsonl").len() > 2);
    assert_eq!(seen, scene.lines());
}
