//! The bytes that zones exchange, kept for ever in a file that a person can read.

use crate::support::{key, payload, revision, text};
use kms_replication::message::{FORMAT, MAX_MESSAGE_LEN, MAX_PAYLOAD_LEN};
use kms_replication::{Answer, FaultText, Message, MessageError, Payload, RefusalReason, Request};
use kms_types::{KeyId, Revision, Watermark};
use proptest::prelude::*;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const HEADER: &str = "\
What zones say to each other, in format 1: 01 | variant, key id (16 bytes), then the rest of the fields (postcard).
Numbers are varints, a payload and a text carry their length, variants their number, a watermark of none is 0.
These bytes never change; a new format gets a file of its own.
Made by ZONEKMS_GOLDEN=write cargo test -p kms-replication messages_keep_their_bytes
";

fn id() -> KeyId {
    "019eef19-73ef-7ce3-9ea1-fcaa367ebd8d".parse().unwrap()
}

fn refused(reason: RefusalReason) -> Message {
    Message::Answer(Answer::Refused { key: id(), revision: revision(7), reason })
}

fn samples() -> Vec<(&'static str, Message)> {
    let answer = Message::Answer;
    let request = Message::Request;
    let two_bytes = revision(300);
    let largest = revision(u64::MAX);
    vec![
        ("a question", request(Request::Ask { key: id(), revision: two_bytes })),
        ("nothing is held", answer(Answer::Have { key: id(), applied: Watermark::NONE })),
        ("a revision is held", answer(Answer::Have { key: id(), applied: Watermark::at(two_bytes) })),
        ("a state", request(Request::State { key: id(), revision: Revision::FIRST, payload: payload(b"sealed") })),
        ("a confirmation of the last revision there is", answer(Answer::Applied { key: id(), revision: largest })),
        ("refused: name taken", refused(RefusalReason::NameTaken)),
        ("refused: quota reached", refused(RefusalReason::QuotaReached)),
        ("refused: not origin", refused(RefusalReason::NotOrigin)),
        ("refused: deleted", refused(RefusalReason::Deleted)),
        ("refused: malformed", refused(RefusalReason::Malformed)),
        ("refused: busy", refused(RefusalReason::Busy)),
        ("refused: failed", refused(RefusalReason::Failed(text("disk full")))),
    ]
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn messages_keep_their_bytes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/messages-v1.txt");
    let mut text = String::from(HEADER);
    for (name, message) in samples() {
        write!(text, "\n## {name}\n{}\n{message:?}\n", hex_of(&message.encode().unwrap())).unwrap();
    }
    if std::env::var("ZONEKMS_GOLDEN").is_ok_and(|mode| mode == "write") {
        fs::write(&path, &text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap();
    assert!(golden == text, "the bytes of messages changed:\n{text}");
    let kept = golden.split("\n## ").skip(1).map(|section| {
        let hex = section.lines().nth(1).unwrap();
        hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect::<Vec<_>>()
    });
    let read: Vec<_> = kept.map(|bytes| Message::decode(&bytes).unwrap()).collect();
    assert_eq!(read, samples().into_iter().map(|(_, message)| message).collect::<Vec<_>>());
}

#[test]
fn what_is_no_message_is_refused() {
    for (name, message) in samples() {
        let bytes = message.encode().unwrap();
        for length in 1..bytes.len() {
            assert_eq!(Message::decode(&bytes[..length]), Err(MessageError::Malformed), "{name} cut to {length}");
        }
        assert_eq!(Message::decode(&[&bytes[..], &[0]].concat()), Err(MessageError::Malformed), "{name} and more");
        for found in (0..=u8::MAX).filter(|format| *format != FORMAT) {
            let other = [&[found], &bytes[1..]].concat();
            assert_eq!(Message::decode(&other), Err(MessageError::OtherFormat { found }), "{name}");
        }
    }
    assert_eq!(Message::decode(&[]), Err(MessageError::Malformed));
    assert_eq!(Message::decode(&[FORMAT, 5]), Err(MessageError::Malformed), "a variant that there is not");
}

#[test]
fn values_out_of_range_are_refused() {
    let with_revision = |variant: u8, revision: &[u8]| [&[FORMAT, variant], &id().as_bytes()[..], revision].concat();
    for variant in [0, 3] {
        assert!(Message::decode(&with_revision(variant, &[1])).is_ok(), "variant {variant}");
        assert_eq!(Message::decode(&with_revision(variant, &[0])), Err(MessageError::Malformed), "revision 0");
        assert_eq!(Message::decode(&with_revision(variant, &[0xff; 10])), Err(MessageError::Malformed), "2^64");
    }
    for bad in ["two\nlines", "\u{202e}", &"x".repeat(FaultText::MAX_LEN + 1)] {
        let length = u8::try_from(bad.len()).unwrap();
        let reason = match length {
            0..=127 => vec![6, length],
            128.. => vec![6, length, 1],
        };
        let bytes = [with_revision(4, &[1]), reason, bad.as_bytes().to_vec()].concat();
        assert_eq!(Message::decode(&bytes), Err(MessageError::Malformed), "{bad:?}");
    }
}

#[test]
fn the_longest_message_is_within_the_limit_and_no_longer_one_is_taken() {
    let payload = Payload::new(vec![7; MAX_PAYLOAD_LEN]).unwrap();
    let longest = Message::Request(Request::State { key: key(1), revision: revision(u64::MAX), payload });
    let bytes = longest.encode().unwrap();
    assert!(bytes.len() <= MAX_MESSAGE_LEN, "{} bytes", bytes.len());
    assert_eq!(Message::decode(&bytes), Ok(longest));
    let length = MAX_PAYLOAD_LEN + 1;
    assert_eq!(Payload::new(vec![7; length]), Err(MessageError::TooLong { length }));
    let length = MAX_MESSAGE_LEN + 1;
    assert_eq!(Message::decode(&vec![FORMAT; length]), Err(MessageError::TooLong { length }));
}

#[test]
fn a_payload_is_not_shown() {
    assert_eq!(format!("{:?}", payload(b"sealed")), "Payload(6 bytes)");
}

fn any_message() -> impl Strategy<Value = Message> {
    let key = any::<[u8; 16]>().prop_map(KeyId::from_bytes);
    let revision = (1..=u64::MAX).prop_map(|number| Revision::new(number).unwrap());
    let reason = prop_oneof![
        Just(RefusalReason::NameTaken),
        Just(RefusalReason::QuotaReached),
        Just(RefusalReason::NotOrigin),
        Just(RefusalReason::Deleted),
        Just(RefusalReason::Malformed),
        Just(RefusalReason::Busy),
        any::<String>().prop_map(|words| RefusalReason::Failed(FaultText::cleaned(&words))),
    ];
    (key, revision, reason, any::<Vec<u8>>(), 0..6).prop_map(|(key, revision, reason, bytes, kind)| match kind {
        0 => Message::Request(Request::Ask { key, revision }),
        1 => Message::Request(Request::State { key, revision, payload: payload(&bytes) }),
        2 => Message::Answer(Answer::Have { key, applied: Watermark::NONE }),
        3 => Message::Answer(Answer::Have { key, applied: Watermark::at(revision) }),
        4 => Message::Answer(Answer::Applied { key, revision }),
        _ => Message::Answer(Answer::Refused { key, revision, reason }),
    })
}

proptest! {
    #[test]
    fn every_message_comes_back(message in any_message()) {
        let bytes = message.encode().unwrap();
        prop_assert_eq!(Message::decode(&bytes), Ok(message));
    }

    /// Whatever is read can be written, and is then read as the same: nothing gets in that cannot be said.
    #[test]
    fn any_bytes_are_refused_or_mean_one_message(mut bytes in any::<Vec<u8>>(), variant in 0..6_u8) {
        bytes.splice(0..0, [FORMAT, variant]);
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&message.encode().unwrap()), Ok(message));
        }
    }

    #[test]
    fn a_bent_message_is_refused_or_means_another(
        message in any_message(),
        at in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let mut bytes = message.encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert_ne!(Message::decode(&bytes), Ok(message));
    }
}
