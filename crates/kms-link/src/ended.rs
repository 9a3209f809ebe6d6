//! Why a connection ended.

use crate::frame::FrameError;
use kms_service::BadFrame;

/// Why a connection between two zones that had proven themselves ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("this zone is stopping")]
    Stopped,
    #[error("a newer connection of the same zone took its place")]
    Replaced,
    #[error("the zone has no more use for it")]
    Released,
    #[error("cut by a fault of the lab")]
    Cut,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("refused what came: {0}")]
    BadFrame(#[from] BadFrame),
}
