//! The origin's side: what every target zone has of this zone's keys.

use crate::fault_text::FaultText;
use crate::link::{Deletion, Link, LinkState};
use crate::message::Answer;
use crate::moment::{Moment, Uptime};
use crate::origin_effects::{OriginAction, OriginEffects};
use crate::progress::{Content, Lag, Progress};
use crate::window::Window;
use kms_types::{KeyId, Revision, ZoneName};
use std::collections::{BTreeMap, BTreeSet};

/// The origin's side of replication, for all keys that were created in this zone and for all target zones.
///
/// It starts without knowing any watermark and learns them by asking. One small entry per key and target is all it keeps;
/// entries of a deleted key go when every target has confirmed the tombstone.
#[derive(Debug)]
pub struct Origin {
    window: Window,
    links: BTreeMap<ZoneName, Link>,
}

impl Origin {
    /// An origin that has at most `window` keys under way to each target.
    #[must_use]
    pub const fn new(window: Window) -> Self {
        Self { window, links: BTreeMap::new() }
    }

    /// `key` is at `revision`, durably in this zone, and belongs in every zone of `targets`. Registering another target is a
    /// change like any other.
    ///
    /// To be called in the order of a key's revisions; an earlier revision and whatever follows a tombstone are ignored. A
    /// new revision is tried at once, even where the last one failed.
    pub fn key_changed(
        &mut self,
        key: KeyId,
        revision: Revision,
        content: Content,
        targets: &BTreeSet<ZoneName>,
        now: Moment,
    ) -> OriginEffects {
        let mut actions = Vec::new();
        for target in targets {
            self.link(target).changed(key, revision, content, now, &mut actions);
        }
        self.retire(key, &mut actions);
        self.effects(actions)
    }

    /// There is a connection to `target`. What was under way on an earlier connection is asked about again.
    pub fn link_up(&mut self, target: &ZoneName, now: Moment) -> OriginEffects {
        let mut actions = Vec::new();
        self.link(target).up(now, &mut actions);
        self.effects(actions)
    }

    /// What `target` confirmed may not be there any more: it may have been restored from a backup while it was away. Every
    /// key is asked about again, and brought there again where the answer is less than was confirmed. Until then keys count
    /// as behind, and watermarks show what was confirmed last.
    pub fn recheck(&mut self, target: &ZoneName, now: Moment) -> OriginEffects {
        let mut actions = Vec::new();
        if let Some(link) = self.links.get_mut(target) {
            link.recheck(now, &mut actions);
        }
        self.effects(actions)
    }

    /// The connection to `target` is lost, or could not be made. To be called again for every attempt that fails.
    pub fn link_down(&mut self, target: &ZoneName, why: FaultText, now: Moment) -> OriginEffects {
        self.link(target).down(why, now);
        self.effects(Vec::new())
    }

    /// `target`, as proved by its connection, says this. Answers about keys that are not registered for it are ignored.
    pub fn received(&mut self, target: &ZoneName, answer: &Answer, now: Moment) -> OriginEffects {
        let mut actions = Vec::new();
        if let Some(link) = self.links.get_mut(target) {
            link.received(answer, now, &mut actions);
        }
        self.retire(answer.key(), &mut actions);
        self.effects(actions)
    }

    /// The state that is about to be sent for [`OriginAction::Ship`] has this revision. To be called before it is sent, at
    /// least when the revision is later than was asked for.
    pub fn shipping(&mut self, target: &ZoneName, key: KeyId, revision: Revision, now: Moment) {
        if let Some(link) = self.links.get_mut(target) {
            link.shipping(key, revision, now);
        }
    }

    /// [`OriginAction::Ship`] could not be performed.
    pub fn ship_failed(&mut self, target: &ZoneName, key: KeyId, why: FaultText, now: Moment) -> OriginEffects {
        let mut actions = Vec::new();
        if let Some(link) = self.links.get_mut(target) {
            link.ship_failed(key, why, now, &mut actions);
        }
        self.effects(actions)
    }

    /// Time has passed. To be called at [`OriginEffects::wake_at`]; at other times it does no harm.
    pub fn tick(&mut self, now: Moment) -> OriginEffects {
        let mut actions = Vec::new();
        for link in self.links.values_mut() {
            link.tick(now, &mut actions);
        }
        self.effects(actions)
    }

    /// `target` is no zone of this cluster any more: all that is known of it is forgotten.
    pub fn remove_target(&mut self, target: &ZoneName) -> OriginEffects {
        let mut actions = Vec::new();
        if let Some(link) = self.links.remove(target) {
            for key in link.keys() {
                self.retire(key, &mut actions);
            }
        }
        self.effects(actions)
    }

    /// How far `key` has come at `target`; `None` when it is not registered for it, or deleted there and everywhere.
    #[must_use]
    pub fn progress(&self, key: KeyId, target: &ZoneName) -> Option<Progress> {
        self.links.get(target)?.progress(key)
    }

    /// How far `target` is behind. After a start, keys count as behind until the target was asked about them.
    #[must_use]
    pub fn lag(&self, target: &ZoneName) -> Lag {
        self.links.get(target).map_or(Lag::None, Link::lag)
    }

    /// How many keys are under way to `target`: at most the window.
    #[must_use]
    pub fn under_way(&self, target: &ZoneName) -> usize {
        self.links.get(target).map_or(0, Link::under_way)
    }

    /// Whether `target` can be reached; `None` for a zone not heard of.
    #[must_use]
    pub fn link_state(&self, target: &ZoneName) -> Option<&LinkState> {
        self.links.get(target).map(Link::state)
    }

    /// The target zones heard of.
    pub fn targets(&self) -> impl Iterator<Item = &ZoneName> {
        self.links.keys()
    }

    /// When to call [`Origin::tick`] at the latest.
    #[must_use]
    pub fn wake_at(&self) -> Option<Uptime> {
        self.links.values().filter_map(Link::wake_at).min()
    }

    fn link(&mut self, target: &ZoneName) -> &mut Link {
        self.links.entry(target.clone()).or_insert_with(|| Link::new(target.clone(), self.window))
    }

    /// Forgets `key` if it is deleted and every target has confirmed that.
    fn retire(&mut self, key: KeyId, actions: &mut Vec<OriginAction>) {
        let deletions: Vec<_> = self.links.values().map(|link| link.deletion(key)).collect();
        if deletions.contains(&Deletion::Open) || !deletions.contains(&Deletion::Confirmed) {
            return;
        }
        for link in self.links.values_mut() {
            link.forget(key);
        }
        actions.push(OriginAction::Retired { key });
    }

    fn effects(&self, actions: Vec<OriginAction>) -> OriginEffects {
        OriginEffects { actions, wake_at: self.wake_at() }
    }
}
