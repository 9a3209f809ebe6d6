//! What a command does to a key.

use crate::change::{Change, Effect};
use crate::command::Command;
use crate::guard;
use crate::key::Key;
use crate::place::Place;
use crate::rejection::Rejection;
use crate::rotation::Schedule;
use crate::status::Status;
use crate::versions::Made;
use kms_types::{DeletionDelay, RotationPeriod, Timestamp, ZoneName};
use std::collections::BTreeSet;
use std::time::Duration;

/// What a command that is allowed does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a change is nothing until it is stored and applied"]
pub enum Decision {
    /// The key changes.
    Change(Change),
    /// The key is already as asked for: nothing is to be stored, and the revision stays.
    AlreadyApplied,
}

/// What `command` does to `key` at `now`.
///
/// When a command is refused for several reasons, the first in this order is told:
///
/// | reason | told to |
/// | --- | --- |
/// | [`KeyGone`](Rejection::KeyGone) | every command |
/// | [`NotOnReplica`](Rejection::NotOnReplica) | all but enable and disable |
/// | [`NotOnDefault`](Rejection::NotOnDefault) | all but enable, rotate and cancel deletion |
/// | [`KeyPendingDeletion`](Rejection::KeyPendingDeletion) | all but schedule and cancel deletion |
/// | [`KeyDisabled`](Rejection::KeyDisabled) | rotate, enable and disable rotation |
/// | what the command itself demands | see [`Rejection`] |
/// | [`Exhausted`](Rejection::Exhausted) | every command that would change the key |
///
/// A `now` earlier than the key's last change counts as the time of that change, so no time of a key goes back. Only
/// whether the key is gone is judged by `now` as given.
///
/// # Errors
/// The [`Rejection`]; the key is left as it is.
pub fn decide(key: &Key, command: &Command, now: Timestamp) -> Result<Decision, Rejection> {
    guard::still_there(key, now)?;
    let at = key.revision.at.max(now);
    let effect = match command {
        Command::Enable => enable(key)?,
        Command::Disable => disable(key)?,
        Command::Rotate => Some(rotate(key, at)?),
        Command::EnableRotation { period } => Some(enable_rotation(key, *period, at)?),
        Command::DisableRotation => Some(disable_rotation(key)?),
        Command::ScheduleDeletion { delay } => Some(schedule_deletion(key, *delay, at)?),
        Command::CancelDeletion => Some(cancel_deletion(key)?),
        Command::Replicate { target } => Some(replicate(key, target)?),
    };
    let Some(effect) = effect else { return Ok(Decision::AlreadyApplied) };
    Change::new(key, effect, at).map(Decision::Change).ok_or(Rejection::Exhausted)
}

fn enable(key: &Key) -> Result<Option<Effect>, Rejection> {
    match key.status {
        Status::Enabled { .. } => Ok(None),
        Status::Disabled { .. } => Ok(Some(Effect::Enable)),
        Status::PendingDeletion { .. } => Err(Rejection::KeyPendingDeletion),
    }
}

fn disable(key: &Key) -> Result<Option<Effect>, Rejection> {
    guard::not_on_default(key)?;
    match key.status {
        Status::Enabled { .. } => Ok(Some(Effect::Disable)),
        Status::Disabled { .. } => Ok(None),
        Status::PendingDeletion { .. } => Err(Rejection::KeyPendingDeletion),
    }
}

fn rotate(key: &Key, at: Timestamp) -> Result<Effect, Rejection> {
    guard::not_on_replica(key)?;
    guard::enabled(key)?;
    let rotation = key.rotation.turned_by_hand().ok_or(Rejection::ManualRotationLimit)?;
    let version = key.versions.following(key.revision.seq, at, Made::Manually).ok_or(Rejection::Exhausted)?;
    Ok(Effect::RotateManually { version, rotation })
}

fn enable_rotation(key: &Key, period: RotationPeriod, at: Timestamp) -> Result<Effect, Rejection> {
    guard::not_on_replica(key)?;
    guard::not_on_default(key)?;
    guard::enabled(key)?;
    match key.rotation.schedule() {
        Schedule::On => Err(Rejection::RotationConflict { already: Schedule::On }),
        Schedule::Off => Ok(Effect::EnableRotation { rotation: key.rotation.switched_on(period, at) }),
    }
}

fn disable_rotation(key: &Key) -> Result<Effect, Rejection> {
    guard::not_on_replica(key)?;
    guard::not_on_default(key)?;
    guard::enabled(key)?;
    match key.rotation.schedule() {
        Schedule::On => Ok(Effect::DisableRotation { rotation: key.rotation.switched_off() }),
        Schedule::Off => Err(Rejection::RotationConflict { already: Schedule::Off }),
    }
}

fn schedule_deletion(key: &Key, delay: DeletionDelay, at: Timestamp) -> Result<Effect, Rejection> {
    guard::not_on_replica(key)?;
    guard::not_on_default(key)?;
    let since = match key.status {
        Status::Enabled { .. } | Status::Disabled { .. } => at,
        Status::PendingDeletion { since, .. } => since,
    };
    let delete_at = at.plus_days(delay.days());
    // A date beyond the range of time is cut to its end: that would delete the key earlier than promised.
    if delete_at.since(at) < DAY * delay.days() {
        return Err(Rejection::Exhausted);
    }
    Ok(Effect::ScheduleDeletion { since, delete_at })
}

const DAY: Duration = Duration::from_hours(24);

fn cancel_deletion(key: &Key) -> Result<Effect, Rejection> {
    guard::not_on_replica(key)?;
    match key.status {
        Status::Enabled { .. } | Status::Disabled { .. } => Err(Rejection::NotPendingDeletion),
        Status::PendingDeletion { .. } => Ok(Effect::CancelDeletion),
    }
}

fn replicate(key: &Key, target: &ZoneName) -> Result<Effect, Rejection> {
    let replicas = match &key.place {
        Place::SingleZone => None,
        Place::Origin { replicas } => Some(replicas),
        Place::Replica { .. } => return Err(Rejection::NotOnReplica),
    };
    guard::not_on_default(key)?;
    guard::not_pending_deletion(key)?;
    let replicas = replicas.ok_or(Rejection::NotMultiZone)?;
    if *target == key.origin_zone {
        return Err(Rejection::InvalidTargetZone);
    }
    let mut replicas = BTreeSet::clone(replicas);
    if !replicas.insert(target.clone()) {
        return Err(Rejection::AlreadyReplicated);
    }
    Ok(Effect::Replicate { replicas })
}
