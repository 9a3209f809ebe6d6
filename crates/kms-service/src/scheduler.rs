//! Work that falls due: automatic rotations and final deletions.

use kms_types::KeyId;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

use crate::audit::Actor;
use crate::kms::{Kms, Zone};

/// The longest time between two looks at the clock, which may have been set meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The time between two questions to the store about keys of which it is not known how they stand.
const SETTLING_WAIT: Duration = Duration::from_secs(1);

/// How many keys are worked on at once; their commits share the store's flushes.
const AT_ONCE: usize = 64;

/// What became of a pass over the due keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Complete,
    /// Some work failed and waits for a later pass.
    Incomplete,
}

impl Kms {
    /// Does all work that is due now, attempts of replication included, and answers when it is done. A key whose work fails is left for a later pass.
    pub async fn run_due_work(&self) {
        Arc::clone(self.zone()).run_due_work().await;
        self.zone().tick_replication().await;
        self.zone().due_changed.notify_one();
    }
}

impl Zone {
    /// Does due work until the service stops.
    pub(crate) async fn schedule(self: Arc<Self>) {
        let mut last = Pass::Complete;
        while !self.stopping.is_cancelled() {
            self.clock.tick();
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = self.due_changed.notified() => {}
                () = tokio::time::sleep(self.wait_after(last)) => {}
            }
            self.settle_what_can_be().await;
            last = Arc::clone(&self).run_due_work().await;
        }
    }

    fn wait_after(&self, last: Pass) -> Duration {
        if !self.directory.all_unsettled().is_empty() {
            return SETTLING_WAIT;
        }
        match (self.directory.next_due(), last) {
            (Some(due), Pass::Complete) => due.since(self.clock.now()).min(LONGEST_WAIT),
            // What failed is overdue: to try at once again would be to try without end.
            (Some(_), Pass::Incomplete) | (None, _) => LONGEST_WAIT,
        }
    }

    async fn run_due_work(self: Arc<Self>) -> Pass {
        let _pass = self.due_pass.lock().await;
        let mut outcome = Pass::Complete;
        for ids in self.directory.due_at(self.clock.now()).chunks(AT_ONCE) {
            if self.stopping.is_cancelled() {
                return Pass::Incomplete;
            }
            let mut work = JoinSet::new();
            for id in ids.iter().copied() {
                let zone = Arc::clone(&self);
                work.spawn(self.tasks.track_future(async move { zone.carry_out_due_of(id).await }));
            }
            while let Some(done) = work.join_next().await {
                match done {
                    Ok(Pass::Complete) => {}
                    Ok(Pass::Incomplete) => outcome = Pass::Incomplete,
                    Err(fault) => {
                        tracing::error!(%fault, "due work ended in a panic");
                        outcome = Pass::Incomplete;
                    }
                }
            }
        }
        outcome
    }

    async fn carry_out_due_of(&self, id: KeyId) -> Pass {
        if self.directory.shown(id).is_none() {
            return Pass::Complete;
        }
        match self.carry_out_due(id).await {
            Ok(()) => Pass::Complete,
            Err(cause) => {
                tracing::error!(key = %id, %cause, "due work failed and will be tried again");
                self.record_refusal("due-work", Actor::Scheduler, id, &cause.to_string());
                Pass::Incomplete
            }
        }
    }
}
