//! Zones linked over real TLS on loopback, with fake zones behind the links.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod faults;
mod intruders;
mod links;
mod logs;
mod proxy;
mod raw;
mod zone;
