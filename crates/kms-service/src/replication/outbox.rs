//! The origin's side: changes of this zone's keys on their way to the zones that hold replicas.

use kms_lifecycle::{Key, Place};
use kms_replication::{
    Answer, Content, FailureCause, Lag, Message, Moment, Origin, OriginAction, OriginEffects, Progress, Request,
    Uptime, Window,
};
use kms_types::{KeyId, Revision, ZoneName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

use crate::kms::Zone;
use crate::link::FrameSender;
use crate::replication::fault;

/// The longest time between two looks at deadlines and lags.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A zone that is behind for so long is told of in the log.
const WORTH_TELLING: Duration = Duration::from_secs(30);

/// All that this zone's own keys need of replication.
pub(super) struct Outbox {
    state: Mutex<State>,
    /// How much may wait for one link: its window several times over. What does not fit is lost, and tried again later.
    queue: usize,
    /// There is work for the driver earlier than it knows.
    wake: Notify,
}

struct State {
    origin: Origin,
    links: BTreeMap<ZoneName, mpsc::Sender<Outgoing>>,
    /// When the driver looks next by itself.
    planned: Option<Uptime>,
    /// Deleted keys that no other zone holds any more.
    retired: Vec<KeyId>,
    /// Zones whose being behind was told.
    told: BTreeSet<ZoneName>,
    /// The first proof that this zone was set back, if there was any.
    set_back: Option<SetBack>,
}

/// A replica has a later state of a key than its origin, which alone makes states: the origin's store was set back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "zone {zone} has key {key} at revision {claimed}, and this zone, its origin, only came to {own}: this zone's store was set \
     back to older files. Numbers may be used twice: stop this server, and put the newest files in place or make the zone \
     anew with zonekms restore"
)]
pub struct SetBack {
    zone: ZoneName,
    key: KeyId,
    claimed: u64,
    own: Revision,
}

/// What a link is to send.
pub(super) enum Outgoing {
    Request(Request),
    /// The key's state at the time of sending.
    State(KeyId),
}

impl Outbox {
    pub(super) fn new(window: Window) -> Self {
        let state = State {
            origin: Origin::new(window),
            links: BTreeMap::new(),
            planned: None,
            retired: Vec::new(),
            told: BTreeSet::new(),
            set_back: None,
        };
        Self { state: Mutex::new(state), queue: 4 * window.get(), wake: Notify::new() }
    }

    pub(super) fn progress(&self, key: KeyId, target: &ZoneName) -> Option<Progress> {
        self.state().origin.progress(key, target)
    }

    pub(super) fn set_back(&self) -> Option<SetBack> {
        self.state().set_back.clone()
    }

    pub(super) fn lag(&self, target: &ZoneName) -> Lag {
        self.state().origin.lag(target)
    }

