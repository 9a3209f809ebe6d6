//! Why a replica does not take a state.

use crate::failure::Remedy;
use crate::fault_text::FaultText;

/// Why a replica does not take a state, or does not say what it has. Displayed, it is a sentence for the key's owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    /// Another key of the organisation has the name there.
    #[error("the key's name is taken in the target zone")]
    NameTaken,
    /// The organisation has as many keys there as it may have.
    #[error("the key quota is reached in the target zone")]
    QuotaReached,
    /// A key with this id is there already, and this zone is not its origin.
    #[error("a key with this id from another origin exists in the target zone")]
    NotOrigin,
    /// The key is deleted there, and a state later than its tombstone came.
    #[error("the key is deleted for good in the target zone")]
    Deleted,
    /// What came cannot be opened or contradicts itself.
    #[error("the target zone cannot read what it was sent")]
    Malformed,
    /// As much as may be is being stored; also when another state of the same key is.
    #[error("the target zone is busy")]
    Busy,
    /// The target zone failed to store it, in its words.
    #[error("the target zone failed: {0}")]
    Failed(FaultText),
}

impl RefusalReason {
    /// Whether the same state may be taken a moment later. If not, only a change in the target zone or a new revision helps,
    /// so the origin tries slowly.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self.remedy() {
            Remedy::Repeat => true,
            Remedy::Wait => false,
        }
    }

    pub(crate) const fn remedy(&self) -> Remedy {
        match self {
            // A tombstone on its way may free the name or the place: the pauses grow, but they begin short.
            Self::Busy | Self::NameTaken | Self::QuotaReached | Self::Failed(_) => Remedy::Repeat,
            Self::NotOrigin | Self::Deleted | Self::Malformed => Remedy::Wait,
        }
    }
}
