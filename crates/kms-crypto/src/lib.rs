//! The cryptography of ZoneKMS: secrets, the ciphertext envelope, and the keys that seal the store.
//!
//! `docs/envelope.md` specifies every byte this crate writes; the code cites its sections as "envelope 3.1".
//!
//! ```text
//! root key ── wraps ──> keyring ── seals ──> records ── hold ──> key material ── seals ──> messages
//! ```
//!
//! Three rules hold everywhere. Randomness is an argument ([`Entropy`]). Secrets live in boxed memory that is wiped when
//! dropped, and can be neither printed, cloned, compared nor serialised. A ciphertext that does not open gives one error,
//! [`DecryptError`], whatever the cause.
//!
//! This crate does not decide who may use a key, nor when: that is a matter of the key's state.

mod aead;
mod arena;
mod context;
mod entropy;
mod envelope;
mod keyring;
mod mac;
mod material;
mod nonce_pool;
mod record;
mod root;
mod secret;
mod stack;
mod transfer;
mod wrapped;
mod xaes;
mod zone_key;

pub use aead::{AeadError, Backend, GcmNonce, GcmTag, WrongLength};
pub use arena::{LockedMemory, locked_memory};
pub use context::{EncryptionContext, associated_data};
pub use entropy::{Entropy, EntropyError, OsEntropy};
pub use envelope::{Ciphertext, FORMAT, HEADER_LEN, Header, MalformedCiphertext, OVERHEAD, TAG_LEN};
pub use keyring::{Keyring, RetireError, UnwrapError};
pub use mac::MacKey;
pub use material::{CheckValue, DecryptError, KeyMaterial, MAX_PLAINTEXT_LEN};
pub use record::{EpochId, RECORD_OVERHEAD, RecordError};
pub use root::{RootKey, RootKeyError, RootKeyFingerprint};
pub use secret::{CapacityExceeded, Secret, SecretBytes, wipe};
pub use transfer::{TRANSFER_OVERHEAD, TransferBinding, open_transfer};
pub use wrapped::{DescriptorTooLong, KeyringDescription, MAX_DESCRIPTOR_LEN, WrappedKeyring};
pub use xaes::{XAES_NONCE_LEN, XaesKey};
pub use zone_key::{InvalidZoneKey, ZoneKeyFingerprint, ZonePrivateKey, ZonePublicKey};
