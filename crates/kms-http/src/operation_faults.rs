//! Faults that a lab asks for: the next calls of an operation on a key fail with a chosen status.

use crate::route::KeyOperation;
use http::StatusCode;
use kms_types::KeyId;

/// Decides which calls fail on purpose. Only a lab has one; see [`FrontDoor::with_faults`](crate::FrontDoor::with_faults).
pub trait OperationFaults: Send + Sync {
    /// Asked once for each call on a key whose signature was verified, before its body is read. `operation` is the API's
    /// operation id, as [`operation_id`] gives it. A status makes the call fail with it; the key is not touched.
    fn take(&self, key: KeyId, operation: &str) -> Option<FaultStatus>;
}

/// The status of a call that fails on purpose: 400 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultStatus(StatusCode);

impl FaultStatus {
    /// The status with this number; `None` when it is not 400 to 599.
    #[must_use]
    pub fn new(status: u16) -> Option<Self> {
        let status = StatusCode::from_u16(status).ok()?;
        (status.is_client_error() || status.is_server_error()).then_some(Self(status))
    }

    /// The number.
    #[must_use]
    pub fn as_u16(self) -> u16 {
        self.0.as_u16()
    }

    pub(crate) const fn code(self) -> StatusCode {
        self.0
    }
}

/// The API's operation id of an operation on a key, from that id (`rotate-kms-key`) or from what its path ends in (`rotate`). The
/// path of `get-kms-key` ends in the key: it is called `get`.
#[must_use]
pub fn operation_id(name: &str) -> Option<&'static str> {
    KeyOperation::ALL
        .into_iter()
        .find(|operation| operation.name() == name || operation.action().unwrap_or("get") == name)
        .map(KeyOperation::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_an_error() {
        for (status, accepted) in [(0, false), (200, false), (399, false), (400, true), (599, true), (600, false)] {
            assert_eq!(FaultStatus::new(status).map(FaultStatus::as_u16), accepted.then_some(status));
        }
    }

    #[test]
    fn operations_have_two_names() {
        for (name, id) in [
            ("rotate", Some("rotate-kms-key")),
            ("rotate-kms-key", Some("rotate-kms-key")),
            ("encrypt", Some("encrypt")),
            ("get", Some("get-kms-key")),
            ("list-key-rotations", Some("list-kms-key-rotations")),
            ("create-kms-key", None),
            ("", None),
        ] {
            assert_eq!(operation_id(name), id, "{name}");
        }
    }
}
