//! What is told about an attempt that failed.

use crate::fault_text::FaultText;
use crate::refusal::RefusalReason;
use kms_types::{Revision, Timestamp, Watermark};

/// Why the last attempt to bring a key to a target failed: the API's `last-failure`. It stands until the target confirms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The revision that was to be brought there: `attempted-watermark`.
    pub attempted: Revision,
    /// What went wrong; displayed, it is the text of `error`.
    pub cause: FailureCause,
    /// When: `failed-at`.
    pub failed_at: Timestamp,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailureCause {
    /// The target said no.
    #[error("{0}")]
    Refused(RefusalReason),
    /// The target did not answer.
    #[error("the target zone did not answer in time")]
    TimedOut,
    /// There is no connection, and why.
    #[error("the target zone cannot be reached: {0}")]
    Disconnected(FaultText),
    /// This zone failed to read or seal the record.
    #[error("the record could not be sent: {0}")]
    NotSent(FaultText),
    /// The target claims a revision that the key never had here: one of the two zones was reset.
    #[error("the target zone claims revision {}, later than any of the key's", claimed.get())]
    ClaimedAhead {
        /// What it claims.
        claimed: Watermark,
    },
}

/// What helps after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Trying again.
    Repeat,
    /// A new revision, or somebody's attention.
    Wait,
}

impl FailureCause {
    pub(crate) const fn remedy(&self) -> Remedy {
        match self {
            Self::Refused(reason) => reason.remedy(),
            Self::TimedOut | Self::Disconnected(_) | Self::NotSent(_) => Remedy::Repeat,
            Self::ClaimedAhead { .. } => Remedy::Wait,
        }
    }
}
