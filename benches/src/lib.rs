//! What the benches and drivers share.

pub mod in_process;
pub mod seal_ratios;
