//! The first frame both ways: which version of the protocol, from which zone, to which.

use crate::frame::{FrameError, read_frame, write_frame};
use kms_types::ZoneName;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// The version of the protocol that this crate speaks.
pub(crate) const VERSION: u8 = 1;

/// Why the two sides part after their hellos.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelloError {
    #[error("it did not say hello: {0}")]
    NotSaid(#[from] FrameError),
    #[error("its hello cannot be read")]
    Garbage,
    #[error("it speaks version {0} of the protocol, this zone version {VERSION}")]
    Version(u8),
    #[error("it has the certificate of zone {proven} and says it is zone {claimed}")]
    OtherSender { proven: ZoneName, claimed: ZoneName },
    #[error("it wants to talk to zone {wanted}, and this is zone {own}")]
    OtherReceiver { wanted: ZoneName, own: ZoneName },
}

/// Says hello to `peer`, and hears from it. The certificate has proven that it is `peer`: its hello must agree.
pub(crate) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    own: &ZoneName,
    peer: &ZoneName,
    patience: Duration,
) -> Result<(), HelloError> {
    write_frame(stream, &encode(own, peer), patience).await?;
    let heard = read_frame(stream, LONGEST, patience).await?;
    check(&heard, own, peer)
}

/// Version, then sender and receiver, each behind its length in one byte.
fn encode(from: &ZoneName, to: &ZoneName) -> Vec<u8> {
    let mut hello = vec![VERSION];
    for zone in [from, to] {
        let name = zone.as_str().as_bytes();
        hello.push(u8::try_from(name.len()).expect("a zone's name has at most 63 bytes"));
        hello.extend_from_slice(name);
    }
    hello
}

fn check(hello: &[u8], own: &ZoneName, peer: &ZoneName) -> Result<(), HelloError> {
    let (version, rest) = hello.split_first().ok_or(HelloError::Garbage)?;
    // Before the rest, which another version may write differently.
    if *version != VERSION {
        return Err(HelloError::Version(*version));
    }
    let (claimed, rest) = take_zone(rest)?;
    let (wanted, rest) = take_zone(rest)?;
    if !rest.is_empty() {
        return Err(HelloError::Garbage);
    }
    if claimed != *peer {
        return Err(HelloError::OtherSender { proven: peer.clone(), claimed });
    }
    if wanted != *own {
        return Err(HelloError::OtherReceiver { wanted, own: own.clone() });
    }
    Ok(())
}

fn take_zone(bytes: &[u8]) -> Result<(ZoneName, &[u8]), HelloError> {
    let (len, rest) = bytes.split_first().ok_or(HelloError::Garbage)?;
    let (name, rest) = rest.split_at_checked(usize::from(*len)).ok_or(HelloError::Garbage)?;
    let name = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok()).ok_or(HelloError::Garbage)?;
    Ok((name, rest))
}

/// Version, and two names of at most 63 bytes behind their lengths.
const LONGEST: usize = 1 + 2 * 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> ZoneName {
        name.parse().unwrap()
    }

    #[test]
    fn a_hello_between_the_right_zones_is_taken() {
        assert_eq!(encode(&zone("a"), &zone("bc")), b"\x01\x01a\x02bc");
        check(b"\x01\x01a\x02bc", &zone("bc"), &zone("a")).unwrap();
        let longest = zone(&"z".repeat(63));
        assert_eq!(encode(&longest, &longest).len(), LONGEST);
    }

    #[test]
    fn another_sender_receiver_or_version_is_refused() {
        let (own, peer) = (zone("b"), zone("a"));
        let refused = |hello: &[u8]| check(hello, &own, &peer).unwrap_err();
        assert!(matches!(refused(b"\x01\x01c\x01b"), HelloError::OtherSender { .. }));
        assert!(matches!(refused(b"\x01\x01b\x01b"), HelloError::OtherSender { .. }));
        assert!(matches!(refused(b"\x01\x01a\x01c"), HelloError::OtherReceiver { .. }));
        assert!(matches!(refused(b"\x01\x01a\x01a"), HelloError::OtherReceiver { .. }));
        assert!(matches!(refused(b"\x02anything"), HelloError::Version(2)));
        for garbage in [
            &b""[..],
            b"\x01",
            b"\x01\x01a",
            b"\x01\x01a\x01",
            b"\x01\x01a\x01bx",
            b"\x01\xffa",
            b"\x01\x01\xff\x01b",
            b"\x01\0\0",
        ] {
            assert!(matches!(refused(garbage), HelloError::Garbage), "{garbage:?}");
        }
    }
}
