//! The byte stream under a connection: it hands heads to hyper one at a time, and notes what the connection is waiting for.

use crate::ahead::Ahead;
use crate::head::{Framing, HeadScanner, Scanned};
use crate::progress::Progress;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};

/// A connection's stream.
pub(crate) struct WatchedStream<S> {
    /// Limited to the rest of a body while one is read straight into hyper's buffer.
    inner: Take<S>,
    progress: Progress,
    header_bytes: usize,
    expecting: Expecting,
    /// Bytes read ahead of hyper.
    ahead: Ahead,
}

/// What the next byte of input belongs to.
enum Expecting {
    Head(HeadScanner),
    Body {
        remaining: u64,
    },
    /// Nothing after this is looked at: the end of the body is hyper's to find, and the connection closes after it.
    Last,
}

impl<S: AsyncRead> WatchedStream<S> {
    /// Watches `inner`, of which `ahead` was read already and begins with a head. Heads may have at most `header_bytes`; hyper must have
    /// the same limit, and refuses longer ones.
    pub(crate) fn new(inner: S, ahead: Ahead, progress: Progress, header_bytes: usize) -> Self {
        let expecting = Expecting::Head(HeadScanner::default());
        Self { inner: inner.take(u64::MAX), progress, header_bytes, expecting, ahead }
    }

    /// Whether a request's body was left unread.
    pub(crate) const fn has_unread_body(&self) -> bool {
        match self.expecting {
            Expecting::Head(_) => false,
            Expecting::Body { remaining } => remaining > 0,
            Expecting::Last => true,
        }
    }

    /// The stream underneath.
    pub(crate) fn into_inner(self) -> S {
        self.inner.into_inner()
    }

    /// Hands over as much of what was read ahead as belongs together.
    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) {
        let unread = self.ahead.unread();
        let room = buf.remaining().min(unread.len());
        let given = match &mut self.expecting {
            Expecting::Head(scanner) => {
                let head_room = room.min(self.header_bytes.saturating_sub(scanner.length()));
                match scanner.take(&unread[..head_room]) {
                    Scanned::Unfinished => {
                        self.progress.head_arrives(None);
                        if scanner.length() >= self.header_bytes {
                            self.expecting = Expecting::Last;
                        }
                        head_room
                    }
                    Scanned::Complete { taken, framing } => {
                        self.progress.head_arrives(Some(framing));
                        let (given, expecting) = match framing {
                            Framing::Length(length) => {
                                let body = at_most(length, room - taken);
                                (taken + body, Expecting::Body { remaining: length - body as u64 })
                            }
                            Framing::Chunked | Framing::Ambiguous(_) => (taken, Expecting::Last),
                        };
                        self.expecting = expecting;
                        given
                    }
                }
            }
            Expecting::Body { remaining } => {
                let given = at_most(*remaining, room);
                *remaining -= given as u64;
                given
            }
            Expecting::Last => room,
        };
        buf.put_slice(&unread[..given]);
        self.ahead.take(given);
    }
}

/// The smaller of a length on the wire and one in memory.
fn at_most(length: u64, room: usize) -> usize {
    usize::try_from(length).map_or(room, |length| length.min(room))
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if matches!(this.expecting, Expecting::Body { remaining: 0 }) {
            this.expecting = Expecting::Head(HeadScanner::default());
        }
        if this.ahead.is_empty() {
            match &mut this.expecting {
                Expecting::Head(_) => {
                    // Empty, so there is room; at the end nothing is handed over, which is how hyper sees it.
                    ready!(this.ahead.poll_fill(&mut this.inner, cx))?;
                }
                Expecting::Body { remaining } => {
                    let before = buf.filled().len();
                    this.inner.set_limit(*remaining);
                    let read = Pin::new(&mut this.inner).poll_read(cx, buf);
                    this.inner.set_limit(u64::MAX);
                    *remaining -= (buf.filled().len() - before) as u64;
                    return read;
                }
                Expecting::Last => return Pin::new(&mut this.inner).poll_read(cx, buf),
            }
        }
        if !this.ahead.is_empty() {
            this.hand_over(buf);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.inner.get_mut()).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(self.inner.get_mut()).poll_flush(cx))?;
        self.progress.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.inner.get_mut()).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.get_ref().is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.inner.get_mut()).poll_write_vectored(cx, slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pieces(input: &[u8], header_bytes: usize) -> Vec<String> {
        let mut stream = WatchedStream::new(input, Ahead::new(), Progress::new(), header_bytes);
        let mut pieces = Vec::new();
        let mut buf = [0; 64];
        loop {
            match stream.read(&mut buf).await.unwrap() {
                0 => return pieces,
                read => pieces.push(String::from_utf8(buf[..read].to_vec()).unwrap()),
            }
        }
    }

    #[tokio::test]
    async fn no_two_heads_are_handed_over_together() {
        let first = "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
        let second = "GET /b HTTP/1.1\r\n\r\n";
        let third = "GET /c HTTP/1.1\r\n\r\n";
        let input = format!("{first}{second}{third}");
        assert_eq!(pieces(input.as_bytes(), 1024).await, [first, second, third]);
        let long = format!("POST /d HTTP/1.1\r\nContent-Length: 100\r\n\r\n{}", "x".repeat(100));
        let input = format!("{long}{second}");
        assert_eq!(pieces(input.as_bytes(), 1024).await, [&long[..64], &long[64..128], &long[128..], second]);
    }

    #[tokio::test]
    async fn nothing_is_told_apart_after_a_body_without_length() {
        let first = "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let rest = "0\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\n\r\n";
        let input = format!("{first}{rest}");
        assert_eq!(pieces(input.as_bytes(), 1024).await, [first, rest]);
    }

    #[tokio::test]
    async fn a_head_over_the_limit_is_handed_over_up_to_the_limit_first() {
        let input = "GET /aaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n\r\n";
        assert_eq!(pieces(input.as_bytes(), 20).await, [&input[..20], &input[20..]]);
    }

    #[tokio::test]
    async fn what_was_read_before_comes_first() {
        let (mut ahead, mut read) = (Ahead::new(), &b"POST /a HTTP/1.1\r\nContent-Le"[..]);
        std::future::poll_fn(|cx| ahead.poll_fill(&mut read, cx)).await.unwrap();
        let rest = &b"ngth: 2\r\n\r\n{}GET /b HTTP/1.1\r\n\r\n"[..];
        let mut stream = WatchedStream::new(rest, ahead, Progress::new(), 1024);
        let (mut all, mut buf) = (Vec::new(), [0; 64]);
        while let read @ 1.. = stream.read(&mut buf).await.unwrap() {
            all.push(String::from_utf8(buf[..read].to_vec()).unwrap());
        }
        assert_eq!(all, ["POST /a HTTP/1.1\r\nContent-Le", "ngth: 2\r\n\r\n{}", "GET /b HTTP/1.1\r\n\r\n"]);
    }
}
