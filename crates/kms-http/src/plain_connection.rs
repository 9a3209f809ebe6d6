//! Requests and answers on one connection without hyper, for as long as the requests are plain.
//!
//! Nearly all are, and for them hyper's header maps, body channels and buffers are most of what a crypto call costs. So a connection
//! begins here. The first request that is not plain goes to hyper, with every byte of it and all that follows: what is odd is read by one
//! reader only, and refused by it.

use crate::ahead::{Ahead, Brought};
use crate::answer_body::Content;
use crate::body::Unreadable;
use crate::front_door::FrontDoor;
use crate::head::{Framing, HeadScanner, Scanned};
use crate::limits::ConnectionLimits;
use crate::plain_head;
use crate::progress::Progress;
use crate::reply::{Afterwards, Date};
use crate::watch::Ending;
use kms_crypto::{SecretBytes, wipe};
use std::future::{pending, poll_fn};
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// A connection whose requests have been plain so far.
pub(crate) struct PlainConnection<'a, S> {
    pub(crate) front_door: &'a FrontDoor,
    pub(crate) limits: &'a ConnectionLimits,
    pub(crate) progress: &'a Progress,
    pub(crate) ending: &'a Ending,
    pub(crate) from: Option<IpAddr>,
    pub(crate) stream: &'a mut S,
    pub(crate) ahead: &'a mut Ahead,
}

/// How the plain part of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The next request, of which some may lie in the buffer, is hyper's.
    NotPlain,
    /// The connection is to be closed.
    Over(Unread),
}

/// What a client may still be sending on a connection that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    Nothing,
    /// A body that nobody reads.
    Body,
}

/// Room for the heads of answers, which take some 250 bytes, together with small contents: to copy these costs less than a second piece to
/// write.
const OUT: usize = 2048;

impl<S: AsyncRead + AsyncWrite + Unpin> PlainConnection<'_, S> {
    /// Answers requests until the next is not plain, the client leaves, or connections are to end.
    ///
    /// # Errors
    ///
    /// Those of the stream. Nothing can be said on it any more.
    pub(crate) async fn serve(self) -> io::Result<Ended> {
        let Self { front_door, limits, progress, ending, from, stream, ahead } = self;
        let (mut out, mut date) = (Vec::with_capacity(OUT), Date::new());
        loop {
            let (head_length, length) = match next_head(stream, ahead, limits, progress, ending).await? {
                Next::Head { head, body } if body <= front_door.limits().body_limit() => (head, body),
                Next::Head { .. } | Next::NotPlain => return Ok(Ended::NotPlain),
                Next::None => return Ok(Ended::Over(Unread::Nothing)),
            };
            let (head, after) = ahead.unread().split_at(head_length);
            let Some(head) = plain_head::parse(head, limits.headers) else { return Ok(Ended::NotPlain) };
            let log = front_door.begin(head.method, from);
            let here = length.min(after.len());
            let mut unread = Unread::Nothing;
            let reply = if here == length {
                if !progress.begin_whole_request() {
                    return closes_at_any_instant().await;
                }
                front_door.reply(&head, Ok(&after[..length]), log).await
            } else {
                if progress.begin_request().is_none() {
                    return closes_at_any_instant().await;
                }
                let body = front_door.in_time(&log, whole_body(stream, &after[..here], length)).await;
                if !progress.body_complete() {
                    return closes_at_any_instant().await;
                }
                match body {
                    Ok(body) => front_door.reply(&head, Ok(body.expose()), log).await,
                    Err(problem) => {
                        unread = Unread::Body;
                        front_door.reply(&head, Err(problem), log).await
                    }
                }
            };
            ahead.take(head_length + here);
            let afterwards = if ending.has_begun() { Afterwards::Closes } else { Afterwards::GoesOn };
            let (content, afterwards) = reply.write_head(afterwards, date.at(front_door.now()), &mut out);
            send(stream, progress, &mut out, &content).await?;
            progress.answered();
            match afterwards {
                Afterwards::GoesOn => {}
                Afterwards::Closes => return Ok(Ended::Over(unread)),
            }
        }
    }
}

/// What a connection has next.
enum Next {
    /// A whole head of a body of a certain length, both in bytes.
    Head { head: usize, body: usize },
    /// A head that hyper has to read.
    NotPlain,
    /// Nothing more.
    None,
}

/// Waits until the connection has made way for another: nothing may be done on it any more.
async fn closes_at_any_instant<T>() -> T {
    pending().await
}

