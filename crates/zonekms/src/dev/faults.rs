//! What a person told the lab to break: links between zones, and calls on keys. Nothing of it outlives the process.

mod call;
mod link;
mod members;
mod request;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kms_crypto::Entropy;
use kms_http::{FaultStatus, OperationFaults};
use kms_link::{FrameFaults, FrameVerdict};
use kms_types::{KeyId, ZoneName};
use serde_json::Value;

use call::CallFaults;
use link::LinkFaults;
use request::FaultRequest;
pub(super) use request::InvalidFault;

/// Everything that is broken on purpose at the moment.
pub(super) struct LabFaults {
    zones: Vec<ZoneName>,
    entropy: Arc<dyn Entropy>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    links: LinkFaults,
    calls: CallFaults,
}

impl LabFaults {
    /// Nothing is broken yet. Faults may name only these zones; `entropy` decides which frames they hit.
    pub(super) fn none(zones: Vec<ZoneName>, entropy: Arc<dyn Entropy>) -> Arc<Self> {
        Arc::new(Self { zones, entropy, state: Mutex::default() })
    }

    /// Breaks what the JSON `body` asks for; it takes the place of an earlier fault of the same link direction, or of the same
    /// operation on the same key.
    pub(super) fn set(&self, body: &[u8]) -> Result<(), InvalidFault> {
        let request = FaultRequest::read(body, &self.zones)?;
        let mut state = self.state();
        match request {
            FaultRequest::Link { from, to, fault } => state.links.set(from, to, fault),
            FaultRequest::Call(fault) => state.calls.set(fault)?,
        }
        Ok(())
    }

    /// Repairs everything.
    pub(super) fn clear(&self) {
        *self.state() = State::default();
    }

    /// The faults, each in the form of a request that would set it; of calls, `times` is how many are yet to fail.
    pub(super) fn list(&self) -> Value {
        let state = self.state();
        Value::Array(state.links.list().chain(state.calls.list()).collect())
    }

    /// The faults of the calls that one zone answers.
    pub(super) fn of_zone(self: &Arc<Self>, zone: ZoneName) -> Arc<dyn OperationFaults> {
        Arc::new(ZoneFaults { zone, faults: Arc::clone(self) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FrameFaults for LabFaults {
    fn verdict(&self, from: &ZoneName, to: &ZoneName) -> FrameVerdict {
        self.state().links.verdict(from, to, self.entropy.as_ref())
    }

    fn is_cut(&self, from: &ZoneName, to: &ZoneName) -> bool {
        self.state().links.is_cut(from, to)
    }
}

struct ZoneFaults {
    zone: ZoneName,
    faults: Arc<LabFaults>,
}

impl OperationFaults for ZoneFaults {
    fn take(&self, key: KeyId, operation: &str) -> Option<FaultStatus> {
        self.faults.state().calls.take(&self.zone, key, operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_crypto::OsEntropy;
    use serde_json::json;

    const KEY: &str = "019eef19-73ef-7ce3-9ea1-fcaa367ebd8d";

    fn lab() -> Arc<LabFaults> {
        LabFaults::none(["a", "b", "c"].map(|zone| zone.parse().unwrap()).to_vec(), Arc::new(OsEntropy))
    }

    #[test]
    fn what_was_set_is_listed_replaced_and_cleared() {
        let lab = lab();
        for fault in [
            json!({"from": "a", "to": "b", "cut": true}),
            json!({"from": "b", "to": "a", "drop": 0.5, "delay-ms": 20}),
            json!({"from": "b", "to": "a", "delay-ms": 30}),
            json!({"from": "c", "to": "a", "reorder": 0.0}),
            json!({"key": KEY, "operation": "rotate", "status": 503, "times": 3}),
            json!({"key": KEY, "operation": "rotate", "status": 500, "times": 2}),
            json!({"key": KEY, "operation": "rotate", "status": 429, "zone": "b"}),
        ] {
            lab.set(fault.to_string().as_bytes()).unwrap();
        }
        let expected = json!([
            {"from": "a", "to": "b", "cut": true},
            {"from": "b", "to": "a", "delay-ms": 30},
            {"key": KEY, "operation": "rotate-kms-key", "status": 500, "times": 2},
            {"key": KEY, "operation": "rotate-kms-key", "status": 429, "times": 1, "zone": "b"},
        ]);
        assert_eq!(lab.list(), expected);
        let again = self::lab();
        for fault in expected.as_array().unwrap() {
            again.set(fault.to_string().as_bytes()).unwrap();
        }
        assert_eq!(again.list(), expected, "what is listed can be set again");
        lab.set(json!({"from": "a", "to": "b", "cut": false}).to_string().as_bytes()).unwrap();
        assert_eq!(lab.list().as_array().unwrap().len(), 3);
        lab.clear();
        assert_eq!(lab.list(), json!([]));
    }

    #[test]
    fn a_call_fault_is_spent_in_its_zones_only() {
        let lab = lab();
        lab.set(json!({"key": KEY, "operation": "encrypt", "status": 503, "zone": "b"}).to_string().as_bytes())
            .unwrap();
        let (a, b) = (lab.of_zone("a".parse().unwrap()), lab.of_zone("b".parse().unwrap()));
        let key = KEY.parse().unwrap();
        assert_eq!(a.take(key, "encrypt"), None);
        assert_eq!(b.take(key, "decrypt"), None);
        assert_eq!(b.take(key, "encrypt").map(FaultStatus::as_u16), Some(503));
        assert_eq!(b.take(key, "encrypt"), None);
    }
}
