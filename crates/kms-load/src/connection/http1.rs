//! An HTTP/1.1 client that sends prepared bytes and finds the end of the answer.

use super::ANSWER_LIMIT;
use super::dial::Stream;
use crate::failure::{ExchangeFailure, FailureKind};
use std::ops::Range;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One connection.
pub(crate) struct Http1 {
    stream: Stream,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// A complete head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: usize,
    framing: Framing,
    reusable: bool,
}

const MAX_HEADERS: usize = 64;

impl Http1 {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream }
    }

    /// Sends `request` and reads one whole answer: its status, where in `buffer` its body is, and whether the connection
    /// may be used again.
    pub(super) async fn exchange(
        &mut self,
        request: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(u16, Range<usize>, bool), ExchangeFailure> {
        let closed = |error: std::io::Error| ExchangeFailure::new(FailureKind::Closed, error);
        self.stream.write_all(request).await.map_err(closed)?;
        self.stream.flush().await.map_err(closed)?;
        buffer.clear();
        let mut head: Option<Head> = None;
        loop {
            if buffer.len() > ANSWER_LIMIT {
                return Err(ExchangeFailure::new(FailureKind::Malformed, "the answer is larger than 16 MiB"));
            }
            // At least this much room, or more if the rest of the body is known to be longer.
            let wanted = match head {
                Some(Head { length, framing: Framing::Length(body), .. }) => {
                    (length + body).saturating_sub(buffer.len())
                }
                Some(_) | None => 0,
            };
            buffer.reserve(wanted.clamp(4_096, ANSWER_LIMIT));
            let read = self.stream.read_buf(buffer).await.map_err(closed)?;
            if head.is_none() {
                head = parse_head(buffer)?;
            }
            if let Some(head) = head
                && let Some((body, reusable)) = body(buffer, head, read == 0)?
            {
                return Ok((head.status, body, reusable));
            }
            if read == 0 {
                let reason = format!("the connection ended after {} bytes of the answer", buffer.len());
                return Err(ExchangeFailure::new(FailureKind::Closed, reason));
            }
        }
    }
}

/// The head, once it is there as a whole.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, ExchangeFailure> {
    let malformed = |reason: &str| ExchangeFailure::new(FailureKind::Malformed, reason);
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let length = match answer.parse(bytes) {
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(length)) => length,
        Err(error) => return Err(malformed(&error.to_string())),
    };
    let status = answer.code.unwrap_or_default();
    let mut framing = match status {
        204 | 304 => Framing::Length(0),
        _ => Framing::UntilClose,
    };
    let mut reusable = answer.version == Some(1);
    for header in answer.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).unwrap_or_default();
            let length: usize = text.trim().parse().map_err(|_| malformed("its content-length is no number"))?;
            if framing == Framing::UntilClose {
                framing = Framing::Length(length);
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunked;
        } else if header.name.eq_ignore_ascii_case("connection") && header.value.eq_ignore_ascii_case(b"close") {
            reusable = false;
        }
    }
    Ok(Some(Head { status, length, framing, reusable }))
}

/// Where the body is, once it is there as a whole. Bytes beyond it make the connection useless: nobody asked for them.
fn body(bytes: &mut [u8], head: Head, ended: bool) -> Result<Option<(Range<usize>, bool)>, ExchangeFailure> {
    match head.framing {
        Framing::Length(length) => {
            let end = head.length.saturating_add(length);
            Ok((bytes.len() >= end).then_some((head.length..end, head.reusable && bytes.len() == end)))
        }
        Framing::UntilClose => Ok(ended.then_some((head.length..bytes.len(), false))),
        Framing::Chunked => unchunk(bytes, head),
    }
}

/// Puts the chunks together in place, once all of them are there.
fn unchunk(bytes: &mut [u8], head: Head) -> Result<Option<(Range<usize>, bool)>, ExchangeFailure> {
    let malformed = |reason: &str| ExchangeFailure::new(FailureKind::Malformed, reason);
    let mut chunks: Vec<Range<usize>> = Vec::new();
    let mut at = head.length;
    let end = loop {
        match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(malformed("its chunks are not well-formed")),
            Ok(httparse::Status::Complete((line, 0))) => {
                // Trailers are read to their empty line and not looked at.
                let rest = &bytes[at + line..];
                if rest.starts_with(b"\r\n") {
                    break at + line + 2;
                }
                match rest.windows(4).position(|four| four == b"\r\n\r\n") {
                    Some(position) => break at + line + position + 4,
                    None => return Ok(None),
                }
            }
            Ok(httparse::Status::Complete((line, size))) => {
                let start = at + line;
                let size = usize::try_from(size).ok().filter(|size| *size <= ANSWER_LIMIT);
                let size = size.ok_or_else(|| malformed("a chunk is larger than 16 MiB"))?;
                if bytes.len() < start + size + 2 {
                    return Ok(None);
                }
                chunks.push(start..start + size);
                at = start + size + 2;
            }
        }
    };
    let reusable = head.reusable && bytes.len() == end;
    let mut to = head.length;
    for chunk in chunks {
        let size = chunk.len();
        bytes.copy_within(chunk, to);
        to += size;
    }
    Ok(Some((head.length..to, reusable)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str, ended: bool) -> Result<Option<(u16, String, bool)>, FailureKind> {
        let mut bytes = text.as_bytes().to_vec();
        let Some(head) = parse_head(&bytes).map_err(|failure| failure.kind)? else { return Ok(None) };
        let found = body(&mut bytes, head, ended).map_err(|failure| failure.kind)?;
        Ok(found.map(|(range, reusable)| (head.status, String::from_utf8_lossy(&bytes[range]).into_owned(), reusable)))
    }

    fn whole(text: &str) -> (u16, String, bool) {
        // Nothing shorter is an answer, unless it ends with the connection.
        for cut in 0..text.len() {
            assert_eq!(answer(&text[..cut], false), Ok(None), "{:?}", &text[..cut]);
        }
        answer(text, false).unwrap().unwrap()
    }

    #[test]
    fn a_length_says_where_the_answer_ends() {
        let text = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        assert_eq!(whole(text), (200, "hello".to_owned(), true));
        assert_eq!(answer(&format!("{text}x"), false).unwrap().unwrap(), (200, "hello".to_owned(), false));
        assert_eq!(whole("HTTP/1.1 204 No Content\r\n\r\n"), (204, String::new(), true));
        assert_eq!(
            whole("HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n"),
            (200, String::new(), false)
        );
        assert!(!whole("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").2);
    }

    #[test]
    fn chunks_are_put_together() {
        let text = "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(whole(text), (400, "abc0123456789".to_owned(), true));
        let trailers = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nt: u\r\n\r\n";
        assert_eq!(whole(trailers), (200, "a".to_owned(), true));
        let bent = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
        assert_eq!(answer(bent, false), Err(FailureKind::Malformed));
    }

    #[test]
    fn the_end_of_the_connection_ends_an_answer_without_a_length() {
        let text = "HTTP/1.1 200 OK\r\n\r\nhello";
        assert_eq!(answer(text, false), Ok(None));
        assert_eq!(answer(text, true).unwrap().unwrap(), (200, "hello".to_owned(), false));
    }

    #[test]
    fn what_is_no_answer() {
        for text in ["SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"] {
            assert_eq!(answer(text, false), Err(FailureKind::Malformed), "{text}");
        }
    }
}
