//! Harness of the black-box tests: real server processes ([`server`]), a client with control over every byte
//! ([`client`]), a request signer that shares no code with the product ([`exo2`]), the official clients in pinned
//! virtual environments ([`python`]), changes whose outcome is known after a crash ([`changes`]), and zones that are linked
//! ([`zones`]), through a proxy that keeps a copy of every byte where a test wants one ([`relay`]).

#![expect(clippy::disallowed_methods, reason = "black-box tests live in real time")]
#![expect(
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a step of a test that fails ends the test where it failed"
)]
#![expect(clippy::print_stderr, reason = "the server's log is shown beside the test that failed")]

pub mod changes;
pub mod client;
pub mod configuration;
pub mod crash_at;
pub mod disk;
pub mod exo2;
pub mod problem;
pub mod python;
pub mod random;
pub mod relay;
pub mod server;
pub mod stop_flag;
pub mod zones;
