//! The head of a frame.

/// The longest path in bytes.
pub const MAX_PATH: usize = 1 << 10;

/// The longest content of a record in bytes, 1 MiB: as much as a store takes.
pub const MAX_CONTENT: usize = 1 << 20;

/// Bytes of a padding frame's body: as many as age encrypts at a time.
pub(crate) const PADDING: usize = 1 << 16;

/// Bytes of a head.
pub(crate) const HEAD: usize = 1 + 2 + 4;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Header,
    Record,
    Removed,
    CatchUp,
    Padding,
    Trailer,
}

/// What stands before path and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) path: usize,
    pub(crate) body: usize,
}

impl Head {
    /// The bytes of the head, or `None` when a length is beyond its limit.
    pub(crate) fn encode(self) -> Option<[u8; HEAD]> {
        if self.path > MAX_PATH || self.body > MAX_CONTENT {
            return None;
        }
        let kind = match self.kind {
            Kind::Header => 0,
            Kind::Record => 1,
            Kind::Removed => 2,
            Kind::CatchUp => 3,
            Kind::Padding => 4,
            Kind::Trailer => 5,
        };
        let [path_high, path_low] = u16::try_from(self.path).ok()?.to_be_bytes();
        let [b3, b2, b1, b0] = u32::try_from(self.body).ok()?.to_be_bytes();
        Some([kind, path_high, path_low, b3, b2, b1, b0])
    }

    /// The head of those bytes, or `None` when the kind is not known or a length beyond its limit.
    pub(crate) fn decode(bytes: [u8; HEAD]) -> Option<Self> {
        let [kind, path_high, path_low, b3, b2, b1, b0] = bytes;
        let kind = match kind {
            0 => Kind::Header,
            1 => Kind::Record,
            2 => Kind::Removed,
            3 => Kind::CatchUp,
            4 => Kind::Padding,
            5 => Kind::Trailer,
            _ => return None,
        };
        let path = usize::from(u16::from_be_bytes([path_high, path_low]));
        let body = usize::try_from(u32::from_be_bytes([b3, b2, b1, b0])).ok()?;
        (path <= MAX_PATH && body <= MAX_CONTENT).then_some(Self { kind, path, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_have_one_spelling_and_keep_their_limits() {
        for (number, kind) in [Kind::Header, Kind::Record, Kind::Removed, Kind::CatchUp, Kind::Padding, Kind::Trailer]
            .into_iter()
            .enumerate()
        {
            let head = Head { kind, path: MAX_PATH, body: MAX_CONTENT };
            let bytes = head.encode().unwrap();
            assert_eq!((usize::from(bytes[0]), Head::decode(bytes)), (number, Some(head)));
        }
        assert_eq!(Head { kind: Kind::Record, path: MAX_PATH + 1, body: 0 }.encode(), None);
        assert_eq!(Head { kind: Kind::Record, path: 0, body: MAX_CONTENT + 1 }.encode(), None);
        assert_eq!(Head::decode([6, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Head::decode([1, 4, 1, 0, 0, 0, 0]), None);
        assert_eq!(Head::decode([1, 0, 0, 0, 0x10, 0, 1]), None);
    }
}
