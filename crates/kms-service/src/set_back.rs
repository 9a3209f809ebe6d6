//! A store that was put back to an earlier state, together with all that lies beside it. The audit log knows: such a store is
//! not served until an operator accepts it.

use kms_storage::StoreRevision;
use kms_types::Timestamp;

use crate::audit::{Accounted, Actor, AuditEntry, AuditLog, NotRecorded, Outcome, Settled};
use crate::error::StartError;

/// Commits that have entries and that the store does not have.
struct Missing {
    /// The latest of them.
    latest: StoreRevision,
    count: u64,
}

/// Refuses a store that stands at `stored` when `log` knows of later commits, and tells the log so.
pub(crate) async fn refuse_set_back(
    log: &dyn AuditLog,
    accounted: &Accounted,
    stored: StoreRevision,
    now: Timestamp,
) -> Result<(), StartError> {
    let Some(Missing { latest, count }) = missing(accounted, stored) else { return Ok(()) };
    let outcome = Outcome::Refused { status: None, reason: "not started" };
    let entry = AuditEntry {
        // The next start reads the newest file only, which this one began: it is to know as much.
        commit: Some(latest),
        count: Some(count),
        ..AuditEntry::new(now, "store-set-back", Actor::Server, outcome)
    };
    if log.record_change(&entry).await.is_err() {
        tracing::error!("the audit log could not be written, and does not have that the start was refused");
    }
    Err(StartError::SetBack { commits: count })
}

/// Tells `log` that an operator accepts a store that stands at `stored` as it is. Gives how many commits more the log knew of,
/// which it expects no longer. The zone must not be served meanwhile.
///
/// # Errors
///
/// [`NotRecorded`]: it may not be durable, and a start may be refused as before.
pub async fn record_adoption(log: &dyn AuditLog, stored: StoreRevision, now: Timestamp) -> Result<u64, NotRecorded> {
    let missing = missing(&log.accounted(), stored).map(|missing| missing.count);
    let entry = AuditEntry {
        // Only then: what a store has beyond its log is for the next start to find and tell.
        settled: missing.map(|_| Settled { revision: stored, at: now }),
        count: missing,
        ..AuditEntry::new(now, "adopt-store", Actor::Operator, Outcome::Done)
    };
    log.record_change(&entry).await?;
    Ok(missing.unwrap_or(0))
}

fn missing(accounted: &Accounted, stored: StoreRevision) -> Option<Missing> {
    let settled = accounted.settled.map(|settled| settled.revision);
    let latest = accounted.commits.last().copied().max(settled)?;
    let count = latest.get().checked_sub(stored.get()).filter(|count| *count > 0)?;
    Some(Missing { latest, count })
}
