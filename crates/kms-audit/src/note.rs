//! Signed notes with Ed25519 (C2SP signed-note): a text, a blank line, and signature lines.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, VerifyingKey};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// The identifier of Ed25519 among the signature types.
const ED25519: u8 = 1;

/// What begins a signature line: an em dash and a space.
const SIGNATURE: &str = "\u{2014} ";

/// The most signature lines that are looked at; witnesses may add their own.
const MOST_SIGNATURES: usize = 64;

/// Signs notes under a name. Wiped when dropped.
pub struct NoteSigner {
    key: Box<ed25519_dalek::SigningKey>,
    verifier: NoteVerifier,
}

/// Verifies the notes of one signer. Text is the key's common form, `name+id+base64`, which may be given to anyone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteVerifier {
    name: String,
    key: VerifyingKey,
}

/// A text that is not the key of a signer of notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a public key of the form NAME+ID+BASE64")]
pub struct InvalidVerifier;

/// Why a note is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNote {
    /// It is not a signed note at all.
    #[error("it is not a signed note")]
    Malformed,
    /// Others may have signed it, but not this key.
    #[error("it is not signed with the log's key")]
    UnknownKey,
    /// A signature of the key is not right.
    #[error("its signature is not right")]
    Signature,
}

impl NoteSigner {
    /// The signer `name` whose Ed25519 secret (RFC 8032) is `seed`.
    ///
    /// # Errors
    ///
    /// When the name is empty, or has a space, a control character or a plus sign.
    pub fn new(name: &str, seed: &Zeroizing<[u8; 32]>) -> Result<Self, InvalidVerifier> {
        let key = Box::new(ed25519_dalek::SigningKey::from_bytes(seed));
        let verifier = NoteVerifier::new(name, key.verifying_key())?;
        Ok(Self { key, verifier })
    }

    /// What verifies its notes.
    #[must_use]
    pub const fn verifier(&self) -> &NoteVerifier {
        &self.verifier
    }

    /// The whole note of `text`, which ends in a line feed.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        let mut signature = Vec::with_capacity(68);
        signature.extend_from_slice(&self.verifier.id());
        signature.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        format!("{text}\n{SIGNATURE}{} {}\n", self.verifier.name, STANDARD.encode(signature))
    }
}

impl NoteVerifier {
    fn new(name: &str, key: VerifyingKey) -> Result<Self, InvalidVerifier> {
        let bad = |sign: char| sign.is_whitespace() || sign.is_control() || sign == '+';
        if name.is_empty() || name.contains(bad) || key.is_weak() {
            return Err(InvalidVerifier);
        }
        Ok(Self { name: name.to_owned(), key })
    }

    /// The name, which for a log is its origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> [u8; 4] {
        let digest = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', ED25519])
            .chain_update(self.key.as_bytes())
            .finalize();
        [digest[0], digest[1], digest[2], digest[3]]
    }

    /// The text of `note`, with its last line feed, once it is known that the signer signed it.
    ///
    /// # Errors
    ///
    /// [`BadNote`].
    pub fn open<'n>(&self, note: &'n str) -> Result<&'n str, BadNote> {
        if note.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return Err(BadNote::Malformed);
        }
        let end = note.rfind("\n\n").ok_or(BadNote::Malformed)? + 1;
        let (text, signatures) = (&note[..end], &note[end + 1..]);
        let signatures = signatures.strip_suffix('\n').ok_or(BadNote::Malformed)?;
        let mut found = false;
        for (number, line) in signatures.split('\n').enumerate() {
            let line = line.strip_prefix(SIGNATURE).ok_or(BadNote::Malformed)?;
            let (name, encoded) = line.split_once(' ').ok_or(BadNote::Malformed)?;
            let bytes = STANDARD.decode(encoded).map_err(|_| BadNote::Malformed)?;
            let (id, signature) = bytes.split_first_chunk::<4>().ok_or(BadNote::Malformed)?;
            if number >= MOST_SIGNATURES {
                return Err(BadNote::Malformed);
            }
            if name == self.name && *id == self.id() {
                let signature = Signature::from_slice(signature).map_err(|_| BadNote::Signature)?;
                self.key.verify_strict(text.as_bytes(), &signature).map_err(|_| BadNote::Signature)?;
                found = true;
            }
        }
        if found { Ok(text) } else { Err(BadNote::UnknownKey) }
    }
}

impl fmt::Display for NoteVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519];
        key.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), STANDARD.encode(key))
    }
}

impl FromStr for NoteVerifier {
    type Err = InvalidVerifier;

    fn from_str(text: &str) -> Result<Self, InvalidVerifier> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(InvalidVerifier);
        };
        let bytes = STANDARD.decode(key).map_err(|_| InvalidVerifier)?;
        let Some((&ED25519, key)) = bytes.split_first() else { return Err(InvalidVerifier) };
        let key: &[u8; 32] = key.try_into().map_err(|_| InvalidVerifier)?;
        let key = VerifyingKey::from_bytes(key).map_err(|_| InvalidVerifier)?;
        let verifier = Self::new(name, key)?;
        if hex::encode(verifier.id()) == id { Ok(verifier) } else { Err(InvalidVerifier) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(name: &str) -> NoteSigner {
        NoteSigner::new(name, &Zeroizing::new([7; 32])).unwrap_or_else(|_| panic!("{name} is a name"))
    }

    /// The key and note that Go's `golang.org/x/mod/sumdb/note` has in its documentation.
    #[test]
    fn the_example_of_the_go_package_opens() {
        let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let verifier: NoteVerifier = key.parse().unwrap();
        assert_eq!(verifier.to_string(), key);
        let text =
            "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let signature = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
        let note = format!("{text}\n\u{2014} PeterNeumann {signature}\n");
        assert_eq!(verifier.open(&note), Ok(text));
    }

    #[test]
    fn every_altered_bit_is_noticed() {
        let signer = signer("zonekms/a/0011");
        let note = signer.sign("one\ntwo\n");
        assert_eq!(signer.verifier().open(&note), Ok("one\ntwo\n"));
        for at in 0..note.len() * 8 {
            let mut bytes = note.clone().into_bytes();
            bytes[at / 8] ^= 1 << (at % 8);
            if let Ok(altered) = String::from_utf8(bytes) {
                assert!(signer.verifier().open(&altered).is_err(), "bit {at}: {altered}");
            }
        }
        for end in 0..note.len() {
            if let Some(cut) = note.get(..end) {
                assert!(signer.verifier().open(cut).is_err(), "cut at {end}");
            }
        }
    }

    #[test]
    fn signatures_of_others_are_passed_over() {
        let (own, other) = (signer("own"), NoteSigner::new("other", &Zeroizing::new([8; 32])).ok().unwrap());
        let mut note = own.sign("text\n");
        let witness = other.sign("text\n");
        note.push_str(witness.rsplit_once("\n\n").unwrap().1);
        assert_eq!(own.verifier().open(&note), Ok("text\n"));
        assert_eq!(other.verifier().open(&note), Ok("text\n"));
        assert_eq!(other.verifier().open(&own.sign("text\n")), Err(BadNote::UnknownKey));
    }

    #[test]
    fn names_without_spaces_and_plus() {
        for name in ["", "a b", "a+b", "a\nb", "a\u{2003}b"] {
            assert!(NoteSigner::new(name, &Zeroizing::new([7; 32])).is_err(), "{name:?}");
        }
    }
}
