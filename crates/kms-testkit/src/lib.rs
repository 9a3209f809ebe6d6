//! Stand-ins for tests: time that is set by hand, randomness that repeats, a store that fails at a chosen moment,
//! and a whole cluster that replicates under faults; and ports that nobody else is given. No product code depends on it.

pub mod cluster;
mod fake_time;
mod faulty_store;
mod reserved_port;
mod seeded_entropy;
mod test_vault;

pub use fake_time::FakeTime;
pub use faulty_store::{Fault, FaultyStore};
pub use reserved_port::ReservedPort;
pub use seeded_entropy::SeededEntropy;
pub use test_vault::{TestVault, VaultFault};
