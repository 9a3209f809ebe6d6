//! Where a zone's root key comes from, when it is not simply there to be read.
//!
//! The root key wraps the keyring and nothing else. A [`RootKeyProvider`] gives it; what the provider needs for that and is
//! not secret, such as a salt or the root key wrapped by an HSM, is a [`Descriptor`], which stands in the keyring's file in
//! the clear and is authenticated together with the keyring.
//!
//! | provider | root key | descriptor |
//! | --- | --- | --- |
//! | file, environment, credential (in `zonekms`) | the 32 bytes that are there | nothing |
//! | [`Passphrase`] | Argon2id of it | salt and costs |
//! | [`Token`] | random | sealed by an AES key that never leaves the token |
//! | [`OtherKms`] | random | encrypted by a key of the other service |
//!
//! Nothing here keeps a root key, writes a file or logs.

mod descriptor;
mod other_kms;
mod passphrase;
mod provider;
mod token;

pub use descriptor::{BadDescriptor, Binding, Descriptor, OtherKmsDescriptor, PassphraseDescriptor, TokenDescriptor};
pub use other_kms::{Endpoint, InvalidEndpoint, OtherKms, OtherKmsFault, OtherKmsSettings, UnixSeconds};
pub use passphrase::{MIN_PASSPHRASE_LEN, Passphrase, PassphraseFault};
pub use provider::{NewRootKey, ProviderFault, ProviderKind, RootKeyProvider};
pub use token::{Token, TokenFault, TokenSettings};
