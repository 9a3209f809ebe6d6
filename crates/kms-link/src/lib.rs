//! Connections between zones: mutual TLS 1.3 with pinned certificates, and frames in both directions.
//!
//! Every zone dials every peer; what it dials carries requests about its own keys and their answers. What dials it carries the
//! requests of others. The zone itself is a [`LinkEndpoint`](kms_service::LinkEndpoint): this crate proves who is at the other
//! end and moves bytes, and knows nothing of what they mean.
//!
//! ```text
//! TCP ─► TLS 1.3, both certificates pinned ─► hello both ways ─► frames: length (4 bytes, big-endian), bytes
//! ```
//!
//! Nothing of a peer is trusted before its certificate is one of those [`PeerConfig`] lists for it, and its hello names that very
//! zone. What has not come so far is bounded in number and in time; so is what one peer may hold. A frame is read only when
//! the one before it was taken in, so a slow zone slows its peers down instead of filling its memory.
//!
//! Lost connections are made again, with growing pauses. [`FrameFaults`] lets a lab cut, delay, drop, repeat and reorder.

mod accept;
mod backoff;
mod carry;
mod config;
mod connect;
mod crowd;
mod dial;
mod ended;
mod faults;
mod faulty_line;
mod frame;
mod hello;
mod identity;
mod pem;
mod pinned;
mod refusal_log;
mod tls;

pub use accept::run;
pub use config::{ConfigFault, LinkConfig, LinkLimits, PeerConfig};
pub use faults::{FrameFaults, FrameVerdict, NoFaults};
pub use identity::{IdentityError, TlsIdentity, certificate_fingerprint, generate_identity, parse_certificates};
