//! An entry as one line of JSON. Written by hand: a crypto call waits for it.
//!
//! A line is `{"seq":N,"prev":"...",` and then the entry's own members. The first two are the writer's: only it knows the
//! order. What is written here is the rest, the entry's body, from `"time"` to the line feed.

use crate::keys::ContextKey;
use crate::stamp::StampWriter;
use crate::tree::TreeHash;
use kms_crypto::EncryptionContext;
use kms_service::{Actor, AuditEntry, Outcome};
use kms_types::Timestamp;
use std::io::Write;

/// Writes the body of `entry`, with its line feed, to the end of `out`.
pub(crate) fn write_body(
    out: &mut Vec<u8>,
    entry: &AuditEntry<'_>,
    zone: &str,
    contexts: &ContextKey,
    stamps: &mut StampWriter,
) {
    begin_body(out, entry.time, zone, entry.operation, stamps);
    match entry.outcome {
        Outcome::Done => out.extend_from_slice(b",\"result\":\"ok\""),
        Outcome::Refused { status, reason } => {
            out.extend_from_slice(b",\"result\":\"refused\"");
            if let Some(status) = status {
                number(out, "status", status.into());
            }
            text(out, "reason", reason);
        }
    }
    actor(out, &entry.actor);
    if let Some(organisation) = entry.organisation {
        text(out, "organisation", organisation.as_str());
    }
    if let Some(key) = entry.key {
        shown(out, "key", format_args!("{key}"));
    }
    if let Some(version) = entry.version {
        number(out, "version", version.get().into());
    }
    context(out, "context", entry.context, contexts);
    if let Some(destination) = entry.destination {
        shown(out, "destination-key", format_args!("{}", destination.key));
        number(out, "destination-version", destination.version.get().into());
        context(out, "destination-context", destination.context, contexts);
    }
    if let Some(revision) = entry.revision {
        number(out, "revision", revision.get());
    }
    if let Some(commit) = entry.commit {
        number(out, "commit", commit.get());
    }
    if let Some(settled) = entry.settled {
        number(out, "settled", settled.revision.get());
        stamp(out, "settled-at", settled.at, stamps);
    }
    if let Some(count) = entry.count {
        number(out, "count", count);
    }
    end_body(out);
}

/// Writes what every body begins with.
pub(crate) fn begin_body(out: &mut Vec<u8>, time: Timestamp, zone: &str, operation: &str, stamps: &mut StampWriter) {
    out.extend_from_slice(b"\"time\":\"");
    stamps.write(out, time);
    out.push(b'"');
    text(out, "zone", zone);
    text(out, "operation", operation);
}

/// Writes what every body ends with.
pub(crate) fn end_body(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}\n");
}

/// Writes the line of `body` to the end of `out`, and gives its leaf.
pub(crate) fn write_line(out: &mut Vec<u8>, seq: u64, previous: [u8; 8], body: &[u8]) -> TreeHash {
    let begin = out.len();
    out.extend_from_slice(b"{\"seq\":");
    decimal(out, seq);
    out.extend_from_slice(b",\"prev\":\"");
    hexadecimal(out, &previous);
    out.extend_from_slice(b"\",");
    out.extend_from_slice(body);
    TreeHash::of_leaf(out[begin..].strip_suffix(b"\n").unwrap_or(&out[begin..]))
}

/// The sequence number and the link that `line` begins with.
pub(crate) fn read_place(line: &[u8]) -> Option<(u64, &[u8])> {
    let rest = line.strip_prefix(b"{\"seq\":")?;
    let comma = rest.iter().position(|byte| *byte == b',')?;
    let digits = str::from_utf8(&rest[..comma]).ok()?;
    let seq = digits.parse::<u64>().ok().filter(|seq| seq.to_string() == digits)?;
    let link = rest[comma..].strip_prefix(b",\"prev\":\"")?.get(..16)?;
    Some((seq, link))
}

