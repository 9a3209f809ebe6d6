//! The protocol from outside: its bytes, what each side answers to each input, and whole clusters under faults.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod deletion;
mod failures;
mod messages;
mod progress;
mod replica;
mod scale;
mod simulation;
mod support;
