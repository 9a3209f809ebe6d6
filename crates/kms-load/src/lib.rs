//! A load generator with which key management services are measured, and measured side by side.
//!
//! A [`Session`] holds a target's keys; [`Session::visit`] puts one kind of load on it for a while and gives a [`Visit`].
//! [`run`] makes all visits of a [`Sweep`], interleaved and repeated, and gives a [`Report`].
//!
//! How it measures, and what keeps it from measuring itself, is in `docs/performance.md`.

mod call;
mod ceiling;
mod clock;
mod connection;
mod endpoint;
mod failure;
mod key_choice;
mod latency;
mod machine;
mod operation;
mod pacer;
mod pauses;
mod plan;
mod protocol;
mod recorder;
mod report;
mod requests;
mod run;
mod schedule;
mod secret;
mod server_process;
mod session;
mod stop;
mod visit;
mod worker;

pub use call::{Call, KeepAlive};
pub use clock::UnixSeconds;
pub use connection::{HttpVersion, Trust, TrustFault, Wire};
pub use endpoint::{Endpoint, InvalidEndpoint, Scheme};
pub use failure::{ExchangeFailure, FailureKind};
pub use key_choice::Distribution;
pub use latency::{CurvePoint, LatencySummary};
pub use machine::Machine;
pub use operation::{InvalidMix, Mix, Operation};
pub use pauses::Pauses;
pub use plan::{CeilingChoice, KeysAfterwards, PaceChoice, Settings, Sweep, Target};
pub use protocol::{
    AwsCredentials, AwsKms, Ciphertext, CosmianJose, Exo2Signer, Exoscale, Fixed, KeyHandle, NewKey, Protocol,
    UnexpectedAnswer, VaultTransit,
};
pub use recorder::FailureCount;
pub use report::{Extent, PointResult, Report, Soak, TargetFacts, median};
pub use run::{Event, run};
pub use schedule::Pace;
pub use secret::Secret;
pub use server_process::{ServerProcess, Usage};
pub use session::{LoadKind, OnStep, Session, SessionError};
pub use stop::Stop;
pub use visit::{OperationFigures, ServerFigures, Stretch, Visit, VisitSettings};
