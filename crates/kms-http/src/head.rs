//! A look at each request's head before hyper parses it.
//!
//! hyper resolves heads that two servers in a row could read differently: it drops `Content-Length` beside
//! `Transfer-Encoding`, merges repeated ones and takes a bare line feed for a line's end, all unseen. Behind a proxy that resolves them the
//! other way, one client's body becomes another's request. So they are found here, and refused (RFC 9112 section 6.3). A fragment in the request
//! target goes the same way: hyper drops it, so what the client signed would not be what is verified (RFC 9112 section 3.2 has none).

use memchr::memchr;

/// How a request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// That many bytes; 0 without `Content-Length`.
    Length(u64),
    /// By chunks.
    Chunked,
    /// Not known for certain: the head has this.
    Ambiguous(Ambiguity),
}

/// What another server could read differently. In a request's extensions: it must be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ambiguity {
    /// Where the body ends.
    Length,
    /// Which target is meant: it has a fragment.
    Target,
}

/// Reads one head, in pieces as they arrive.
#[derive(Debug, Default)]
pub(crate) struct HeadScanner {
    length: usize,
    /// The beginning of a line that has not ended yet.
    unfinished: Vec<u8>,
    lines: usize,
    content_length: Option<u64>,
    chunked: bool,
    ambiguity: Option<Ambiguity>,
}

/// What a piece of input meant for a head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scanned {
    /// All of it belongs to the head, which goes on.
    Unfinished,
    /// The first `taken` bytes end the head; the rest is body.
    Complete { taken: usize, framing: Framing },
}

impl HeadScanner {
    /// The number of bytes that the head has so far.
    pub(crate) const fn length(&self) -> usize {
        self.length
    }

