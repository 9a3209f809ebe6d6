//! The end of a run: faults stop, and everything must come to rest at the truth.

use super::disk::Record;
use super::invariants::{self, Broken, ensure};
use super::network::ZoneIndex;
use super::shell::{Cluster, Faults};
use super::steps::Worked;
use kms_replication::{Content, FailureCause, Progress, RefusalReason, Stage};
use kms_types::{KeyId, Watermark};
use std::time::Duration;

/// Far more work than a run can leave behind.
const MOST_ROUNDS: usize = 20_000;

/// How long the cluster may take once everything works: a slow retry, its chance part, and a timeout, twice.
const MOST_TIME: Duration = Duration::from_secs(240);

impl Cluster {
    /// Repairs everything, lets the cluster come to rest and checks that every replica equals its origin.
    pub(crate) fn come_to_rest(&mut self) -> Result<(), Broken> {
        self.faults = Faults::Off;
        self.event("faults stop", String::new);
        self.repair()?;
        let deadline = self.now + MOST_TIME;
        for _ in 0..MOST_ROUNDS {
            let worked = self.work_off()?;
            invariants::check(self)?;
            if worked == Worked::Something {
                continue;
            }
            if self.is_settled() {
                return self.check_rest();
            }
            self.now += Duration::from_millis(500);
            ensure(self.now < deadline, || "the cluster does not come to rest".to_owned())?;
            for at in 0..self.zones.len() {
                self.origin_input(at, |process, now| process.origin.tick(now))?;
            }
        }
        Err(Broken("the cluster works for ever".to_owned()))
    }

    /// Nobody is behind but those that can never be served.
    fn is_settled(&self) -> bool {
        (0..self.zones.len()).all(|at| {
            self.own_keys_and_targets(at).all(|(key, _, target)| {
                let Some(process) = &self.zones[at].process else { return false };
                match process.origin.progress(key, &self.zones[target].name) {
                    None => true,
                    Some(progress) if self.is_taken(at, key, target) => tells_it_is_taken(&progress),
                    Some(progress) => progress.stage == Stage::Confirmed,
                }
            })
        })
    }

    fn check_rest(&self) -> Result<(), Broken> {
        for at in 0..self.zones.len() {
            for (key, record, target) in self.own_keys_and_targets(at) {
                self.check_replica(at, key, record, target)?;
            }
        }
        Ok(())
    }

    fn check_replica(&self, at: ZoneIndex, key: KeyId, record: &Record, target: ZoneIndex) -> Result<(), Broken> {
        let Some(process) = &self.zones[at].process else {
            return Err(Broken(format!("zone {at} does not run at the end")));
        };
        let progress = process.origin.progress(key, &self.zones[target].name);
        if self.is_taken(at, key, target) {
            let refused = progress.is_some_and(|progress| tells_it_is_taken(&progress));
            return ensure(refused, || format!("{key} of {at} does not tell that {target} has another key of that id"));
        }
        let held = self.zones[target].disk.get(key).map(|held| (held.revision, held.content, held.mark));
        ensure(held == Some((record.revision, record.content, record.mark)), || {
            format!("{key} of {at} is {record:?}, at {target} {held:?}")
        })?;
        match (progress, record.content) {
            (None, Content::Tombstone) => Ok(()),
            (None, Content::Key) => Err(Broken(format!("zone {at} forgot {key}"))),
            (Some(progress), _) => {
                let confirmed = progress.watermark == Watermark::at(record.revision)
                    && progress.stage == Stage::Confirmed
                    && progress.last_failure.is_none();
                ensure(confirmed, || format!("{key} of {at} at {target}: {progress:?}"))?;
                let others_taken =
                    self.own_keys_and_targets(at).any(|(other, _, zone)| other == key && self.is_taken(at, key, zone));
                ensure(record.content == Content::Key || others_taken, || format!("zone {at} still keeps {key}"))
            }
        }
    }

    /// Whether `target` has a key of that id from another origin, so that this one can never come there.
    fn is_taken(&self, at: ZoneIndex, key: KeyId, target: ZoneIndex) -> bool {
        self.zones[target].disk.get(key).is_some_and(|held| held.origin != self.zones[at].name)
    }

    fn own_keys_and_targets(&self, at: ZoneIndex) -> impl Iterator<Item = (KeyId, &Record, ZoneIndex)> {
        let zone = &self.zones[at];
        zone.disk.records().iter().filter(|(_, record)| record.origin == zone.name).flat_map(move |(key, record)| {
            let targets = (0..self.zones.len()).filter(|target| record.targets.contains(&self.zones[*target].name));
            targets.map(move |target| (*key, record, target))
        })
    }
}

/// The origin waits, and shows that there is another key of that id.
fn tells_it_is_taken(progress: &Progress) -> bool {
    let refused = progress
        .last_failure
        .as_ref()
        .is_some_and(|failure| failure.cause == FailureCause::Refused(RefusalReason::NotOrigin));
    refused && progress.watermark == Watermark::NONE && matches!(progress.stage, Stage::Pausing { .. })
}
