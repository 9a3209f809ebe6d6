//! The program and its configuration, from outside.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod acts;
mod api;
mod audit;
mod backup;
mod bench;
mod config_files;
mod control;
mod dev;
mod first_start;
mod inspect;
mod key_use;
mod memory;
mod program;
mod readiness;
mod relay;
mod root_keys;
mod serve;
mod serve_zones;
mod shred;
mod unit;
mod zone_identity;
mod zones;
