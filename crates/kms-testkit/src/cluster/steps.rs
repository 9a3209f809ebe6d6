//! One step of a run: something happens, chosen by chance.

use super::disk::Record;
use super::envelope;
use super::invariants::Broken;
use super::network::{Packet, ZoneIndex};
use super::shell::{Cluster, WriteOutcome};
use super::zone::Process;
use kms_replication::{Answer, Content, FaultText, LinkState, Message, Request};
use kms_types::{KeyId, Revision, Watermark};
use std::time::Duration;

impl Cluster {
    /// Lets one thing happen.
    pub(crate) fn step(&mut self) -> Result<(), Broken> {
        let at = self.dice.index(self.zones.len()).unwrap_or(0);
        if self.zones[at].process.is_none() && self.dice.chance(20) {
            self.start(at);
            return Ok(());
        }
        match self.dice.below(100) {
            0..=36 => self.some_packet(),
            37..=39 => self.late_packet(),
            40..=54 => self.some_write(at),
            55..=64 => self.some_chore(at),
            65..=76 => self.user(at),
            77..=84 => self.pass_time(),
            85..=89 => self.connection(at),
            90..=91 => self.partition(at),
            92 => self.crash(at),
            93 => self.wall_clock_jumps(at),
            94..=95 => self.forged_answer(at),
            96..=97 => self.forged_state(at),
            _ => self.forged_revival(at),
        }
    }

    pub(crate) fn start(&mut self, at: ZoneIndex) {
        let zone = &mut self.zones[at];
        if zone.process.is_none() {
            zone.process = Some(Process::start(&zone.name, &zone.disk, self.now));
            self.event("zone starts", || format!("zone {at}"));
        }
    }

    pub(crate) fn connect(&mut self, at: ZoneIndex, other: ZoneIndex) -> Result<(), Broken> {
        let target = self.zones[other].name.clone();
        self.event("connected", || format!("{at} to {other}"));
        self.origin_input(at, |process, now| process.origin.link_up(&target, now))
    }

    fn some_packet(&mut self) -> Result<(), Broken> {
        let Some(index) = self.dice.index(self.network.packets.len()) else { return Ok(()) };
        if index > 0 {
            self.coverage.count("message overtakes others");
        }
        let packet = self.network.packets.remove(index);
        match self.dice.below(100) {
            0..=6 => {
                self.event("message lost", || format!("{} to {}", packet.from, packet.to));
                return Ok(());
            }
            7..=10 => {
                self.event("message held up", || format!("{} to {}", packet.from, packet.to));
                self.network.late.push(packet);
                return Ok(());
            }
            11..=16 => {
                self.event("message repeated", || format!("{} to {}", packet.from, packet.to));
                self.network.packets.push(packet.clone());
            }
            17..=23 => {
                self.event("message repeated long after", || format!("{} to {}", packet.from, packet.to));
                self.network.late.push(packet.clone());
            }
            _ => {}
        }
        self.coverage.count("message delivered");
        self.deliver(&packet)
    }

    /// A message that was held up, or one more copy of a message, arrives when much else has happened.
    fn late_packet(&mut self) -> Result<(), Broken> {
        let Some(index) = self.dice.index(self.network.late.len()) else { return Ok(()) };
        let packet = self.network.late.remove(index);
        self.event("message delivered late", || format!("{} to {}", packet.from, packet.to));
        self.deliver(&packet)
    }

    fn some_write(&mut self, at: ZoneIndex) -> Result<(), Broken> {
        let Some(index) = self.dice.index(self.zones[at].disk.writes.len()) else { return Ok(()) };
        let write = self.zones[at].disk.writes.remove(index);
        let outcome = match self.dice.below(20) {
            0 => WriteOutcome::Failed,
            1 => WriteOutcome::FailedButWritten,
            _ => WriteOutcome::Durable,
        };
        self.finish_write(at, write, outcome)
    }

    fn some_chore(&mut self, at: ZoneIndex) -> Result<(), Broken> {
        let Some(process) = &mut self.zones[at].process else { return Ok(()) };
        let Some(index) = self.dice.index(process.chores.len()) else { return Ok(()) };
        let chore = process.chores.remove(index);
        self.chore(at, chore)
    }

    fn pass_time(&mut self) -> Result<(), Broken> {
        let millis = match self.dice.below(10) {
            0..=5 => self.dice.below(500),
            6..=8 => 1_000 + self.dice.below(10_000),
            _ => 10_000 + self.dice.below(80_000),
        };
        self.now += Duration::from_millis(millis);
        self.coverage.count("time passes");
        for at in 0..self.zones.len() {
            let now = self.moment(at).uptime;
            let wake_at = self.zones[at].process.as_ref().and_then(|process| process.origin.wake_at());
            if wake_at.is_some_and(|wake_at| wake_at <= now) && self.dice.chance(85) {
                self.origin_input(at, |process, now| process.origin.tick(now))?;
            }
        }
        Ok(())
    }

    /// Connects two zones, again if need be, or disconnects them.
    fn connection(&mut self, at: ZoneIndex) -> Result<(), Broken> {
        let other = self.other(at);
        if !self.is_connected(at, other) || self.dice.chance(30) {
            return self.connect(at, other);
        }
        let target = self.zones[other].name.clone();
        self.event("disconnected", || format!("{at} to {other}"));
        let why = FaultText::cleaned("connection reset");
        self.origin_input(at, |process, now| process.origin.link_down(&target, why, now))
    }

    fn partition(&mut self, at: ZoneIndex) -> Result<(), Broken> {
        if self.dice.chance(60) {
            self.event("links healed", String::new);
            self.network.heal_one();
            return Ok(());
        }
        let other = self.other(at);
        self.event("one direction cut", || format!("{at} to {other}"));
        self.network.cut(at, other);
        Ok(())
    }

