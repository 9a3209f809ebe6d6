//! Root keys of every provider through the real program: first start, restart, rotation, refusals, kills.

mod documented;
mod killed;
mod other_kms;
mod passphrase;
mod rotation;
mod token;
mod typed;
mod zone;
