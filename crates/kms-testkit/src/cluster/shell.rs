//! The shell around the state machines: performs what they ask for, over the model disk and network.

use super::coverage::Coverage;
use super::dice::Dice;
use super::disk::{Conflict, Record, Write, Writer};
use super::envelope;
use super::invariants::{self, Broken, History};
use super::network::{Network, Packet, Sent, ZoneIndex};
use super::zone::{Chore, Process, Zone};
use kms_replication::{
    Answer, ApplyPermit, FailureCause, FaultText, Message, Moment, OriginAction, OriginEffects, Payload, RefusalReason,
    ReplicaAction, Reply, Request,
};
use kms_types::{KeyId, ZoneName};
use std::time::Duration;

/// All zones, the network between them, and what has happened.
pub(crate) struct Cluster {
    pub(crate) dice: Dice,
    pub(crate) now: Duration,
    pub(crate) zones: Vec<Zone>,
    pub(crate) network: Network,
    pub(crate) faults: Faults,
    pub(crate) keys: Vec<KeyId>,
    pub(crate) history: History,
    pub(crate) log: Vec<String>,
    pub(crate) coverage: Coverage,
}

/// Whether things go wrong by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Faults {
    On,
    Off,
}

/// How a write ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WriteOutcome {
    Durable,
    Failed,
    /// The store reports an error and has written all the same.
    FailedButWritten,
}

impl Cluster {
    pub(crate) fn event(&mut self, kind: &'static str, detail: impl FnOnce() -> String) {
        self.coverage.count(kind);
        self.log.push(format!("{:>10.3}  {kind}: {}", self.now.as_secs_f64(), detail()));
    }

    pub(crate) fn index(&self, name: &ZoneName) -> Result<ZoneIndex, Broken> {
        let found = self.zones.iter().position(|zone| zone.name == *name);
        found.ok_or_else(|| Broken(format!("zone {name} does not exist")))
    }

    pub(crate) fn moment(&mut self, at: ZoneIndex) -> Moment {
        let random = self.dice.roll();
        self.zones[at].moment(self.now, random)
    }

    /// Gives an input to a zone's process and performs what it wants done. Nothing if the zone is stopped.
    pub(crate) fn origin_input(
        &mut self,
        at: ZoneIndex,
        input: impl FnOnce(&mut Process, Moment) -> OriginEffects,
    ) -> Result<(), Broken> {
        let moment = self.moment(at);
        let Some(process) = &mut self.zones[at].process else { return Ok(()) };
        for action in input(process, moment) {
            self.perform(at, action)?;
        }
        Ok(())
    }

    pub(crate) fn chore(&mut self, at: ZoneIndex, chore: Chore) -> Result<(), Broken> {
        match chore {
            Chore::Announce(key) => {
                let Some(record) = self.zones[at].disk.get(key).cloned() else { return Ok(()) };
                let Record { revision, content, targets, .. } = record;
                self.origin_input(at, |process, now| process.origin.key_changed(key, revision, content, &targets, now))
            }
            Chore::Ship { target, key } => self.ship(at, target, key),
        }
    }

    /// A message arrives, if its zone runs.
    pub(crate) fn deliver(&mut self, packet: &Packet) -> Result<(), Broken> {
        let message = Message::decode(&packet.bytes).map_err(|error| Broken(format!("unreadable message: {error}")))?;
        let from = self.zones[packet.from].name.clone();
        let zone = &mut self.zones[packet.to];
        let Some(process) = &mut zone.process else {
            self.event("message to a stopped zone", || format!("{message:?}"));
            return Ok(());
        };
        match message {
            Message::Request(request) => {
                let action = process.replica.received(&from, request, &|key| zone.disk.held(key));
                match action {
                    Some(ReplicaAction::Send(reply)) => self.reply(packet.to, &reply),
                    Some(ReplicaAction::Apply { permit, payload }) => self.apply(packet.to, permit, &payload),
                    None => Ok(()),
                }
            }
            Message::Answer(answer) => {
                self.origin_input(packet.to, |process, now| process.origin.received(&from, &answer, now))
            }
        }
    }

    pub(crate) fn finish_write(&mut self, at: ZoneIndex, write: Write, outcome: WriteOutcome) -> Result<(), Broken> {
        let key = write.key;
        let committed = match outcome {
            WriteOutcome::Durable => self.zones[at].disk.commit(&write),
            WriteOutcome::FailedButWritten => self.zones[at].disk.commit(&write).and(Err(Conflict)),
            WriteOutcome::Failed => Err(Conflict),
        };
        let kind = match (outcome, &committed) {
            (WriteOutcome::Durable, Ok(())) => "write durable",
            (WriteOutcome::Durable, Err(Conflict)) => "write lost a compare-and-swap",
            (WriteOutcome::Failed, _) => "write failed",
            (WriteOutcome::FailedButWritten, _) => "write failed but is on the disk",
        };
        self.event(kind, || format!("zone {at}, {key} at {} of {}", write.record.revision, write.record.origin));
        let Some(process) = &mut self.zones[at].process else { return Ok(()) };
        match (write.writer, committed) {
            // After an error the shell reads back what is there, so it announces in either case.
            (Writer::User, Ok(()) | Err(Conflict)) => {
                let is_own = self.zones[at].disk.get(key).is_some_and(|record| record.origin == self.zones[at].name);
                if let Some(process) = self.zones[at].process.as_mut().filter(|_| is_own) {
                    process.chores.push(Chore::Announce(key));
                }
                Ok(())
            }
            (Writer::Replication(permit), Ok(())) => {
                let reply = process.replica.stored(permit);
                self.reply(at, &reply)
            }
            (Writer::Replication(permit), Err(Conflict)) => {
                let reason = RefusalReason::Failed(FaultText::cleaned("the store failed"));
                let reply = process.replica.rejected(permit, reason);
                self.reply(at, &reply)
            }
        }
    }

