//! What kms-crypto promises, tested from outside.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod contexts;
mod golden;
mod keyrings;
mod messages;
mod muteness;
mod residue;
mod seeded;
mod transfers;
mod vectors;
