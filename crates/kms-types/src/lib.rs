//! Values that two crates need and an invariant guards: ids, names, bounded numbers, revisions and times.
//!
//! Every type here keeps its field private and is built through a checked constructor, so a value that exists is
//! valid. The crate reads no clock, makes no randomness and knows no runtime.

mod bounded;
mod id;
mod name;
mod revision;
mod time;

pub use bounded::{DataKeyLength, DeletionDelay, OutOfRange, RotationPeriod};
pub use id::{InvalidKeyId, KeyId};
pub use name::{Description, InvalidText, KeyName, OrganisationName, ZoneName};
pub use revision::{MaterialVersion, Revision, Watermark};
pub use time::{InvalidTimestamp, Timestamp};
