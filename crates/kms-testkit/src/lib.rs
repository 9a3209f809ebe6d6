//! Stand-ins for tests: what fails on purpose, at a moment the test chooses. No product code depends on it.

mod faulty_store;

pub use faulty_store::{Fault, FaultyStore};
