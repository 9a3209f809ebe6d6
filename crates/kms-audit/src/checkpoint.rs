//! Checkpoints: the size and root of the tree at one moment, signed (C2SP tlog-checkpoint).

use crate::note::{BadNote, NoteSigner, NoteVerifier};
use crate::tree::{Frontier, TreeHash};

/// What a checkpoint states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    size: u64,
    root: TreeHash,
}

/// A checkpoint as it was written, whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: String,
}

/// Why a checkpoint is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    /// The note is not good.
    #[error(transparent)]
    Note(#[from] BadNote),
    /// The note is signed, but is no checkpoint.
    #[error("it is not a checkpoint")]
    Malformed,
    /// It is of another log.
    #[error("it is a checkpoint of another log")]
    OtherLog,
}

impl Checkpoint {
    /// How many lines the tree had.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree.
    #[must_use]
    pub const fn root(&self) -> TreeHash {
        self.root
    }
}

impl SignedCheckpoint {
    /// The checkpoint of `tree`, signed by the log.
    #[must_use]
    pub fn sign(tree: &Frontier, signer: &NoteSigner) -> Self {
        let checkpoint = Checkpoint { size: tree.size(), root: tree.root() };
        let origin = signer.verifier().name();
        let note = signer.sign(&format!("{origin}\n{}\n{}\n", checkpoint.size, checkpoint.root));
        Self { checkpoint, note }
    }

    /// The checkpoint in `note`, which the log of `verifier` signed. Signatures of others are passed over.
    ///
    /// # Errors
    ///
    /// [`BadCheckpoint`].
    pub fn open(note: &str, verifier: &NoteVerifier) -> Result<Self, BadCheckpoint> {
        let mut lines = verifier.open(note)?.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(BadCheckpoint::Malformed);
        };
        if origin != verifier.name() {
            return Err(BadCheckpoint::OtherLog);
        }
        // After the last line feed there is nothing, and this log writes no extension lines.
        let ended = lines.next() == Some("") && lines.next().is_none();
        let size = size.parse::<u64>().ok().filter(|number| number.to_string() == size);
        match (size, root.parse(), ended) {
            (Some(size), Ok(root), true) => Ok(Self { checkpoint: Checkpoint { size, root }, note: note.to_owned() }),
            (_, _, _) => Err(BadCheckpoint::Malformed),
        }
    }

    /// What it states.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The whole note.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }
}

/// The notes in a file of checkpoints, each followed by a blank line, and how many bytes they take. What comes after them
/// is not a whole note.
pub(crate) fn split_notes(text: &str) -> (Vec<&str>, usize) {
    let mut notes = Vec::new();
    let mut at = 0;
    // A note has one blank line inside and, in the file, one behind it.
    while let Some(inside) = text[at..].find("\n\n") {
        let signatures = at + inside + 2;
        let Some(length) = text[signatures..].find("\n\n") else { break };
        let end = signatures + length + 1;
        notes.push(&text[at..end]);
        at = end + 1;
    }
    (notes, at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn signer(name: &str) -> NoteSigner {
        NoteSigner::new(name, &Zeroizing::new([7; 32])).unwrap_or_else(|_| panic!("{name} is a name"))
    }

    #[test]
    fn a_checkpoint_has_three_lines() {
        let signer = signer("zonekms/a/0011");
        let mut tree = Frontier::default();
        tree.append(TreeHash::of_leaf(b"one"));
        let signed = SignedCheckpoint::sign(&tree, &signer);
        let root = tree.root();
        assert!(signed.note().starts_with(&format!("zonekms/a/0011\n1\n{root}\n\n\u{2014} zonekms/a/0011 ")));
        assert_eq!(SignedCheckpoint::open(signed.note(), signer.verifier()).unwrap(), signed);
    }

    #[test]
    fn signed_texts_that_are_no_checkpoint() {
        let signer = signer("zonekms/a/0011");
        let root = TreeHash::of_nothing();
        for (text, expected) in [
            (format!("zonekms/a/0011\n0\n{root}\n"), None),
            (format!("zonekms/b/0011\n0\n{root}\n"), Some(BadCheckpoint::OtherLog)),
            (format!("zonekms/a/0011\n00\n{root}\n"), Some(BadCheckpoint::Malformed)),
            (format!("zonekms/a/0011\n+1\n{root}\n"), Some(BadCheckpoint::Malformed)),
            (format!("zonekms/a/0011\n-1\n{root}\n"), Some(BadCheckpoint::Malformed)),
            ("zonekms/a/0011\n1\nAAAA\n".to_owned(), Some(BadCheckpoint::Malformed)),
            (format!("zonekms/a/0011\n0\n{root}\nextension\n"), Some(BadCheckpoint::Malformed)),
            ("zonekms/a/0011\n".to_owned(), Some(BadCheckpoint::Malformed)),
        ] {
            let opened = SignedCheckpoint::open(&signer.sign(&text), signer.verifier());
            assert_eq!(opened.err(), expected, "{text:?}");
        }
    }

    #[test]
    fn notes_are_told_apart_and_a_torn_one_is_left_over() {
        let signer = signer("a");
        let tree = Frontier::default();
        let note = SignedCheckpoint::sign(&tree, &signer).note().to_owned();
        let file = format!("{note}\n{note}\n");
        assert_eq!(split_notes(&file), (vec![note.as_str(), note.as_str()], file.len()));
        for end in note.len() + 1..file.len() {
            if let Some(torn) = file.get(..end) {
                assert_eq!(split_notes(torn), (vec![note.as_str()], note.len() + 1), "cut at {end}");
            }
        }
    }
}
