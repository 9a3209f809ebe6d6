//! Calls that fail on purpose: an operation on a key, so many times, in one zone or in all.

use kms_http::FaultStatus;
use kms_types::{KeyId, ZoneName};
use serde_json::{Value, json};

use super::request::InvalidFault;

/// The most call faults at a time.
const AT_MOST: usize = 1_000;

/// The next calls of one operation on one key.
#[derive(Clone, Debug)]
pub(super) struct CallFault {
    pub(super) key: KeyId,
    /// The API's operation id.
    pub(super) operation: &'static str,
    pub(super) status: FaultStatus,
    /// How many calls fail; never 0.
    pub(super) times: u32,
    /// All zones together when there is none.
    pub(super) zone: Option<ZoneName>,
}

/// The calls that are yet to fail.
#[derive(Default)]
pub(super) struct CallFaults(Vec<CallFault>);

impl CallFaults {
    pub(super) fn set(&mut self, fault: CallFault) -> Result<(), InvalidFault> {
        let same = |other: &&mut CallFault| {
            (other.key, other.operation, &other.zone) == (fault.key, fault.operation, &fault.zone)
        };
        if let Some(earlier) = self.0.iter_mut().find(same) {
            *earlier = fault;
        } else if self.0.len() < AT_MOST {
            self.0.push(fault);
        } else {
            return Err(InvalidFault::new("key", format!("is one more than the {AT_MOST} faults there may be")));
        }
        Ok(())
    }

    /// The status that a call fails with; it then counts as one that failed.
    pub(super) fn take(&mut self, zone: &ZoneName, key: KeyId, operation: &str) -> Option<FaultStatus> {
        let at = self.0.iter().position(|fault| {
            fault.key == key && fault.operation == operation && fault.zone.as_ref().is_none_or(|only| only == zone)
        })?;
        let fault = self.0.get_mut(at)?;
        let status = fault.status;
        fault.times = fault.times.saturating_sub(1);
        if fault.times == 0 {
            self.0.remove(at);
        }
        Some(status)
    }

    pub(super) fn list(&self) -> impl Iterator<Item = Value> {
        self.0.iter().map(|fault| {
            let mut shown = json!({
                "key": fault.key.to_string(),
                "operation": fault.operation,
                "status": fault.status.as_u16(),
                "times": fault.times,
            });
            if let Some(zone) = &fault.zone {
                shown["zone"] = json!(zone.as_str());
            }
            shown
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(key: u8, times: u32, zone: Option<&str>) -> CallFault {
        CallFault {
            key: KeyId::from_bytes([key; 16]),
            operation: "encrypt",
            status: FaultStatus::new(503).unwrap(),
            times,
            zone: zone.map(|zone| zone.parse().unwrap()),
        }
    }

    #[test]
    fn exactly_so_many_calls_fail_over_all_zones() {
        let mut faults = CallFaults::default();
        faults.set(fault(1, 3, None)).unwrap();
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let key = KeyId::from_bytes([1; 16]);
        let failed = [&a, &b, &a, &b, &a].map(|zone| faults.take(zone, key, "encrypt").is_some());
        assert_eq!(failed, [true, true, true, false, false]);
        assert_eq!(faults.take(&a, KeyId::from_bytes([2; 16]), "encrypt"), None);
    }

    #[test]
    fn there_is_an_end_to_them() {
        let mut faults = CallFaults::default();
        let key = |at: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&at.to_be_bytes());
            CallFault { key: KeyId::from_bytes(bytes), ..fault(0, 1, None) }
        };
        for at in 0..AT_MOST {
            faults.set(key(at)).unwrap();
        }
        assert!(faults.set(key(AT_MOST)).is_err());
        assert!(faults.set(key(0)).is_ok(), "one that takes the place of another");
    }
}
