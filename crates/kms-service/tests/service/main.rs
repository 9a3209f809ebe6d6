//! The service as its front doors use it, over the in-memory store, with time and randomness set by the tests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod acts;
mod backups;
mod cluster;
mod crypto_calls;
mod due_work;
mod faults;
mod keys;
mod lookup_model;
mod races;
mod records;
mod refusals;
mod restored_zones;
mod shred_kills;
mod shredding;
mod usage;
mod zone;
mod zones;
