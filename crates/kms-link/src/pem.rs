//! Writing PEM (RFC 7468); reading it is `rustls-pki-types`' matter.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// `der` as one PEM section, in memory that is wiped and never grown.
pub(crate) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let lines = der.len().div_ceil(BYTES_PER_LINE);
    let mut text = Zeroizing::new(String::with_capacity(lines * (LINE + 1) + 2 * (label.len() + 20)));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for line in der.chunks(BYTES_PER_LINE) {
        STANDARD.encode_string(line, &mut text);
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

const BYTES_PER_LINE: usize = 48;
/// Characters: four for every three bytes.
const LINE: usize = 64;
