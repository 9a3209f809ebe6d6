//! Parts of the front door by themselves, for benches. Not an interface.

use crate::answers;
use crate::limits::RequestLimits;
use crate::requests;

/// Reads the body of an encrypt call; the length of its plaintext, if it is good.
#[must_use]
pub fn read_encrypt(body: &[u8]) -> Option<usize> {
    requests::encrypt(body, &RequestLimits::default()).ok().map(|message| message.data.len())
}

/// Writes the answer to an encrypt call; its length.
#[must_use]
pub fn write_ciphertext(ciphertext: &[u8]) -> Option<usize> {
    answers::ciphertext(ciphertext).map(|answer| answer.expose().len())
}
