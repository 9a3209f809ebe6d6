//! The control socket: a Unix socket on which a running server takes the commands of whoever operates it.
//!
//! It speaks HTTP with JSON and has no signatures. The file system and the kernel guard it instead: the socket has mode 0600
//! in a directory that others cannot write, and of every connection the kernel says which user opened it. Only the server's
//! own user and root are answered. Nothing here is reachable over a network.
//!
//! A new command is one line in `routes.rs`, a module for its handler, and a subcommand that calls it through [`Client`].

mod answer;
mod backup;
mod client;
mod commands;
mod key_use;
mod root_key;
mod routes;
mod shred;
mod socket;
mod target;
mod zones;

pub(crate) use client::ClientFault;
pub(crate) use commands::{root_key_rotate, root_key_status};
pub(crate) use root_key::ZoneRootKey;
pub(crate) use socket::ControlServer;
pub(crate) use target::{SOCKET_NAME, Target, ZoneFiles, socket_in};
pub(crate) use zones::{Control, ControlledZone};
