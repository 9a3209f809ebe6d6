//! `zonekms inspect`: what a ciphertext says about itself. No key is needed, and nothing secret is in it.

use std::io::Read;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kms_crypto::{Ciphertext, FORMAT, OVERHEAD};

use crate::failure::Failure;

/// The longest base64 text read from standard input, in bytes.
const INPUT_LIMIT: u64 = 16 * 1024 * 1024;

/// Describes the ciphertext given as base64, or read from standard input when `argument` is `-`.
pub(crate) fn inspect(argument: &str, standard_input: impl Read) -> Result<String, Failure> {
    let mut text = String::new();
    if argument == "-" {
        let length = standard_input
            .take(INPUT_LIMIT + 1)
            .read_to_string(&mut text)
            .map_err(|error| Failure::input(format!("standard input: {error}")))?;
        if length as u64 > INPUT_LIMIT {
            return Err(Failure::input(format!("standard input is longer than {INPUT_LIMIT} bytes")));
        }
    } else {
        text.push_str(argument);
    }
    describe(&text).map_err(Failure::input)
}

fn describe(text: &str) -> Result<String, String> {
    // Terminals and `base64` break lines.
    let packed: String = text.split_ascii_whitespace().collect();
    if packed.is_empty() {
        return Err("there is no ciphertext".to_owned());
    }
    let bytes = BASE64_STANDARD
        .decode(&packed)
        .map_err(|error| format!("this is not standard base64 with padding: {error}"))?;
    let ciphertext = Ciphertext::parse(&bytes).map_err(|error| format!("this is not a ZoneKMS ciphertext: {error}"))?;
    let header = ciphertext.header();
    Ok(format!(
        "format version    {FORMAT}\n\
         key id            {}\n\
         material version  {}\n\
         nonce             {}\n\
         plaintext         {} bytes\n\
         ciphertext        {} bytes, {OVERHEAD} of them overhead\n",
        header.key_id(),
        header.version(),
        hex::encode(header.nonce()),
        ciphertext.plaintext_len(),
        bytes.len(),
    ))
}
