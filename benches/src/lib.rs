//! benches

pub mod seal_ratios;