async fn next_head<S: AsyncRead + Unpin>(
    stream: &mut S,
    ahead: &mut Ahead,
    limits: &ConnectionLimits,
    progress: &Progress,
    ending: &Ending,
) -> io::Result<Next> {
    let (mut scanner, mut scanned) = (HeadScanner::default(), 0);
    loop {
        let unread = ahead.unread();
        if scanned < unread.len() {
            match scanner.take(&unread[scanned..]) {
                Scanned::Unfinished => {
                    scanned = unread.len();
                    progress.head_arrives(None);
                }
                Scanned::Complete { taken, framing } => {
                    let head = scanned + taken;
                    let body = match framing {
                        Framing::Length(length) if head <= limits.header_bytes => usize::try_from(length).ok(),
                        Framing::Length(_) | Framing::Chunked | Framing::Ambiguous(_) => None,
                    };
                    return Ok(body.map_or(Next::NotPlain, |body| Next::Head { head, body }));
                }
            }
        }
        let filled = poll_fn(|cx| {
            // Half a head is not waited for.
            if ending.has_begun() {
                return Poll::Ready(Ok(Brought::End));
            }
            ahead.poll_fill(stream, cx)
        });
        match filled.await? {
            Brought::More => {}
            Brought::NoRoom => return Ok(Next::NotPlain),
            Brought::End => return Ok(Next::None),
        }
    }
}

/// A body of `length` bytes that begins with `begun`, read straight into memory that is wiped.
async fn whole_body<S: AsyncRead + Unpin>(
    stream: &mut S,
    begun: &[u8],
    length: usize,
) -> Result<SecretBytes, Unreadable> {
    let mut whole = SecretBytes::zeroed(length);
    let (here, rest) = whole.expose_mut().split_at_mut(begun.len());
    here.copy_from_slice(begun);
    stream.read_exact(rest).await.map_err(|_| Unreadable::Broken)?;
    Ok(whole)
}

/// Sends a head and its content, and empties `head`.
async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    progress: &Progress,
    head: &mut Vec<u8>,
    content: &Content,
) -> io::Result<()> {
    let mut behind = content.expose();
    // Never a larger vector: the old one could not be wiped.
    if head.len() + behind.len() <= head.capacity() {
        head.extend_from_slice(behind);
        behind = &[];
    }
    let sent = {
        let head = Underway { bytes: head, content };
        send_both(stream, progress, head.bytes, behind).await
    };
    head.clear();
    sent
}

/// A head that is on its way, perhaps with `content` behind it. What is secret is wiped whatever becomes of it, and so also when the
/// connection is given up before its client has taken all.
struct Underway<'a> {
    bytes: &'a mut [u8],
    content: &'a Content,
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        match self.content {
            Content::Public(_) => {}
            Content::Secret(_) => wipe(self.bytes),
        }
    }
}

async fn send_both<S: AsyncWrite + Unpin>(
    stream: &mut S,
    progress: &Progress,
    mut first: &[u8],
    mut second: &[u8],
) -> io::Result<()> {
    poll_fn(|cx| {
        while !first.is_empty() || !second.is_empty() {
            let mut stream = Pin::new(&mut *stream);
            let written = match (first, second) {
                ([], only) | (only, []) => stream.as_mut().poll_write(cx, only),
                both => stream.as_mut().poll_write_vectored(cx, &[IoSlice::new(both.0), IoSlice::new(both.1)]),
            };
            let Poll::Ready(written) = written else {
                progress.answer_waits();
                return Poll::Pending;
            };
            let written = written?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_first = written.min(first.len());
            (first, second) = (&first[of_first..], &second[written - of_first..]);
        }
        let flushed = Pin::new(&mut *stream).poll_flush(cx);
        if flushed.is_pending() {
            progress.answer_waits();
        }
        flushed
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use tokio::io::duplex;

    /// Sends a plaintext to a client that takes `taken` bytes of the answer, gives up if that is not all, and shows what is left of it.
    async fn left_behind(taken: usize) -> (bool, Vec<u8>) {
        let (mut stream, _client) = duplex(taken);
        let mut out = Vec::with_capacity(OUT);
        out.extend_from_slice(b"head ");
        let content = Content::Secret(SecretBytes::copy_from(b"plaintext"));
        let progress = Progress::new();
        let sent = {
            let mut sending = pin!(send(&mut stream, &progress, &mut out, &content));
            poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx).is_ready())).await
        };
        (sent, out)
    }

    #[tokio::test]
    async fn a_plaintext_is_wiped_also_when_its_client_does_not_take_it() {
        assert_eq!(left_behind(14).await, (true, Vec::new()));
        assert_eq!(left_behind(13).await, (false, vec![0; 14]));
    }
}