    /// Takes the next bytes of the head.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Scanned {
        let mut taken = 0;
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            let Some(end) = memchr(b'\n', rest) else {
                self.length += rest.len();
                self.unfinished.extend_from_slice(rest);
                return Scanned::Unfinished;
            };
            let line = &rest[..end];
            taken += end + 1;
            self.length += end + 1;
            let ended = if self.unfinished.is_empty() {
                self.end_line(line)
            } else {
                let mut whole = std::mem::take(&mut self.unfinished);
                whole.extend_from_slice(line);
                self.end_line(&whole)
            };
            if ended {
                return Scanned::Complete { taken, framing: self.framing() };
            }
        }
        Scanned::Unfinished
    }

    /// Notes a line, given without its line feed. Whether it was the empty line that ends the head.
    fn end_line(&mut self, line: &[u8]) -> bool {
        let bare = line.strip_suffix(b"\r").unwrap_or_else(|| {
            self.ambiguity = Some(Ambiguity::Length);
            line
        });
        if bare.is_empty() {
            // Empty lines in front of a request line are no part of the head (RFC 9112 section 2.2).
            return self.lines > 0;
        }
        self.lines += 1;
        if self.lines == 1 {
            self.note_request_line(bare);
        } else if let Some(colon) = memchr(b':', bare) {
            self.note_field(&bare[..colon], bare[colon + 1..].trim_ascii());
        }
        false
    }

    fn note_request_line(&mut self, line: &[u8]) {
        // A method may have the sign.
        if memchr(b' ', line).is_some_and(|space| memchr(b'#', &line[space..]).is_some()) {
            self.ambiguity.get_or_insert(Ambiguity::Target);
        }
    }

    fn note_field(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let length = str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
            if self.content_length.is_some() || length.is_none() {
                self.ambiguity = Some(Ambiguity::Length);
            }
            self.content_length = length;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                self.ambiguity = Some(Ambiguity::Length);
            }
            self.chunked = true;
        }
    }

    const fn framing(&self) -> Framing {
        match (self.ambiguity, self.chunked, self.content_length) {
            (Some(Ambiguity::Length), _, _) | (_, true, Some(_)) => Framing::Ambiguous(Ambiguity::Length),
            (Some(Ambiguity::Target), _, _) => Framing::Ambiguous(Ambiguity::Target),
            (None, true, None) => Framing::Chunked,
            (None, false, Some(length)) => Framing::Length(length),
            (None, false, None) => Framing::Length(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framing(fields: &str) -> Framing {
        let head = format!("POST /v2/kms-key HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        match HeadScanner::default().take(head.as_bytes()) {
            Scanned::Complete { taken, framing } if taken == head.len() => framing,
            other @ (Scanned::Complete { .. } | Scanned::Unfinished) => panic!("{head}: {other:?}"),
        }
    }

    #[test]
    fn one_length_or_chunks_but_never_both() {
        assert_eq!(framing(""), Framing::Length(0));
        assert_eq!(framing("Content-Length: 5\r\n"), Framing::Length(5));
        assert_eq!(framing("content-length:5\r\nX: 1\r\n"), Framing::Length(5));
        assert_eq!(framing("Transfer-Encoding: chunked\r\n"), Framing::Chunked);
        assert_eq!(framing("X-Content-Length: 5\r\nTransfer-Encodings: x\r\n"), Framing::Length(0));
        for ambiguous in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nCONTENT-LENGTH: 6\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length:\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "X: 1\nContent-Length: 5\r\n",
        ] {
            assert_eq!(framing(ambiguous), Framing::Ambiguous(Ambiguity::Length), "{ambiguous:?}");
        }
    }

    #[test]
    fn a_fragment_makes_the_target_ambiguous() {
        for (line, expected) in [
            ("GET /v2/zone#a HTTP/1.1", Framing::Ambiguous(Ambiguity::Target)),
            ("GET /v2/zone?a#b HTTP/1.1", Framing::Ambiguous(Ambiguity::Target)),
            ("GET /v2/zone# HTTP/1.1", Framing::Ambiguous(Ambiguity::Target)),
            ("G#T /v2/zone HTTP/1.1", Framing::Length(0)),
            ("GET /v2/zone%23a HTTP/1.1", Framing::Length(0)),
        ] {
            let head = format!("{line}\r\nX: #\r\n\r\n");
            let scanned = HeadScanner::default().take(head.as_bytes());
            assert_eq!(scanned, Scanned::Complete { taken: head.len(), framing: expected }, "{line}");
        }
    }

    #[test]
    fn a_head_ends_at_its_first_empty_line() {
        let mut scanner = HeadScanner::default();
        let input = b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET /";
        assert_eq!(scanner.take(input), Scanned::Complete { taken: input.len() - 5, framing: Framing::Length(0) });
        let bare = HeadScanner::default().take(b"GET / HTTP/1.1\n\nrest");
        assert_eq!(bare, Scanned::Complete { taken: 16, framing: Framing::Ambiguous(Ambiguity::Length) });
        assert_eq!(HeadScanner::default().take(b"GET / HTTP/1.1\r\nHost: a\r\n"), Scanned::Unfinished);
    }

    proptest! {
        #[test]
        fn pieces_mean_what_the_whole_means(
            fields in proptest::collection::vec(
                prop_oneof!["Content-Length: [0-9]{1,3}", "Transfer-Encoding: chunked", "[A-Za-z-]{1,9}: [ -~]{0,20}", "\n"], 0..6),
            cuts in proptest::collection::vec(0..200_usize, 0..9),
        ) {
            let head = format!("\r\nPOST /x HTTP/1.1\r\n{}\r\n\r\n", fields.join("\r\n"));
            let whole = HeadScanner::default().take(head.as_bytes());
            let mut scanner = HeadScanner::default();
            let mut at = 0;
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(head.len())).chain([head.len()]).collect();
            cuts.sort_unstable();
            for cut in cuts {
                match scanner.take(&head.as_bytes()[at..cut]) {
                    Scanned::Unfinished => at = cut,
                    Scanned::Complete { taken, framing } => {
                        prop_assert_eq!(&whole, &Scanned::Complete { taken: at + taken, framing });
                        return Ok(());
                    }
                }
            }
            prop_assert_eq!(whole, Scanned::Unfinished);
        }
    }
}
