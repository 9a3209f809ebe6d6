//! The program and its configuration, from outside.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod bench;
mod config_files;
mod dev;
mod first_start;
mod inspect;
mod program;
mod relay;
mod serve;
mod serve_zones;
mod zone_identity;
mod zones;
