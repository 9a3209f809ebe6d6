//! The network: every message on its way, and the directions that are cut.

use std::collections::BTreeSet;

/// A zone, by its place in the cluster.
pub(crate) type ZoneIndex = usize;

#[derive(Clone)]
pub(crate) struct Packet {
    pub(crate) from: ZoneIndex,
    pub(crate) to: ZoneIndex,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct Network {
    /// On their way, in the order they were sent.
    pub(crate) packets: Vec<Packet>,
    /// Held up somewhere, to arrive long after.
    pub(crate) late: Vec<Packet>,
    cut: BTreeSet<(ZoneIndex, ZoneIndex)>,
}

/// What became of a message that was handed to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    OnItsWay,
    Cut,
}

impl Network {
    pub(crate) fn send(&mut self, packet: Packet) -> Sent {
        if self.cut.contains(&(packet.from, packet.to)) {
            return Sent::Cut;
        }
        self.packets.push(packet);
        Sent::OnItsWay
    }

    /// Cuts one direction; the other stays as it is.
    pub(crate) fn cut(&mut self, from: ZoneIndex, to: ZoneIndex) {
        self.cut.insert((from, to));
    }

    pub(crate) fn heal_one(&mut self) {
        self.cut.pop_first();
    }

    /// Nothing is cut any more; what was held up comes after all that is on its way.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.packets.append(&mut self.late);
    }
}
