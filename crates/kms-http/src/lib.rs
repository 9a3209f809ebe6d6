//! The Exoscale front door: HTTP in front of `kms-service`.
//!
//! A request passes, in this order: the connection's limits and deadlines (`connections`, `watch`), a look at its head (`head`), its
//! reader (`plain_connection`, or hyper through `stream` and `exchange`), its body's limit, its EXO2 signature over the raw target and raw body
//! (`exo2`), its route (`route`), its members (`fields`, `requests`), the service (`operations`) and its answer (`answers`, `problem`,
//! `reply`). Nothing is parsed before the signature is verified.
//!
//! This crate holds no rule about keys: those are the service's. It alone knows of status codes.
//!
//! Bodies and answers that hold plaintext are wiped after use. The buffers of hyper, through which a request goes that is not plain, and
//! those of a TLS session cannot be.

mod ahead;
mod answer_body;
mod answers;
mod base64_text;
mod body;
mod connections;
mod exchange;
mod exo2;
mod faults;
mod fields;
mod finished;
mod front_door;
mod head;
mod limits;
#[doc(hidden)]
pub mod measured;
mod operation_faults;
mod operations;
mod places;
mod plain_connection;
mod plain_head;
mod plain_object;
mod problem;
mod progress;
mod reply;
mod request_head;
mod request_id;
mod request_log;
mod request_metrics;
mod requests;
mod route;
mod stream;
mod watch;

pub use answer_body::{AnswerBody, AnswerBytes};
pub use connections::{Handshake, serve};
pub use exchange::{Answering, RequestBody};
pub use front_door::{FrontDoor, WallClock, ZoneEntry};
pub use limits::{ConnectionLimits, RequestLimits};
pub use operation_faults::{FaultStatus, OperationFaults, operation_id};
pub use request_metrics::{OperationFigures, RequestMetrics, RequestOutcome};
