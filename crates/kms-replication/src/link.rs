//! What one target has of this zone's keys, and what is under way to it.
//!
//! An attempt begins with a question unless the target has just told what it has; so an outcome that got lost costs a small
//! message, not a payload. A key is under way at most once: a revision made meanwhile is sent after the answer.

use crate::backoff::retry_at;
use crate::failure::{Failure, FailureCause, Remedy};
use crate::fault_text::FaultText;
use crate::message::{Answer, Request};
use crate::moment::{Moment, Uptime};
use crate::origin_effects::OriginAction;
use crate::progress::{Content, Entry, Exchange, Knowledge, Lag, Progress, Setback, Standing, Step};
use crate::refusal::RefusalReason;
use crate::schedule::Schedule;
use crate::window::Window;
use kms_types::{KeyId, Revision, Timestamp, Watermark, ZoneName};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::num::NonZeroU32;
use std::time::Duration;

/// How long a target may take to answer a question or to confirm a state.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a target can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// There was no connection yet.
    New,
    /// There is a connection.
    Up {
        /// Since when.
        since: Uptime,
    },
    /// The connection was lost or refused.
    Down {
        /// Since when there is none.
        since: Uptime,
        /// What went wrong last.
        why: FaultText,
        /// When it went wrong last.
        failed_at: Timestamp,
    },
}

/// What a link knows of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deletion {
    NoEntry,
    Open,
    Confirmed,
}

#[derive(Debug)]
pub(crate) struct Link {
    target: ZoneName,
    window: Window,
    state: LinkState,
    entries: BTreeMap<KeyId, Entry>,
    schedule: Schedule,
}

impl Link {
    pub(crate) fn new(target: ZoneName, window: Window) -> Self {
        Self { target, window, state: LinkState::New, entries: BTreeMap::new(), schedule: Schedule::default() }
    }

    pub(crate) fn changed(
        &mut self,
        key: KeyId,
        revision: Revision,
        content: Content,
        now: Moment,
        out: &mut Vec<OriginAction>,
    ) {
        let entry = match self.entries.entry(key) {
            Slot::Vacant(slot) => slot.insert(Entry::new(revision, content)),
            Slot::Occupied(slot) => {
                let entry = slot.into_mut();
                if revision < entry.wanted || entry.content == Content::Tombstone {
                    return;
                }
                entry.wanted = revision;
                entry.content = content;
                entry
            }
        };
        // What is under way goes on; its answer brings the new revision.
        if !entry.is_confirmed() && entry.under_way().is_none() {
            self.schedule.enqueue(key, &mut entry.standing, now.uptime);
        }
        self.fill_window(now, out);
    }

