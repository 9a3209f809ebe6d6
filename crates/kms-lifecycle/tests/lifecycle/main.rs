//! The rules of a key's life, seen from outside: the whole matrix, the order of refusals, the dates to the nanosecond, and
//! random lives against a model.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail and to report")]

mod keys;
mod matrix;
mod model;
mod order;
mod replicas;
mod restore;
mod restored;
mod schedule;
