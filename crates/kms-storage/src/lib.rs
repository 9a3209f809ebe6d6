//! The store: a trait that an embedded engine and a cluster can both honour, the engines, and the records kept in them.
//!
//! The store sees opaque, sealed bytes under readable paths. It promises four things: a commit takes place wholly or not at
//! all, and only over the versions its author saw; what was answered as [`Durable`] outlives a crash and a power cut; reads
//! show durable state only; and loss, rollback or damage of the files is told, never hidden.
//!
//! [`SledStore`] is the embedded default, [`MemoryStore`] serves tests. [`record`] holds the plain content of records before
//! it is sealed.

pub mod record;

mod change_feed;
mod commit;
mod engine;
mod first_reading;
mod group_commit;
mod keeper;
mod manifest;
mod manifest_file;
mod memory_store;
mod open_error;
mod opening;
mod own_files;
mod power_safe;
mod published;
mod reader;
mod record_key;
mod room;
mod sled_store;
mod store;
mod stored;
mod view;

pub use change_feed::{ChangeFeed, FeedError};
pub use commit::{
    Commit, CommitError, Durable, Fence, MAX_COMMIT, MAX_VALUE, MAX_WRITES, Malformed, NewBody, Role, TooLarge, Write,
};
pub use manifest::ManifestKey;
pub use memory_store::MemoryStore;
pub use open_error::OpenError;
pub use record_key::{KEY_PREFIX, NAME_PREFIX, RecordKey, RecordKind};
pub use sled_store::{SledPaths, SledStore};
pub use store::{Durability, Health, MAX_PAGE, Page, ScanError, Store, StoreError, WatchError};
pub use stored::{Body, RecordVersion, StoreRevision, Stored};
pub use view::{Change, History};
