//! HMAC-SHA-256 (RFC 2104, FIPS 198-1) under a key that is set up once.

use crate::stack::with_wiped_stack;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A key for HMAC-SHA-256, with the two hash states that depend on it alone already computed. Boxed, mute, and wiped when
/// dropped.
pub struct MacKey(Box<Hmac<Sha256>>);

impl MacKey {
    /// Sets up a key of any length. Keys over 64 bytes are hashed first, as the standard says.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        with_wiped_stack(|| Self(Box::new(Hmac::new_from_slice(key).expect("HMAC takes a key of any length"))))
    }

    /// The tag of the concatenation of `parts`: 32 bytes.
    #[must_use]
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.absorb(parts).finalize().into_bytes().into()
    }

    /// Whether `tag` is the tag of the concatenation of `parts`, in constant time. A tag that is not whole (32 bytes) is
    /// never right.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.absorb(parts).verify_slice(tag).is_ok()
    }

    fn absorb(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::clone(&self.0);
        for part in parts {
            mac.update(part);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_one_message_and_tags_are_whole() {
        let key = MacKey::new(b"Jefe");
        let tag = key.tag(&[b"what do ya want ", b"", b"for nothing?"]);
        // RFC 4231, test case 2.
        assert_eq!(hex::encode(tag), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert!(key.verify(&[b"what do ya want for nothing?"], &tag));
        for len in 0..32 {
            assert!(!key.verify(&[b"what do ya want for nothing?"], &tag[..len]), "{len} bytes of the tag");
        }
        assert!(!key.verify(&[b"what do ya want for nothing!"], &tag));
    }
}
