//! Wiping what other code leaves on the stack.
//!
//! Ciphers spill their key schedules to the stack, and nobody cleans up there: `ring` leaves its whole key, `hmac` the padded key,
//! `aes` (which does wipe what it owns) the round keys it had at work. So every step that handles a key runs inside
//! [`with_wiped_stack`]. The depth is measured: the search of the process's memory in this crate's tests fails when it is too
//! small, in debug as in release builds.

use crate::aead::Backend;
use zeroize::zeroize_stack;

/// Runs `work` and then overwrites the part of the stack that it used. What `work` returns must not hold secrets itself; a box
/// of them is well.
pub(crate) fn with_wiped_stack<T>(work: impl FnOnce() -> T) -> T {
    let result = below(work);
    zeroize_stack::<DEPTH>();
    result
}

/// [`with_wiped_stack`] for sealing and opening with `backend`.
pub(crate) fn with_stack_wiped_after<T>(backend: Backend, work: impl FnOnce() -> T) -> T {
    let result = below(work);
    match backend {
        Backend::AesGcm => zeroize_stack::<AES_GCM>(),
        Backend::AesNi(_) => zeroize_stack::<AES_NI>(),
        Backend::AwsLc => zeroize_stack::<AWS_LC>(),
        Backend::Ring => zeroize_stack::<DEPTH>(),
    }
    result
}

/// [`with_wiped_stack`] for ML-KEM, which works on matrices.
pub(crate) fn with_wiped_deep_stack<T>(work: impl FnOnce() -> T) -> T {
    let result = below(work);
    zeroize_stack::<DEEP>();
    result
}

/// Never inlined: the frames of `work` must lie where `zeroize_stack` will write.
#[inline(never)]
fn below<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Bytes below the caller's frame. Measured: release builds use less than 3 KiB, debug builds some 10 KiB.
const DEPTH: usize = if cfg!(debug_assertions) { 16_384 } else { 4096 };

/// As [`DEPTH`], for `aes-gcm`, which unpacks sixty-four blocks and its round keys on the stack.
const AES_GCM: usize = if cfg!(debug_assertions) { 32_768 } else { 16_384 };

/// As [`DEPTH`], for `kms-aesni`, which keeps to registers as far as there are enough.
const AES_NI: usize = if cfg!(debug_assertions) { 16_384 } else { 1792 };

/// As [`DEPTH`], for `aws-lc`, whose key schedule is on the heap, and wiped by it.
const AWS_LC: usize = if cfg!(debug_assertions) { 16_384 } else { 1024 };

/// As [`DEPTH`], for ML-KEM.
const DEEP: usize = if cfg!(debug_assertions) { 131_072 } else { 65_536 };