fn actor(out: &mut Vec<u8>, actor: &Actor<'_>) {
    match actor {
        Actor::Caller(caller) => {
            text(out, "by", "caller");
            text(out, "organisation", caller.organisation().as_str());
            text(out, "credential", caller.credential());
            origin(out, caller.origin());
        }
        Actor::Anonymous(request) => {
            text(out, "by", "anonymous");
            origin(out, *request);
        }
        Actor::Stranger(address) => {
            text(out, "by", "anonymous");
            shown(out, "address", format_args!("{address}"));
        }
        Actor::Scheduler => text(out, "by", "scheduler"),
        Actor::Peer(zone) => {
            text(out, "by", "peer");
            text(out, "peer", zone.as_str());
        }
        Actor::Server => text(out, "by", "server"),
        Actor::Operator => text(out, "by", "operator"),
    }
}

fn origin(out: &mut Vec<u8>, origin: kms_service::RequestOrigin) {
    if let Some(address) = origin.address {
        shown(out, "address", format_args!("{address}"));
    }
    member(out, "request");
    out.push(b'"');
    hexadecimal(out, &origin.id.to_be_bytes());
    out.push(b'"');
}

fn context(out: &mut Vec<u8>, name: &str, context: EncryptionContext<'_>, contexts: &ContextKey) {
    if let Some(hash) = contexts.hash(context) {
        member(out, name);
        out.push(b'"');
        hexadecimal(out, &hash);
        out.push(b'"');
    }
}

fn stamp(out: &mut Vec<u8>, name: &str, time: Timestamp, stamps: &mut StampWriter) {
    member(out, name);
    out.push(b'"');
    stamps.write(out, time);
    out.push(b'"');
}

/// A member whose text needs no escaping.
fn shown(out: &mut Vec<u8>, name: &str, value: std::fmt::Arguments<'_>) {
    member(out, name);
    out.push(b'"');
    out.write_fmt(value).expect("a vector takes everything");
    out.push(b'"');
}

pub(crate) fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    member(out, name);
    decimal(out, value);
}

fn member(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A member with any text. Everything but printable ASCII is escaped, so that no text can end the line, leave its string, or
/// steer the terminal that shows it.
pub(crate) fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    member(out, name);
    out.push(b'"');
    if value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        out.extend_from_slice(value.as_bytes());
    } else {
        for unit in value.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte @ b' '..=b'~') if byte != b'"' && byte != b'\\' => out.push(byte),
                Ok(_) | Err(_) => {
                    out.extend_from_slice(b"\\u");
                    hexadecimal(out, &unit.to_be_bytes());
                }
            }
        }
    }
    out.push(b'"');
}

pub(crate) fn hexadecimal(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
}

fn decimal(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).expect("a digit is below ten");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    proptest! {
        #[test]
        fn any_text_is_one_json_string_in_one_line(value: String, noise in "[\u{0}-\u{1f}\"\\\\\u{7f}-\u{9f}\u{202e}\u{2028}\u{1f600}]{0,9}") {
            let value = value + &noise;
            let mut out = b"{\"a\":1".to_vec();
            text(&mut out, "text", &value);
            end_body(&mut out);
            prop_assert_eq!(out.iter().filter(|byte| !(b' '..=b'~').contains(*byte)).count(), 1, "the line feed alone");
            let read: Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(read["text"].as_str(), Some(value.as_str()));
        }

        #[test]
        fn numbers_are_what_they_are(value: u64) {
            let mut out = Vec::new();
            decimal(&mut out, value);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }

    #[test]
    fn a_place_has_one_spelling() {
        let mut line = Vec::new();
        let leaf = write_line(&mut line, 7, [0xab; 8], b"\"time\":\"x\"}\n");
        assert_eq!(line, b"{\"seq\":7,\"prev\":\"abababababababab\",\"time\":\"x\"}\n");
        assert_eq!(leaf, TreeHash::of_leaf(&line[..line.len() - 1]));
        assert_eq!(read_place(&line), Some((7, &b"abababababababab"[..])));
        for other in [
            "{\"seq\":07,\"prev\":\"abababababababab\"",
            "{\"seq\":7,\"prev\":\"ab\"",
            "{\"seq\": 7",
            "",
            "{\"seq\":-7,",
        ] {
            assert_eq!(read_place(other.as_bytes()), None, "{other}");
        }
    }
}
