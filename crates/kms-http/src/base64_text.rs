//! Base64 as the API writes it: RFC 4648 section 4, with padding, one spelling per byte string.
//!
//! The engine refuses blanks, missing padding and trailing bits. It uses the processor's vector instructions where there are
//! any: of a request with 64 KiB of plaintext, a table look-up per character would take most of the time.

use base64::Engine;
use base64::engine::{Simd, general_purpose};
use kms_crypto::SecretBytes;
use std::sync::LazyLock;

static ENGINE: LazyLock<Simd> = LazyLock::new(|| Simd::standard(general_purpose::PAD));

/// Decodes into `out` and returns the number of bytes. `None` when `text` is not canonical or does not fit; `out` has
/// to have room for three bytes per four characters.
pub(crate) fn decode_into(text: &[u8], out: &mut [u8]) -> Option<usize> {
    ENGINE.decode_slice(text, out).ok()
}

/// Decodes into memory that is wiped. `None` when `text` is not canonical base64.
pub(crate) fn decode(text: &[u8]) -> Option<SecretBytes> {
    let mut decoded = SecretBytes::zeroed(text.len().div_ceil(4).saturating_mul(3));
    let length = decode_into(text, decoded.expose_mut())?;
    decoded.truncate(length);
    Some(decoded)
}

/// The number of characters that `bytes` bytes take.
pub(crate) const fn encoded_length(bytes: usize) -> usize {
    bytes.div_ceil(3).saturating_mul(4)
}

/// Encodes into `out`, which must have exactly [`encoded_length`] bytes; `None` when it is shorter.
pub(crate) fn encode_into(bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    ENGINE.encode_slice(bytes, out).ok()
}

/// The text of `bytes`, for tests.
#[cfg(test)]
pub(crate) fn encode(bytes: &[u8]) -> String {
    ENGINE.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_canonical_text_is_decoded() {
        for (text, expected) in [("", ""), ("aGVsbG8=", "hello"), ("aGVsbG8h", "hello!")] {
            assert_eq!(decode(text.as_bytes()).unwrap().expose(), expected.as_bytes());
        }
        let inner = format!("{}\n{}", "A".repeat(64), "A".repeat(64));
        for bad in
            ["QR==", "QQ", "QQ=", "QQ===", "Q", "QQ==\n", " QQ==", "QQ==QQ==", "_-8=", "=", "====", "aGVs bG8h", &inner]
        {
            assert!(decode(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(bytes: Vec<u8>) {
            let text = encode(&bytes);
            prop_assert_eq!(text.len(), encoded_length(bytes.len()));
            let mut written = vec![0; text.len()];
            prop_assert_eq!(encode_into(&bytes, &mut written), Some(text.len()));
            prop_assert_eq!(&written, text.as_bytes());
            let decoded = decode(text.as_bytes()).unwrap();
            prop_assert_eq!(decoded.expose(), &bytes[..]);
        }
    }
}
