//! Other people's code believes our checkpoints, and ours believes theirs to be what they are.

use crate::log::written;
use kms_audit::{NoteSigner, TreeHash, newest_checkpoint};
use signed_note::{Note, StandardVerifier, Verifier, VerifierList};
use zeroize::Zeroizing;

#[tokio::test]
async fn another_implementation_verifies_every_checkpoint() {
    let scene = written().await;
    let (newest, key) = newest_checkpoint(scene.directory()).unwrap();
    let theirs = StandardVerifier::new(&key.to_string()).unwrap();
    let name = theirs.name().to_string();
    let list = VerifierList::new(vec![Box::new(theirs)]);
    let note = Note::from_bytes(newest.note().as_bytes()).unwrap();
    let (verified, unknown) = note.verify(&list).unwrap();
    assert_eq!((verified.len(), unknown.len()), (1, 0));
    let expected = format!("{name}\n{}\n{}\n", newest.checkpoint().size(), newest.checkpoint().root());
    assert_eq!(String::from_utf8(note.text().to_vec()).unwrap(), expected);

    let forged = newest.note().replacen('\n', "\n1", 1);
    assert!(Note::from_bytes(forged.as_bytes()).unwrap().verify(&list).is_err());
    let other = NoteSigner::new(key.name(), &Zeroizing::new([9; 32])).unwrap_or_else(|error| panic!("{error}"));
    let other = other.sign(&expected);
    assert!(Note::from_bytes(other.as_bytes()).unwrap().verify(&list).is_err());
}

/// The root that the checkpoint states is that of the lines, by the definition of RFC 6962 and nothing of ours but SHA-256.
#[tokio::test]
async fn the_root_is_that_of_the_lines() {
    fn root(leaves: &[TreeHash]) -> TreeHash {
        if let [leaf] = leaves {
            return *leaf;
        }
        let split = leaves.len().next_power_of_two() / 2;
        TreeHash::of_node(&root(&leaves[..split]), &root(&leaves[split..]))
    }
    let scene = written().await;
    let leaves: Vec<_> = scene.lines().iter().map(|line| TreeHash::of_leaf(line.as_bytes())).collect();
    let (newest, _) = newest_checkpoint(scene.directory()).unwrap();
    assert_eq!(newest.checkpoint().size(), leaves.len() as u64);
    assert_eq!(newest.checkpoint().root(), root(&leaves));
}
