//! Where a view reads the records that no group is changing at the moment.

use crate::record_key::RecordKey;
use crate::store::StoreError;
use crate::view::Entry;
use std::ops::{Bound, ControlFlow};

/// The records of an engine, as they are at the moment of the call. Any number of threads read at once, and while the
/// engine writes: what they find is then the record before or after the write, never anything in between.
pub(crate) trait RecordReader: Send + Sync + 'static {
    /// The record at `key`; `None` where nothing was ever written.
    fn entry(&self, key: &RecordKey) -> Result<Option<Entry>, StoreError>;

    /// Hands the records from `start` on to `visit`, in the order of their paths, until it breaks off.
    fn walk(&self, start: Bound<&str>, visit: &mut Walk<'_>) -> Result<(), StoreError>;
}

/// Takes one record.
pub(crate) type Walk<'a> = dyn FnMut(RecordKey, Entry) -> ControlFlow<()> + 'a;
