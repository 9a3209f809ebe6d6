//! Format 1, for ever as it is here: field types of its own, so that no change elsewhere reaches the wire.

use super::{Answer, FORMAT, Message, MessageError, Payload, Request};
use crate::fault_text::FaultText;
use crate::refusal::RefusalReason;
use kms_types::{KeyId, Revision, Watermark};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum MessageV1<'a> {
    Ask {
        key: [u8; 16],
        revision: u64,
    },
    Have {
        key: [u8; 16],
        applied: u64,
    },
    State {
        key: [u8; 16],
        revision: u64,
        payload: &'a [u8],
    },
    Applied {
        key: [u8; 16],
        revision: u64,
    },
    Refused {
        key: [u8; 16],
        revision: u64,
        #[serde(borrow)]
        reason: RefusalV1<'a>,
    },
}

#[derive(Serialize, Deserialize)]
enum RefusalV1<'a> {
    NameTaken,
    QuotaReached,
    NotOrigin,
    Deleted,
    Malformed,
    Busy,
    Failed(&'a str),
}

pub(super) fn encode(message: &Message) -> Result<Vec<u8>, MessageError> {
    postcard::to_extend(&MessageV1::from(message), vec![FORMAT]).map_err(|_| MessageError::Malformed)
}

pub(super) fn decode(content: &[u8]) -> Result<Message, MessageError> {
    let (message, rest) = postcard::take_from_bytes::<MessageV1<'_>>(content).map_err(|_| MessageError::Malformed)?;
    if !rest.is_empty() {
        return Err(MessageError::Malformed);
    }
    Message::try_from(message)
}

impl<'a> From<&'a Message> for MessageV1<'a> {
    fn from(message: &'a Message) -> Self {
        let key = |key: &KeyId| *key.as_bytes();
        match message {
            Message::Request(Request::Ask { key: id, revision }) => {
                Self::Ask { key: key(id), revision: revision.get() }
            }
            Message::Request(Request::State { key: id, revision, payload }) => {
                Self::State { key: key(id), revision: revision.get(), payload: payload.as_bytes() }
            }
            Message::Answer(Answer::Have { key: id, applied }) => Self::Have { key: key(id), applied: applied.get() },
            Message::Answer(Answer::Applied { key: id, revision }) => {
                Self::Applied { key: key(id), revision: revision.get() }
            }
            Message::Answer(Answer::Refused { key: id, revision, reason }) => {
                Self::Refused { key: key(id), revision: revision.get(), reason: reason.into() }
            }
        }
    }
}

impl TryFrom<MessageV1<'_>> for Message {
    type Error = MessageError;

    fn try_from(message: MessageV1<'_>) -> Result<Self, MessageError> {
        let id = KeyId::from_bytes;
        let checked = |revision| Revision::new(revision).ok_or(MessageError::Malformed);
        Ok(match message {
            MessageV1::Ask { key, revision } => {
                Self::Request(Request::Ask { key: id(key), revision: checked(revision)? })
            }
            MessageV1::State { key, revision, payload } => Self::Request(Request::State {
                key: id(key),
                revision: checked(revision)?,
                payload: Payload::new(payload.to_vec())?,
            }),
            MessageV1::Have { key, applied } => Self::Answer(Answer::Have {
                key: id(key),
                applied: Revision::new(applied).map_or(Watermark::NONE, Watermark::at),
            }),
            MessageV1::Applied { key, revision } => {
                Self::Answer(Answer::Applied { key: id(key), revision: checked(revision)? })
            }
            MessageV1::Refused { key, revision, reason } => {
                Self::Answer(Answer::Refused { key: id(key), revision: checked(revision)?, reason: reason.try_into()? })
            }
        })
    }
}

impl<'a> From<&'a RefusalReason> for RefusalV1<'a> {
    fn from(reason: &'a RefusalReason) -> Self {
        match reason {
            RefusalReason::NameTaken => Self::NameTaken,
            RefusalReason::QuotaReached => Self::QuotaReached,
            RefusalReason::NotOrigin => Self::NotOrigin,
            RefusalReason::Deleted => Self::Deleted,
            RefusalReason::Malformed => Self::Malformed,
            RefusalReason::Busy => Self::Busy,
            RefusalReason::Failed(text) => Self::Failed(text.as_str()),
        }
    }
}

impl TryFrom<RefusalV1<'_>> for RefusalReason {
    type Error = MessageError;

    fn try_from(reason: RefusalV1<'_>) -> Result<Self, MessageError> {
        Ok(match reason {
            RefusalV1::NameTaken => Self::NameTaken,
            RefusalV1::QuotaReached => Self::QuotaReached,
            RefusalV1::NotOrigin => Self::NotOrigin,
            RefusalV1::Deleted => Self::Deleted,
            RefusalV1::Malformed => Self::Malformed,
            RefusalV1::Busy => Self::Busy,
            RefusalV1::Failed(text) => Self::Failed(FaultText::exactly(text).ok_or(MessageError::Malformed)?),
        })
    }
}
