//! Crypto calls that wait for the audit log.

use crate::client::PATIENCE;
use crate::zone::Zone;
use async_trait::async_trait;
use kms_http::RequestLimits;
use kms_service::{Accounted, AuditEntry, AuditLog, NoAuditLog, NotRecorded};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A log whose disk does not answer any more: nothing fails, and nothing becomes durable.
struct Hanging;

#[async_trait]
impl AuditLog for Hanging {
    fn takes_changes(&self) -> Result<(), NotRecorded> {
        Ok(())
    }

    fn trouble(&self) -> Option<String> {
        None
    }

    async fn record_change(&self, _: &AuditEntry<'_>) -> Result<(), NotRecorded> {
        Ok(())
    }

    fn record_use(&self, _: &AuditEntry<'_>) -> Result<(), NotRecorded> {
        Ok(())
    }

    fn record_refusal(&self, _: &AuditEntry<'_>) {}

    fn is_synchronous(&self) -> bool {
        true
    }

    async fn settle_uses(&self) -> Result<(), NotRecorded> {
        pending().await
    }

    fn accounted(&self) -> Accounted {
        NoAuditLog.accounted()
    }

    async fn close(&self) {}
}

#[tokio::test]
async fn a_call_does_not_wait_for_good_for_a_log_that_hangs() {
    let limits = RequestLimits { request_timeout: Duration::from_millis(100), ..RequestLimits::default() };
    let zone = Zone::with_audit(limits, Arc::new(Hanging)).await;
    let id = zone.create("k1").await;
    let call = zone.on(&id, "encrypt", r#"{"plaintext":"aGVsbG8="}"#);
    let answer = timeout(PATIENCE, call).await.expect("an answer within the time that a request may take");
    assert_eq!(answer.told(), (503, "Service Unavailable".into()));
    assert_eq!(answer.header("retry-after"), Some("1"));
}