    pub(crate) fn send(&mut self, from: ZoneIndex, to: ZoneIndex, message: &Message) -> Result<(), Broken> {
        let bytes = message.encode().map_err(|error| Broken(format!("unwritable message: {error}")))?;
        match self.network.send(Packet { from, to, bytes }) {
            Sent::OnItsWay => self.event(kind_of(message), || format!("{from} to {to}: {message:?}")),
            Sent::Cut => self.event("message into a cut", || format!("{from} to {to}: {message:?}")),
        }
        Ok(())
    }

    fn perform(&mut self, at: ZoneIndex, action: OriginAction) -> Result<(), Broken> {
        match action {
            OriginAction::Send { target, request } => {
                let to = self.index(&target)?;
                self.send(at, to, &Message::Request(request))
            }
            OriginAction::Ship { target, key, .. } => {
                let target = self.index(&target)?;
                if self.faults == Faults::On && self.dice.chance(30) {
                    if let Some(process) = &mut self.zones[at].process {
                        process.chores.push(Chore::Ship { target, key });
                    }
                    return Ok(());
                }
                self.ship(at, target, key)
            }
            OriginAction::Failed { target, key, failure } => {
                self.event(kind_of_failure(&failure.cause), || format!("{at} to {target}, {key}: {failure:?}"));
                invariants::check_failure(self, at, key, &failure)
            }
            OriginAction::Retired { key } => {
                self.event("deleted key forgotten", || format!("zone {at}, {key}"));
                invariants::check_retired(self, at, key)?;
                // Announced once more, it is learned anew; that is no step back.
                if let Some(process) = &mut self.zones[at].process {
                    process.shown.retain(|(shown, _), _| *shown != key);
                }
                Ok(())
            }
        }
    }

    fn ship(&mut self, at: ZoneIndex, to: ZoneIndex, key: KeyId) -> Result<(), Broken> {
        let target = self.zones[to].name.clone();
        let record = self.zones[at].disk.get(key).cloned();
        let unlucky = self.faults == Faults::On && self.dice.chance(4);
        let Some(record) = record.filter(|_| !unlucky) else {
            let why = FaultText::cleaned("the record could not be read");
            return self.origin_input(at, |process, now| process.origin.ship_failed(&target, key, why, now));
        };
        let moment = self.moment(at);
        let Some(process) = &mut self.zones[at].process else { return Ok(()) };
        let known = process.origin.progress(key, &target).map(|progress| progress.wanted);
        process.origin.shipping(&target, key, record.revision, moment);
        if known.is_some_and(|known| known < record.revision) {
            self.event("shipped before announced", || format!("{at} to {to}, {key} at {}", record.revision));
        }
        let payload = envelope::seal(&target, key, &record).map_err(|error| Broken(error.to_string()))?;
        self.send(at, to, &Message::Request(Request::State { key, revision: record.revision, payload }))
    }

    fn apply(&mut self, at: ZoneIndex, permit: ApplyPermit, payload: &Payload) -> Result<(), Broken> {
        let refusal = (self.faults == Faults::On && self.dice.chance(8)).then(|| self.some_refusal());
        let zone = &mut self.zones[at];
        let Some(process) = &mut zone.process else { return Ok(()) };
        let opened = envelope::open(&zone.name, permit.from(), permit.key(), permit.revision(), payload);
        match (refusal, opened) {
            (None, Some(record)) => {
                zone.disk.submit(permit.key(), record, Writer::Replication(permit));
                Ok(())
            }
            (refusal, opened) => {
                let reason = refusal.filter(|_| opened.is_some()).unwrap_or(RefusalReason::Malformed);
                let reply = process.replica.rejected(permit, reason);
                self.reply(at, &reply)
            }
        }
    }

    fn some_refusal(&mut self) -> RefusalReason {
        match self.dice.below(3) {
            0 => RefusalReason::NameTaken,
            1 => RefusalReason::QuotaReached,
            _ => RefusalReason::Failed(FaultText::cleaned("the disk is full")),
        }
    }

    fn reply(&mut self, at: ZoneIndex, reply: &Reply) -> Result<(), Broken> {
        invariants::check_claim(self, at, reply)?;
        let to = self.index(&reply.to)?;
        self.send(at, to, &Message::Answer(reply.answer.clone()))
    }
}

fn kind_of(message: &Message) -> &'static str {
    match message {
        Message::Request(Request::Ask { .. }) => "sent: ask",
        Message::Request(Request::State { .. }) => "sent: state",
        Message::Answer(Answer::Have { .. }) => "sent: have",
        Message::Answer(Answer::Applied { .. }) => "sent: applied",
        Message::Answer(Answer::Refused { reason, .. }) => match reason {
            RefusalReason::NameTaken => "sent: refused, name taken",
            RefusalReason::QuotaReached => "sent: refused, quota reached",
            RefusalReason::NotOrigin => "sent: refused, not origin",
            RefusalReason::Deleted => "sent: refused, deleted",
            RefusalReason::Malformed => "sent: refused, malformed",
            RefusalReason::Busy => "sent: refused, busy",
            RefusalReason::Failed(_) => "sent: refused, failed",
        },
    }
}

fn kind_of_failure(cause: &FailureCause) -> &'static str {
    match cause {
        FailureCause::Refused(_) => "failure: refused",
        FailureCause::TimedOut => "failure: timed out",
        FailureCause::Disconnected(_) => "failure: disconnected",
        FailureCause::NotSent(_) => "failure: not sent",
        FailureCause::ClaimedAhead { .. } => "failure: claimed ahead",
    }
}
