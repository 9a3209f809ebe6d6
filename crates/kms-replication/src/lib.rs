//! Replication of keys between zones, as two state machines: [`Origin`] follows what every target zone has of this zone's
//! keys, [`Replica`] takes in the keys of other zones. A zone runs both.
//!
//! Replication is by state, one key and one target at a time. The origin asks what the target has ([`Request::Ask`],
//! answered by [`Answer::Have`]) and sends the key's whole record when that is older ([`Request::State`], answered by
//! [`Answer::Applied`] or [`Answer::Refused`]). Deletion travels as one more state, the tombstone. Lost, repeated, delayed
//! and reordered messages change nothing but the time it takes.
//!
//! What holds at every moment, checked by the cluster simulator of kms-testkit after each of its steps:
//!
//! 1. A watermark never goes back while the origin runs and follows the key, and never exceeds what that target holds
//!    durably.
//! 2. A replica never goes back to an earlier revision, and never leaves the origin it first took the key from.
//! 3. A tombstone is final: no message brings the key back.
//! 4. A replica confirms a revision only after its store said that it is durable.
//! 5. At most [`Window`] keys are under way to a target, and at most [`Window`] states of one origin are being stored.
//!    Everything else waits as one small entry per key and target.
//! 6. One target never waits for another.
//!
//! And once zones and links work for long enough, every replica equals its origin and every watermark its origin's revision.
//!
//! The state machines do no IO. Inputs are method calls with the time as an argument ([`Moment`]); outputs are actions for
//! the caller, the shell, to perform in order. The shell holds up its side of the rules:
//!
//! - It calls [`Origin::key_changed`] only for what is durable in its own store, and in the order of the revisions of a key;
//!   after a start, once for every multi-zone key it is the origin of, tombstones included.
//! - It names as the sender of a message the zone that the connection proved.
//! - It reports a state as stored only when the store made it durable with a compare-and-swap on the record that
//!   [`DurableKeys`] described, and only a payload whose content names that key, revision and origin.

mod backoff;
mod failure;
mod fault_text;
mod held;
mod link;
pub mod message;
mod moment;
mod origin;
mod origin_effects;
mod progress;
mod refusal;
mod replica;
mod schedule;
mod window;

pub use backoff::{FIRST_PAUSE, LONGEST_PAUSE, SLOW_RETRY};
pub use failure::{Failure, FailureCause};
pub use fault_text::FaultText;
pub use held::{DurableKeys, Held};
pub use link::{EXCHANGE_TIMEOUT, LinkState};
pub use message::{Answer, Message, MessageError, Payload, Request};
pub use moment::{Jitter, Moment, Uptime};
pub use origin::Origin;
pub use origin_effects::{OriginAction, OriginEffects};
pub use progress::{Content, Lag, Progress, Stage};
pub use refusal::RefusalReason;
pub use replica::{ApplyPermit, Replica, ReplicaAction, Reply};
pub use window::Window;
