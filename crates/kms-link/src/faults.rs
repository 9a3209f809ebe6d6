//! Faults that a lab puts between zones.

use kms_types::ZoneName;
use std::time::Duration;

/// What becomes of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameVerdict {
    /// It goes on its way.
    Deliver,
    /// No connection between the two zones may live: those there are close, and none is made.
    Cut,
    /// It arrives that much later. Those behind it do not overtake it.
    Delay(Duration),
    /// It is lost.
    Drop,
    /// It arrives twice.
    Duplicate,
    /// It is held back until the next one has gone, or for 200 ms if there is none.
    Reorder,
}

/// Decides about the frames of a link. Asked by the sending side, once for each frame; handshakes and hellos are not frames.
pub trait FrameFaults: Send + Sync {
    /// What becomes of the next frame that zone `from` sends to zone `to`.
    fn verdict(&self, from: &ZoneName, to: &ZoneName) -> FrameVerdict;

    /// Whether that direction is cut. Asked many times a second while [`FrameFaults::can_cut`], frames or none: to be overridden
    /// where a verdict uses up chance or a count.
    fn is_cut(&self, from: &ZoneName, to: &ZoneName) -> bool {
        self.verdict(from, to) == FrameVerdict::Cut
    }

    /// Whether [`FrameFaults::is_cut`] can ever be true.
    fn can_cut(&self) -> bool {
        true
    }
}

/// Every frame goes on its way.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl FrameFaults for NoFaults {
    fn verdict(&self, _from: &ZoneName, _to: &ZoneName) -> FrameVerdict {
        FrameVerdict::Deliver
    }

    fn can_cut(&self) -> bool {
        false
    }
}