    pub(crate) fn shipping(&mut self, key: KeyId, revision: Revision, now: Moment) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.wanted = entry.wanted.max(revision);
        match entry.standing {
            Standing::Settled if !entry.is_confirmed() => {
                self.schedule.enqueue(key, &mut entry.standing, now.uptime);
            }
            Standing::Behind { step: Step::UnderWay { exchange: Exchange::Ship(asked), deadline }, .. }
                if asked < revision =>
            {
                let exchange = Exchange::Ship(revision);
                self.schedule.start(key, &mut entry.standing, exchange, now.uptime, deadline);
            }
            Standing::Settled | Standing::Behind { .. } => {}
        }
    }

    pub(crate) fn received(&mut self, answer: &Answer, now: Moment, out: &mut Vec<OriginAction>) {
        match answer {
            Answer::Have { key, applied } => self.told(*key, *applied, now, out),
            Answer::Applied { key, revision } => self.told(*key, Watermark::at(*revision), now, out),
            Answer::Refused { key, revision, reason } => self.refused(*key, *revision, reason, now, out),
        }
        self.fill_window(now, out);
    }

    pub(crate) fn ship_failed(&mut self, key: KeyId, why: FaultText, now: Moment, out: &mut Vec<OriginAction>) {
        match self.entries.get(&key).and_then(Entry::under_way) {
            Some(Exchange::Ship(_)) => self.fail(key, FailureCause::NotSent(why), now, out),
            Some(Exchange::Ask(_)) | None => {}
        }
        self.fill_window(now, out);
    }

    pub(crate) fn up(&mut self, now: Moment, out: &mut Vec<OriginAction>) {
        self.requeue_under_way(now.uptime);
        for key in self.schedule.keys_pausing() {
            self.requeue(key, now.uptime);
        }
        self.state = LinkState::Up { since: now.uptime };
        self.fill_window(now, out);
    }

    pub(crate) fn recheck(&mut self, now: Moment, out: &mut Vec<OriginAction>) {
        for (key, entry) in &mut self.entries {
            match entry.standing {
                Standing::Settled => {
                    entry.knowledge = Knowledge::Unknown;
                    self.schedule.enqueue(*key, &mut entry.standing, now.uptime);
                }
                // It is asked about, or sent, anyway.
                Standing::Behind { .. } => {}
            }
        }
        self.fill_window(now, out);
    }

    pub(crate) fn down(&mut self, why: FaultText, now: Moment) {
        self.requeue_under_way(now.uptime);
        let since = match self.state {
            LinkState::New | LinkState::Up { .. } => now.uptime,
            LinkState::Down { since, .. } => since,
        };
        self.state = LinkState::Down { since, why, failed_at: now.wall };
    }

    pub(crate) fn tick(&mut self, now: Moment, out: &mut Vec<OriginAction>) {
        while let Some(key) = self.schedule.overdue(now.uptime) {
            self.fail(key, FailureCause::TimedOut, now, out);
        }
        while let Some(key) = self.schedule.rested(now.uptime) {
            self.requeue(key, now.uptime);
        }
        self.fill_window(now, out);
    }

    pub(crate) fn forget(&mut self, key: KeyId) {
        if let Some(mut entry) = self.entries.remove(&key) {
            self.schedule.settle(key, &mut entry.standing);
        }
    }

    pub(crate) fn deletion(&self, key: KeyId) -> Deletion {
        match self.entries.get(&key) {
            None => Deletion::NoEntry,
            Some(Entry { content: Content::Tombstone, standing: Standing::Settled, .. }) => Deletion::Confirmed,
            Some(_) => Deletion::Open,
        }
    }

    pub(crate) const fn state(&self) -> &LinkState {
        &self.state
    }

    pub(crate) fn lag(&self) -> Lag {
        self.schedule.lag()
    }

    pub(crate) fn under_way(&self) -> usize {
        self.schedule.under_way()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = KeyId> {
        self.entries.keys().copied()
    }

    /// Without a connection nothing is awaited but the connection.
    pub(crate) fn wake_at(&self) -> Option<Uptime> {
        match self.state {
            LinkState::Up { .. } => self.schedule.next_deadline(),
            LinkState::New | LinkState::Down { .. } => None,
        }
    }

    pub(crate) fn progress(&self, key: KeyId) -> Option<Progress> {
        let entry = self.entries.get(&key)?;
        let own_failure = entry.setback.as_ref().map(|setback| setback.failure.clone());
        let last_failure = match (&self.state, entry.standing) {
            // Nothing is attempted without a connection, so its loss came after every failure of the key itself.
            (LinkState::Down { why, failed_at, .. }, Standing::Behind { .. }) => Some(Failure {
                attempted: entry.wanted,
                cause: FailureCause::Disconnected(why.clone()),
                failed_at: *failed_at,
            }),
            (LinkState::New | LinkState::Up { .. }, _) | (LinkState::Down { .. }, Standing::Settled) => own_failure,
        };
        Some(Progress {
            wanted: entry.wanted,
            watermark: entry.watermark,
            stage: entry.stage(),
            failures: entry.setback.as_ref().map_or(0, |setback| setback.failures.get()),
            last_failure,
        })
    }

    /// The target told that it holds `claimed`, or more by now.
    fn told(&mut self, key: KeyId, claimed: Watermark, now: Moment, out: &mut Vec<OriginAction>) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if claimed > Watermark::at(entry.wanted) {
            self.fail(key, FailureCause::ClaimedAhead { claimed }, now, out);
            return;
        }
        entry.watermark = entry.watermark.max(claimed);
        // Not what the target confirmed once, but what it says now: it may have been restored since.
        let has_all = claimed >= Watermark::at(entry.wanted);
        if has_all {
            entry.knowledge = Knowledge::Known;
            entry.setback = None;
            self.schedule.settle(key, &mut entry.standing);
            return;
        }
        match entry.under_way() {
            Some(Exchange::Ask(_)) => {
                entry.knowledge = Knowledge::Known;
                self.begin(key, now, out);
            }
            Some(Exchange::Ship(revision)) if claimed >= Watermark::at(revision) => {
                entry.knowledge = Knowledge::Known;
                entry.setback = None;
                self.schedule.enqueue(key, &mut entry.standing, now.uptime);
            }
            // An old answer: the one to what is under way is still to come.
            Some(Exchange::Ship(_)) | None => {}
        }
    }

    fn refused(
        &mut self,
        key: KeyId,
        revision: Revision,
        reason: &RefusalReason,
        now: Moment,
        out: &mut Vec<OriginAction>,
    ) {
        match self.entries.get(&key).and_then(Entry::under_way) {
            Some(exchange) if exchange.revision() == revision => {
                self.fail(key, FailureCause::Refused(reason.clone()), now, out);
            }
            // The answer to an earlier attempt.
            Some(_) | None => {}
        }
    }

    /// What is under way for `key` has failed; if nothing is, nothing happens.
    fn fail(&mut self, key: KeyId, cause: FailureCause, now: Moment, out: &mut Vec<OriginAction>) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let Some(exchange) = entry.under_way() else { return };
        let attempted = exchange.revision();
        let failures = match &entry.setback {
            Some(setback) => setback.failures.saturating_add(1),
            None => NonZeroU32::MIN,
        };
        let remedy = if attempted < entry.wanted { Remedy::Repeat } else { cause.remedy() };
        let failure = Failure { attempted, cause, failed_at: now.wall };
        entry.knowledge = Knowledge::Unknown;
        entry.setback = Some(Box::new(Setback { failures, failure: failure.clone() }));
        let until = retry_at(now.uptime, failures, remedy, now.jitter, key);
        self.schedule.pause(key, &mut entry.standing, now.uptime, until);
        out.push(OriginAction::Failed { target: self.target.clone(), key, failure });
    }

    fn requeue_under_way(&mut self, now: Uptime) {
        for key in self.schedule.keys_under_way() {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.knowledge = Knowledge::Unknown;
            }
            self.requeue(key, now);
        }
    }

    fn requeue(&mut self, key: KeyId, now: Uptime) {
        if let Some(entry) = self.entries.get_mut(&key) {
            self.schedule.enqueue(key, &mut entry.standing, now);
        }
    }

    fn fill_window(&mut self, now: Moment, out: &mut Vec<OriginAction>) {
        match self.state {
            LinkState::Up { .. } => {}
            LinkState::New | LinkState::Down { .. } => return,
        }
        while self.schedule.under_way() < self.window.get() {
            let Some(key) = self.schedule.next() else { return };
            self.begin(key, now, out);
        }
    }

    /// Asks or ships, whichever is next for `key`.
    fn begin(&mut self, key: KeyId, now: Moment, out: &mut Vec<OriginAction>) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let (target, revision) = (self.target.clone(), entry.wanted);
        let exchange = match entry.knowledge {
            Knowledge::Unknown => {
                out.push(OriginAction::Send { target, request: Request::Ask { key, revision } });
                Exchange::Ask(revision)
            }
            Knowledge::Known => {
                out.push(OriginAction::Ship { target, key, revision });
                Exchange::Ship(revision)
            }
        };
        let deadline = now.uptime.plus(EXCHANGE_TIMEOUT);
        self.schedule.start(key, &mut entry.standing, exchange, now.uptime, deadline);
    }
}
