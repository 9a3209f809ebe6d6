//! What zones say to each other: `format (1 byte) | message (postcard)`.
//!
//! Postcard is specified at <https://postcard.jamesmunns.com>. Messages travel over a connection that proves which zone
//! speaks; they do not name their sender. The payload is sealed to the target zone by the shell and opaque here.

mod v1;

use crate::refusal::RefusalReason;
use kms_types::{KeyId, Revision, Watermark};
use std::fmt;

/// The format that this build speaks.
pub const FORMAT: u8 = 1;

/// The most bytes of a message, 256 KiB: it is one frame of a connection. A reader refuses a longer one before it allocates.
pub const MAX_MESSAGE_LEN: usize = 1 << 18;

/// The most bytes of a payload: what a message leaves beside its other fields. A key's record with its longest texts and a
/// hundred years of rotations is below a tenth.
pub const MAX_PAYLOAD_LEN: usize = MAX_MESSAGE_LEN - 64;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// From a key's origin to a replica.
    Request(Request),
    /// From a replica to the key's origin.
    Answer(Answer),
}

/// What an origin says to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// What do you have of the key, which is at `revision` here?
    Ask {
        /// The key.
        key: KeyId,
        /// Its revision at the origin.
        revision: Revision,
    },
    /// This is the key's whole state.
    State {
        /// The key.
        key: KeyId,
        /// The revision of the state.
        revision: Revision,
        /// The sealed record.
        payload: Payload,
    },
}

/// What a replica says to an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// I hold this of the key, durably.
    Have {
        /// The key.
        key: KeyId,
        /// The origin's revision that is held, or none.
        applied: Watermark,
    },
    /// I hold this revision of the key durably; it may be a later one than was sent.
    Applied {
        /// The key.
        key: KeyId,
        /// The origin's revision that is held.
        revision: Revision,
    },
    /// I did not take it.
    Refused {
        /// The key.
        key: KeyId,
        /// The revision that was asked about or sent.
        revision: Revision,
        /// Why.
        reason: RefusalReason,
    },
}

/// A sealed record on its way: at most [`MAX_PAYLOAD_LEN`] bytes. `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Box<[u8]>);

/// Bytes that are no message, or a message that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Another format, most likely of a newer ZoneKMS.
    #[error("the message has format {found}, this build speaks {FORMAT}")]
    OtherFormat {
        /// The message's format.
        found: u8,
    },
    /// Longer than any message may be.
    #[error("{length} bytes exceed the limit of {MAX_MESSAGE_LEN} for a message and {MAX_PAYLOAD_LEN} for its payload")]
    TooLong {
        /// Bytes.
        length: usize,
    },
    /// Cut off, followed by more, or a value out of its range.
    #[error("the message is malformed")]
    Malformed,
}

impl Message {
    /// The bytes to send, at most [`MAX_MESSAGE_LEN`].
    ///
    /// # Errors
    /// [`MessageError::Malformed`] when the encoder refuses it.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        v1::encode(self)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`MessageError`]; bytes left over are refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_MESSAGE_LEN {
            return Err(MessageError::TooLong { length: bytes.len() });
        }
        match bytes.split_first() {
            Some((&FORMAT, content)) => v1::decode(content),
            Some((&found, _)) => Err(MessageError::OtherFormat { found }),
            None => Err(MessageError::Malformed),
        }
    }
}

impl Request {
    /// The key it is about.
    #[must_use]
    pub const fn key(&self) -> KeyId {
        match self {
            Self::Ask { key, .. } | Self::State { key, .. } => *key,
        }
    }
}

impl Answer {
    /// The key it is about.
    #[must_use]
    pub const fn key(&self) -> KeyId {
        match self {
            Self::Have { key, .. } | Self::Applied { key, .. } | Self::Refused { key, .. } => *key,
        }
    }
}

impl Payload {
    /// A payload of these bytes.
    ///
    /// # Errors
    /// [`MessageError::TooLong`] above [`MAX_PAYLOAD_LEN`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, MessageError> {
        if bytes.len() > MAX_PAYLOAD_LEN {
            return Err(MessageError::TooLong { length: bytes.len() });
        }
        Ok(Self(bytes.into_boxed_slice()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}