    fn crash(&mut self, at: ZoneIndex) -> Result<(), Broken> {
        if self.zones[at].process.take().is_none() {
            return Ok(());
        }
        let writes = self.zones[at].disk.writes.len();
        let lost = self.zones[at].disk.crash(&mut self.dice);
        self.event("zone crashes", || format!("zone {at}, {lost} of {writes} writes lost"));
        for _ in 0..lost {
            self.coverage.count("write lost in a crash");
        }
        for _ in lost..writes {
            self.coverage.count("write survives a crash unanswered");
        }
        Ok(())
    }

    fn wall_clock_jumps(&mut self, at: ZoneIndex) -> Result<(), Broken> {
        let day = 86_400_000_000_000_i64;
        let days = if self.dice.chance(50) { -day } else { day };
        let zone = &mut self.zones[at];
        zone.wall_at_start = kms_types::Timestamp::from_nanos(zone.wall_at_start.as_nanos().saturating_add(days));
        self.event("wall clock jumps", || format!("zone {at}"));
        Ok(())
    }

    /// A zone claims more of some key than there is. (That it lies about a revision that does exist cannot be seen by anyone.)
    fn forged_answer(&mut self, at: ZoneIndex) -> Result<(), Broken> {
        let (other, Some(key)) = (self.other(at), self.dice.pick(&self.keys)) else { return Ok(()) };
        let Some(revision) = Revision::new(1_000) else { return Ok(()) };
        let answer = match self.dice.below(2) {
            0 => Answer::Have { key, applied: Watermark::at(revision) },
            _ => Answer::Applied { key, revision },
        };
        self.coverage.count("forged answer");
        self.send(at, other, &Message::Answer(answer))
    }

    /// A zone offers a state of some other zone's key, sealed as well as it can, at a revision far ahead.
    fn forged_state(&mut self, at: ZoneIndex) -> Result<(), Broken> {
        let (other, Some(key)) = (self.other(at), self.dice.pick(&self.keys)) else { return Ok(()) };
        let Some(mut record) = self.zones[at].disk.get(key).cloned() else { return Ok(()) };
        if record.origin == self.zones[at].name {
            return Ok(());
        }
        let Some(revision) = Revision::new(record.revision.get() + 1_000) else { return Ok(()) };
        record.revision = revision;
        self.coverage.count("forged state");
        self.send_state(at, other, key, &record)
    }

    /// A zone that lost its memory goes on with a key of its own that it had deleted.
    fn forged_revival(&mut self, at: ZoneIndex) -> Result<(), Broken> {
        let other = self.other(at);
        let deleted = self.zones[other]
            .disk
            .records()
            .iter()
            .filter(|(_, record)| record.origin == self.zones[at].name && record.content == Content::Tombstone);
        let deleted: Vec<_> = deleted.map(|(key, _)| *key).collect();
        let Some(key) = self.dice.pick(&deleted) else { return Ok(()) };
        let Some(mut record) = self.zones[other].disk.get(key).cloned() else { return Ok(()) };
        let Some(revision) = record.revision.next() else { return Ok(()) };
        (record.revision, record.content) = (revision, Content::Key);
        self.coverage.count("forged revival");
        self.send_state(at, other, key, &record)
    }

    fn send_state(&mut self, at: ZoneIndex, to: ZoneIndex, key: KeyId, record: &Record) -> Result<(), Broken> {
        let payload = envelope::seal(&self.zones[to].name, key, record).map_err(|error| Broken(error.to_string()))?;
        self.send(at, to, &Message::Request(Request::State { key, revision: record.revision, payload }))
    }

    fn is_connected(&self, at: ZoneIndex, other: ZoneIndex) -> bool {
        let state =
            self.zones[at].process.as_ref().and_then(|process| process.origin.link_state(&self.zones[other].name));
        match state {
            Some(LinkState::Up { .. }) => true,
            Some(LinkState::New | LinkState::Down { .. }) | None => false,
        }
    }

    fn other(&mut self, at: ZoneIndex) -> ZoneIndex {
        let others: Vec<_> = (0..self.zones.len()).filter(|other| *other != at).collect();
        self.dice.pick(&others).unwrap_or(at)
    }

    /// Makes everything work again: zones run, links carry, connections stand.
    pub(crate) fn repair(&mut self) -> Result<(), Broken> {
        self.network.heal();
        for at in 0..self.zones.len() {
            self.start(at);
        }
        for at in 0..self.zones.len() {
            for other in (0..self.zones.len()).filter(|other| *other != at) {
                if !self.is_connected(at, other) {
                    self.connect(at, other)?;
                }
            }
        }
        Ok(())
    }

    /// The oldest message, write and chore each, without faults. Whether there was any.
    pub(crate) fn work_off(&mut self) -> Result<Worked, Broken> {
        let mut worked = Worked::Nothing;
        if !self.network.packets.is_empty() {
            let packet: Packet = self.network.packets.remove(0);
            self.deliver(&packet)?;
            worked = Worked::Something;
        }
        for at in 0..self.zones.len() {
            if !self.zones[at].disk.writes.is_empty() {
                let write = self.zones[at].disk.writes.remove(0);
                self.finish_write(at, write, WriteOutcome::Durable)?;
                worked = Worked::Something;
            }
            let Some(process) = &mut self.zones[at].process else { continue };
            if !process.chores.is_empty() {
                let chore = process.chores.remove(0);
                self.chore(at, chore)?;
                worked = Worked::Something;
            }
        }
        Ok(worked)
    }
}

/// Whether there was work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worked {
    Something,
    Nothing,
}
