//! The file of a backup: one [age](https://age-encryption.org/v1) file, and in it a framed stream of opened records.
//!
//! [`BackupWriter`] and [`BackupReader`] stream: neither holds more of the backup than one record and age's chunk of 64 KiB.
//! What a record says they do not know; that is `kms-service`'s to write and to judge. Nothing of a keyring or root key is in
//! a backup: whoever can open it has the key material itself.
//!
//! # Format 1
//!
//! The plaintext of the age file is a sequence of frames, integers big-endian:
//!
//! ```text
//! kind (1) | length of path (2) | length of body (4) | path | body
//! ```
//!
//! | kind | frame | path | body |
//! | --- | --- | --- | --- |
//! | 0 | header, first | none | `"ZoneKMS backup"`, format (1), [`Header`] in postcard |
//! | 1 | record | its place | its content before sealing |
//! | 2 | removed | a place that is empty again | none |
//! | 3 | catch-up begins | none | none |
//! | 4 | padding | none | 64 KiB of zeros |
//! | 5 | trailer, last | none | [`Trailer`] in postcard |
//!
//! Before the catch-up every place occurs once, in the order of the paths. After it, a record or removal replaces what the
//! backup said of its place before. The trailer counts both and has the SHA-256 of all bytes of the frames before it.

mod frame;
mod lock;
mod output;
mod reader;
mod statement;
mod writer;

pub use frame::{MAX_CONTENT, MAX_PATH};
pub use lock::{InvalidLock, Lock, NewBackupKey, Unlock};
pub use reader::{BackupReader, Event, ReadError};
pub use statement::{FORMAT, Header, Trailer};
pub use writer::{BackupWriter, WriteError};
