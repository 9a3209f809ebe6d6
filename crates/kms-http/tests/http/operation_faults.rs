//! Calls that fail because a lab was told to make them fail.

use crate::client::Credential;
use crate::zone::Zone;
use kms_http::{FaultStatus, OperationFaults};
use kms_types::KeyId;
use std::sync::{Arc, Mutex};

/// Fails the operations listed, one call per entry, and notes every question.
#[derive(Default)]
struct Listed {
    to_fail: Mutex<Vec<(String, u16)>>,
    asked: Mutex<Vec<(KeyId, String)>>,
}

impl OperationFaults for Listed {
    fn take(&self, key: KeyId, operation: &str) -> Option<FaultStatus> {
        self.asked.lock().unwrap().push((key, operation.to_owned()));
        let mut to_fail = self.to_fail.lock().unwrap();
        let at = to_fail.iter().position(|(name, _)| name == operation)?;
        FaultStatus::new(to_fail.remove(at).1)
    }
}

#[tokio::test]
async fn a_fault_fails_that_operation_and_leaves_the_key_alone() {
    let faults = Arc::new(Listed::default());
    let zone = Zone::with_faults(Arc::clone(&faults) as Arc<_>).await;
    let id = zone.create("k1").await;
    faults.to_fail.lock().unwrap().extend([("disable-kms-key".to_owned(), 503), ("encrypt".to_owned(), 418)]);

    let failed = zone.on(&id, "disable", "").await;
    assert_eq!(failed.told(), (503, "Injected Fault".to_owned()));
    let key = zone.call("GET", &format!("/v2/kms-key/{id}"), "").await;
    assert_eq!(key.json()["status"], "enabled", "the key was touched");
    assert_eq!(zone.on(&id, "encrypt", r#"{"plaintext":""}"#).await.status, 418);
    assert_eq!(zone.on(&id, "encrypt", r#"{"plaintext":""}"#).await.status, 200);
    let names: Vec<_> = faults.asked.lock().unwrap().iter().map(|(_, operation)| operation.clone()).collect();
    assert_eq!(names, ["disable-kms-key", "get-kms-key", "encrypt", "encrypt"]);
    assert!(faults.asked.lock().unwrap().iter().all(|(key, _)| key.to_string() == id));
}

#[tokio::test]
async fn a_fault_is_not_spent_on_a_request_that_nobody_signed() {
    let faults = Arc::new(Listed::default());
    let zone = Zone::with_faults(Arc::clone(&faults) as Arc<_>).await;
    let id = zone.create("k1").await;
    let nobody = Credential { id: "EXOnobody", secret: "" };
    assert_eq!(zone.call_as(nobody, "POST", &format!("/v2/kms-key/{id}/encrypt"), "{}").await.status, 403);
    assert_eq!(zone.call("GET", "/v2/kms-key", "").await.status, 200);
    assert!(faults.asked.lock().unwrap().is_empty());
}