    /// Gives the state machine an input and performs what it wants, both under its lock, so that actions keep their order.
    fn input(&self, input: impl FnOnce(&mut Origin) -> OriginEffects) {
        let mut state = self.state();
        let effects = input(&mut state.origin);
        let wake_at = effects.wake_at();
        for action in effects {
            state.perform(action);
        }
        let earlier = match (wake_at, state.planned) {
            (Some(wake_at), Some(planned)) => wake_at < planned,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if earlier || !state.retired.is_empty() {
            self.wake.notify_one();
        }
    }

    pub(super) fn changed(
        &self,
        key: KeyId,
        revision: Revision,
        content: Content,
        replicas: &BTreeSet<ZoneName>,
        now: Moment,
    ) {
        self.input(|origin| origin.key_changed(key, revision, content, replicas, now));
    }

    pub(super) fn received(&self, target: &ZoneName, answer: &Answer, now: Moment) {
        self.input(|origin| origin.received(target, answer, now));
    }

    /// The key's state at `revision` is about to be sent.
    pub(super) fn shipping(&self, target: &ZoneName, key: KeyId, revision: Revision, now: Moment) {
        self.state().origin.shipping(target, key, revision, now);
    }

    pub(super) fn ship_failed(&self, target: &ZoneName, key: KeyId, why: &str, now: Moment) {
        self.input(|origin| origin.ship_failed(target, key, fault(why), now));
    }

    /// Answers with what there is to send from now on.
    fn link_up(&self, target: &ZoneName, now: Moment) -> mpsc::Receiver<Outgoing> {
        let (sender, receiver) = mpsc::channel(self.queue);
        self.state().links.insert(target.clone(), sender);
        self.input(|origin| origin.link_up(target, now));
        // Whoever was away may come back as it was at its last backup.
        self.input(|origin| origin.recheck(target, now));
        receiver
    }

    fn link_down(&self, target: &ZoneName, why: &str, now: Moment) {
        self.state().links.remove(target);
        self.input(|origin| origin.link_down(target, fault(why), now));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state machine does not panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn perform(&mut self, action: OriginAction) {
        match action {
            OriginAction::Send { target, request } => self.hand_over(&target, Outgoing::Request(request)),
            OriginAction::Ship { target, key, revision: _ } => self.hand_over(&target, Outgoing::State(key)),
            OriginAction::Failed { target, key, failure } => {
                tracing::warn!(%target, %key, attempted = failure.attempted.get(), cause = %failure.cause, "a replica is behind");
                if let FailureCause::ClaimedAhead { claimed } = failure.cause
                    && self.set_back.is_none()
                {
                    let set_back = SetBack { zone: target, key, claimed: claimed.get(), own: failure.attempted };
                    tracing::error!(event = "set-back", "{set_back}");
                    self.set_back = Some(set_back);
                }
            }
            OriginAction::Retired { key } => self.retired.push(key),
        }
    }

    fn hand_over(&self, target: &ZoneName, outgoing: Outgoing) {
        let Some(link) = self.links.get(target) else { return };
        if link.try_send(outgoing).is_err() {
            tracing::debug!(%target, "a link takes nothing; what is lost is tried again when its time is over");
        }
    }

    fn tell_lag(&mut self, now: Uptime) {
        let targets: Vec<_> = self.origin.targets().cloned().collect();
        for target in targets {
            let lag = self.origin.lag(&target);
            let behind = lag.age(now);
            if behind >= WORTH_TELLING && self.told.insert(target.clone()) {
                tracing::warn!(%target, keys = lag.keys(), seconds = behind.as_secs(), "a zone has fallen behind");
            } else if lag.keys() == 0 && self.told.remove(&target) {
                tracing::info!(%target, "a zone has caught up");
            }
        }
    }
}

impl Zone {
    /// To be called when a change of `key` has become durable and is shown, in the order of the changes.
    pub(crate) fn announce(&self, key: &Key) {
        let Some(replication) = &self.replication else { return };
        match key.place() {
            Place::Origin { replicas } if !replicas.is_empty() => {
                let (id, revision) = (key.id(), key.revision().seq);
                replication.outbox.changed(id, revision, Content::Key, replicas, self.moment());
            }
            Place::Origin { .. } | Place::SingleZone | Place::Replica { .. } => {}
        }
    }

    /// To be called when the tombstone of a key has become durable; `replicas` are the zones that may still hold it.
    pub(crate) fn announce_tombstone(&self, key: KeyId, revision: Revision, replicas: &BTreeSet<ZoneName>) {
        let Some(replication) = &self.replication else { return };
        if !replicas.is_empty() {
            replication.outbox.changed(key, revision, Content::Tombstone, replicas, self.moment());
        }
    }

    /// Makes all this zone's replicated keys known, as found in the store at start.
    pub(crate) fn announce_all(&self) {
        for snapshot in self.directory.all_shown() {
            self.announce(snapshot.key());
        }
        for (key, deleted) in self.directory.tombstones() {
            self.announce_tombstone(key, deleted.revision, &deleted.replicas);
        }
    }

    pub(super) fn origin_up(self: &Arc<Self>, target: &ZoneName, link: FrameSender) {
        let Some(replication) = &self.replication else { return };
        if self.stopping.is_cancelled() || !replication.knows(target) {
            return;
        }
        tracing::info!(%target, "connected to a zone");
        let queue = replication.outbox.link_up(target, self.moment());
        self.tasks.spawn(Arc::clone(self).feed(target.clone(), queue, link));
    }

    pub(super) fn origin_down(&self, target: &ZoneName, why: &str) {
        let Some(replication) = &self.replication else { return };
        if replication.knows(target) {
            tracing::info!(%target, why = fault(why).as_str(), "not connected to a zone");
            replication.outbox.link_down(target, why, self.moment());
        }
    }

    /// Sends what is handed over for `target` until its link or the service ends.
    async fn feed(self: Arc<Self>, target: ZoneName, mut queue: mpsc::Receiver<Outgoing>, link: FrameSender) {
        loop {
            let next = tokio::select! {
                () = self.stopping.cancelled() => return,
                () = link.closed() => return,
                next = queue.recv() => next,
            };
            let Some(frame) = (match next {
                None => return,
                Some(Outgoing::Request(request)) => Message::Request(request).encode().ok(),
                Some(Outgoing::State(key)) => self.frame_of(&target, key).await,
            }) else {
                continue;
            };
            tokio::select! {
                () = self.stopping.cancelled() => return,
                sent = link.send(frame) => if sent.is_err() { return },
            }
        }
    }

    /// Keeps the deadlines of the outbox until the service stops.
    pub(crate) async fn drive_replication(self: Arc<Self>) {
        let Some(replication) = &self.replication else { return };
        let outbox = &replication.outbox;
        while !self.stopping.is_cancelled() {
            let wait = {
                let now = self.uptime();
                let mut state = outbox.state();
                let wake_at = state.origin.wake_at().map_or(LONGEST_WAIT, |wake_at| wake_at.since(now));
                let wait = wake_at.min(LONGEST_WAIT);
                state.planned = Some(now.plus(wait));
                wait
            };
            tokio::select! {
                () = self.stopping.cancelled() => return,
                () = outbox.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
            self.tick_replication().await;
        }
    }

    /// Does what is due by now.
    pub(crate) async fn tick_replication(&self) {
        let Some(replication) = &self.replication else { return };
        let now = self.moment();
        replication.outbox.input(|origin| origin.tick(now));
        let retired = {
            let mut state = replication.outbox.state();
            state.tell_lag(now.uptime);
            std::mem::take(&mut state.retired)
        };
        for key in retired {
            self.retire(key).await;
        }
    }
}
