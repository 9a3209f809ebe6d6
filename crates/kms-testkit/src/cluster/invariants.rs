//! What must hold after every step.

use super::disk::{Record, Writer};
use super::network::ZoneIndex;
use super::shell::Cluster;
use super::zone::{ORIGIN_WINDOW, REPLICA_WINDOW};
use kms_replication::{Answer, Content, Failure, FailureCause, Reply};
use kms_types::{KeyId, Revision, Watermark, ZoneName};
use std::collections::{BTreeMap, BTreeSet};

/// A rule that was broken, in words.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) String);

/// What every disk held after the last step, and what every origin ever made durable.
#[derive(Default)]
pub(crate) struct History {
    disks: Vec<BTreeMap<KeyId, Record>>,
    made: BTreeMap<(KeyId, ZoneName, Revision), (Content, u64)>,
}

/// Checks every invariant of the protocol and remembers the state for the next check.
pub(crate) fn check(cluster: &mut Cluster) -> Result<(), Broken> {
    remember_made(cluster)?;
    cluster.history.disks.resize_with(cluster.zones.len(), BTreeMap::new);
    for at in 0..cluster.zones.len() {
        check_disk(cluster, at)?;
        check_writes(cluster, at)?;
        check_process(cluster, at)?;
        cluster.history.disks[at].clone_from(cluster.zones[at].disk.records());
    }
    Ok(())
}

/// A replica claims only what it holds durably from that origin.
pub(crate) fn check_claim(cluster: &Cluster, at: ZoneIndex, reply: &Reply) -> Result<(), Broken> {
    let claimed = match &reply.answer {
        Answer::Have { applied, .. } => *applied,
        Answer::Applied { revision, .. } => Watermark::at(*revision),
        Answer::Refused { .. } => Watermark::NONE,
    };
    let held = held_from(cluster, at, reply.answer.key(), &reply.to);
    ensure(claimed <= held, || format!("zone {at} claims {claimed:?} of {:?}, holds {held:?}", reply.answer.key()))
}

/// A claim that an origin does not believe is of a revision that it never made.
pub(crate) fn check_failure(cluster: &Cluster, at: ZoneIndex, key: KeyId, failure: &Failure) -> Result<(), Broken> {
    let FailureCause::ClaimedAhead { claimed } = failure.cause else { return Ok(()) };
    let made = held_from(cluster, at, key, &cluster.zones[at].name);
    ensure(claimed > made, || format!("zone {at} does not believe that {key} is at {claimed:?}, as it is"))
}

/// An origin forgets a deleted key only when every target holds the tombstone.
pub(crate) fn check_retired(cluster: &Cluster, at: ZoneIndex, key: KeyId) -> Result<(), Broken> {
    let Some(record) = cluster.zones[at].disk.get(key) else {
        return Err(Broken(format!("zone {at} forgot {key}, which it never had")));
    };
    for target in &record.targets {
        let zone = &cluster.zones[cluster.index(target)?];
        let deleted = zone.disk.get(key).is_some_and(|held| {
            held.content == Content::Tombstone && held.origin == record.origin && held.revision == record.revision
        });
        ensure(deleted, || format!("zone {at} forgot {key} before {target} held its tombstone"))?;
    }
    Ok(())
}

/// What a zone holds durably of `key`, if it came from `origin`.
pub(crate) fn held_from(cluster: &Cluster, at: ZoneIndex, key: KeyId, origin: &ZoneName) -> Watermark {
    let held = cluster.zones[at].disk.get(key).filter(|record| record.origin == *origin);
    held.map_or(Watermark::NONE, |record| Watermark::at(record.revision))
}

pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken(what())) }
}

/// One revision of a key is one content, for ever.
fn remember_made(cluster: &mut Cluster) -> Result<(), Broken> {
    for zone in &cluster.zones {
        for (key, record) in zone.disk.records().iter().filter(|(_, record)| record.origin == zone.name) {
            let content = (record.content, record.mark);
            let made = cluster.history.made.entry((*key, zone.name.clone(), record.revision)).or_insert(content);
            ensure(*made == content, || format!("{key} at {} is two things", record.revision))?;
        }
    }
    Ok(())
}

fn check_disk(cluster: &Cluster, at: ZoneIndex) -> Result<(), Broken> {
    let now = cluster.zones[at].disk.records();
    for (key, before) in &cluster.history.disks[at] {
        let Some(record) = now.get(key) else {
            return Err(Broken(format!("zone {at} lost {key}")));
        };
        ensure(record.revision >= before.revision, || {
            format!("zone {at} went back with {key} from {} to {}", before.revision, record.revision)
        })?;
        ensure(record.origin == before.origin, || format!("zone {at} took {key} of {} over", before.origin))?;
        ensure(before.content == Content::Key || record == before, || format!("zone {at} revived {key}"))?;
    }
    for (key, record) in now {
        let made = cluster.history.made.get(&(*key, record.origin.clone(), record.revision));
        ensure(made == Some(&(record.content, record.mark)), || {
            format!("zone {at} holds {key} at {} as its origin never made it", record.revision)
        })?;
    }
    Ok(())
}

/// One state of a key is stored at a time.
fn check_writes(cluster: &Cluster, at: ZoneIndex) -> Result<(), Broken> {
    let mut keys = BTreeSet::new();
    for write in &cluster.zones[at].disk.writes {
        if let Writer::Replication(_) = write.writer {
            ensure(keys.insert(write.key), || format!("zone {at} is storing two states of {}", write.key))?;
        }
    }
    Ok(())
}

fn check_process(cluster: &mut Cluster, at: ZoneIndex) -> Result<(), Broken> {
    let Some(process) = &cluster.zones[at].process else { return Ok(()) };
    let mut shown = BTreeMap::new();
    for (target, zone) in cluster.zones.iter().enumerate() {
        let under_way = process.origin.under_way(&zone.name);
        ensure(under_way <= ORIGIN_WINDOW, || format!("zone {at} has {under_way} keys under way to {target}"))?;
        let storing = process.replica.storing(&zone.name);
        ensure(storing <= REPLICA_WINDOW, || format!("zone {at} is storing {storing} keys of {target}"))?;
        for key in &cluster.keys {
            let Some(progress) = process.origin.progress(*key, &zone.name) else { continue };
            let held = held_from(cluster, target, *key, &cluster.zones[at].name);
            ensure(progress.watermark <= held, || {
                format!("zone {at} shows {:?} of {key} at {target}, which holds {held:?}", progress.watermark)
            })?;
            let before = process.shown.get(&(*key, target)).copied().unwrap_or_default();
            ensure(progress.watermark >= before, || format!("the watermark of {key} at {target} went back"))?;
            shown.insert((*key, target), progress.watermark);
        }
    }
    if let Some(process) = &mut cluster.zones[at].process {
        process.shown = shown;
    }
    Ok(())
}
