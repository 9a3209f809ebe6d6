//! The state machine of one key in one zone: what a command does, what a use needs, and what falls due.
//!
//! Everything here is a pure function of a [`Key`], a request and the time. [`decide()`] turns a [`Command`] into a
//! [`Change`] or a [`Rejection`]; [`Key::apply`] yields the key after the change; [`decide_due`] finds the rotation or
//! the deletion whose time has come; the `permit_*` functions prove that a use was checked. Key material is not here:
//! a change only says which version of it must be made.
//!
//! A caller makes the new material if [`Change::new_version`] asks for it, stores the changed key, and only then
//! answers.

mod change;
mod command;
mod decide;
mod due;
mod guard;
mod key;
mod origin_state;
mod permit;
mod place;
mod rejection;
mod restore;
mod restored;
mod rotation;
mod status;
mod versions;

pub use change::{Change, ChangeKind, StaleChange};
pub use command::Command;
pub use decide::{Decision, decide};
pub use due::{DueWork, FinalDeletion, Tombstone, decide_due, next_due};
pub use key::{Key, Kind, NewKey, RevisionStamp, Usage};
pub use origin_state::{ForeignState, OriginState, OriginUpdate};
pub use permit::{
    DecryptPermit, DecryptRefusal, EncryptPermit, permit_decrypt, permit_encrypt, permit_reencrypt_destination,
    permit_reencrypt_source,
};
pub use place::{Place, Reach, Replicas};
pub use rejection::Rejection;
pub use restore::{InconsistentKey, KeyParts};
pub use restored::{NotRestorable, RestoredKey};
pub use rotation::{ManualCount, ManualCountOutOfRange, Rotation, Schedule};
pub use status::Status;
pub use versions::{Made, VersionInfo};
