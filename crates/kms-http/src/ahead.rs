//! Bytes that were read from a connection before anyone asked for them.

use kms_crypto::wipe;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// A connection's buffer. It may hold bodies, so what was taken from it is wiped.
pub(crate) struct Ahead {
    bytes: Box<[u8]>,
    /// `from..to` was not taken yet.
    from: usize,
    to: usize,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brought {
    /// More bytes.
    More,
    /// The stream's end.
    End,
    /// Nothing: there is no room for more.
    NoRoom,
}

/// Room for the head and body of every request but those with large plaintexts.
const ROOM: usize = 8 * 1024;

impl Ahead {
    /// With nothing in it.
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; ROOM].into_boxed_slice(), from: 0, to: 0 }
    }

    /// What was read and not yet taken.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }

    /// Whether all was taken.
    pub(crate) const fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// Takes the first `count` bytes of the unread ones, which are wiped.
    pub(crate) fn take(&mut self, count: usize) {
        let taken = &mut self.bytes[self.from..self.to][..count];
        wipe(taken);
        self.from += count;
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        }
    }

    /// Reads more behind what is unread.
    pub(crate) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Brought>> {
        if self.from > 0 {
            let unread = self.to - self.from;
            self.bytes.copy_within(self.from..self.to, 0);
            // What moved away leaves nothing behind.
            wipe(&mut self.bytes[unread..self.to]);
            (self.from, self.to) = (0, unread);
        }
        if self.to == self.bytes.len() {
            return Poll::Ready(Ok(Brought::NoRoom));
        }
        let mut room = ReadBuf::new(&mut self.bytes[self.to..]);
        ready!(Pin::new(stream).poll_read(cx, &mut room))?;
        let read = room.filled().len();
        self.to += read;
        Poll::Ready(Ok(if read == 0 { Brought::End } else { Brought::More }))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.take(self.to - self.from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    async fn fill(ahead: &mut Ahead, stream: &mut &[u8]) -> Brought {
        poll_fn(|cx| ahead.poll_fill(stream, cx)).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_taken_is_wiped_and_what_is_left_moves_up() {
        let mut ahead = Ahead::new();
        assert_eq!(fill(&mut ahead, &mut &b"head and body"[..]).await, Brought::More);
        ahead.take(5);
        assert_eq!((ahead.unread(), &ahead.bytes[..5]), (&b"and body"[..], &[0; 5][..]));
        assert_eq!(fill(&mut ahead, &mut &b", more"[..]).await, Brought::More);
        assert_eq!(ahead.unread(), b"and body, more");
        ahead.take(14);
        assert!(ahead.is_empty() && ahead.bytes.iter().all(|byte| *byte == 0));
        assert_eq!(fill(&mut ahead, &mut &b""[..]).await, Brought::End);
    }

    #[tokio::test]
    async fn there_is_room_for_so_much() {
        let (mut ahead, input) = (Ahead::new(), vec![1; ROOM + 1]);
        let mut stream = &input[..];
        assert_eq!(fill(&mut ahead, &mut stream).await, Brought::More);
        assert_eq!(
            (fill(&mut ahead, &mut stream).await, ahead.unread().len(), stream.len()),
            (Brought::NoRoom, ROOM, 1)
        );
    }
}
