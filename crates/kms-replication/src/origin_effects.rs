//! What an origin wants done.

use crate::failure::Failure;
use crate::message::Request;
use crate::moment::Uptime;
use kms_types::{KeyId, Revision, ZoneName};
use std::vec::IntoIter;

/// What to do after an input, in order, and when to call [`Origin::tick`](crate::Origin::tick).
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "nothing is sent until the shell performs it"]
pub struct OriginEffects {
    pub(crate) actions: Vec<OriginAction>,
    pub(crate) wake_at: Option<Uptime>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginAction {
    /// Send this message, which is small.
    Send {
        /// To this zone.
        target: ZoneName,
        /// The message.
        request: Request,
    },
    /// Load the key's record as it is now, tell [`Origin::shipping`](crate::Origin::shipping) its revision, seal it to the
    /// target and send it as [`Request::State`]; or report [`Origin::ship_failed`](crate::Origin::ship_failed).
    Ship {
        /// To this zone.
        target: ZoneName,
        /// The key.
        key: KeyId,
        /// The revision to send; a later one is as good.
        revision: Revision,
    },
    /// Log and count this failure. It is also kept for [`Origin::progress`](crate::Origin::progress).
    Failed {
        /// The zone that is behind.
        target: ZoneName,
        /// The key.
        key: KeyId,
        /// What happened.
        failure: Failure,
    },
    /// Every target confirmed the tombstone. The origin has forgotten the key; the tombstone stays in the store.
    Retired {
        /// The deleted key.
        key: KeyId,
    },
}

impl OriginEffects {
    /// When to call [`Origin::tick`](crate::Origin::tick) at the latest; `None` when nothing has a deadline. It replaces
    /// every earlier answer.
    #[must_use]
    pub const fn wake_at(&self) -> Option<Uptime> {
        self.wake_at
    }

    /// The actions, in order.
    #[must_use]
    pub fn actions(&self) -> &[OriginAction] {
        &self.actions
    }
}

impl IntoIterator for OriginEffects {
    type Item = OriginAction;
    type IntoIter = IntoIter<OriginAction>;

    fn into_iter(self) -> Self::IntoIter {
        self.actions.into_iter()
    }
}
