//! Those who are not who they should be, or send what nobody should.

use crate::logs::expect_line;
use crate::raw::{Raw, hello, impostor};
use crate::zone::{LONG, Plan, Told, Zone};
use kms_link::{LinkLimits, PeerConfig, certificate_fingerprint};
use kms_service::MAX_FRAME_LEN;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::version;

#[tokio::test]
async fn an_unknown_certificate_is_refused_and_logged() {
    let (a, stranger) = (Plan::new("zone-a").await, Plan::new("zone-b").await);
    // The same name as a zone that A lists, and another certificate.
    let real = Plan::new("zone-b").await;
    let a_peer = a.as_peer();
    let mut a = a.start(vec![real.as_peer()]);
    let fingerprint = certificate_fingerprint(stranger.identity.certificate());
    let mut stranger = stranger.start(vec![a_peer]);
    let why = stranger.expect_down("zone-a").await;
    assert!(why.contains("alert"), "{why}");
    expect_line(&["peer-refused", &fingerprint, "WARN"]).await;
    nothing_but_downs(&mut a).await;
    nothing_but_downs(&mut stranger).await;
    a.stop().await;
    stranger.stop().await;
}

#[tokio::test]
async fn a_server_with_an_unknown_certificate_is_refused_and_logged() {
    let (a, impostor) = (Plan::new("zone-a").await, Plan::new("zone-b").await);
    let real = Plan::new("zone-b").await;
    let a_peer = a.as_peer();
    let fingerprint = certificate_fingerprint(impostor.identity.certificate());
    let redirected = PeerConfig { address: impostor.address().to_string(), ..real.as_peer() };
    let mut a = a.start(vec![redirected]);
    let impostor = impostor.start(vec![a_peer]);
    let why = a.expect_down("zone-b").await;
    assert!(why.contains(&fingerprint), "{why}");
    expect_line(&["peer-refused", &fingerprint, "peer=zone-b", "WARN"]).await;
    nothing_but_downs(&mut a).await;
    a.stop().await;
    impostor.stop().await;
}

/// Certificates are public: whoever shows one must have its key.
#[tokio::test]
async fn a_listed_certificate_without_its_key_is_refused_either_way() {
    let (a, b, thief) = (Plan::new("zone-a").await, Plan::new("zone-b").await, Plan::new("zone-b").await);
    let impostor = impostor(&b.identity, &thief.identity).await;
    let mut a = a.start(vec![PeerConfig { address: impostor.to_string(), ..b.as_peer() }]);
    let why = a.expect_down("zone-b").await;
    assert!(why.contains("BadSignature"), "{why}");

    let mut raw = Raw::dial_with_stolen(a.address, &b.identity, &thief.identity).await.unwrap();
    raw.send(&hello(1, "zone-b", "zone-a")).await;
    raw.expect_closed().await;
    expect_line(&["peer-refused", "remote=", "BadSignature"]).await;
    nothing_but_downs(&mut a).await;
    // With the key it is let in: it was the key.
    let mut raw = Raw::link(a.address, &b.identity, "zone-b", "zone-a").await;
    raw.send(b"with its key").await;
    assert_eq!(raw.receive().await.unwrap(), b"re:with its key");
    a.stop().await;
}

#[tokio::test]
async fn a_known_certificate_for_another_zone_is_refused() {
    let (a, b, c) = (Plan::new("zone-a").await, Plan::new("zone-b").await, Plan::new("zone-c").await);
    let (b_peer, c_peer) = (b.as_peer(), c.as_peer());
    // B dials A as zone C, whom A lists as well.
    let mut a = a.start(vec![b_peer, c_peer]);
    let mut raw = Raw::dial(a.address, Some(&b.identity), &version::TLS13).await.unwrap();
    raw.send(&hello(1, "zone-c", "zone-a")).await;
    raw.expect_closed().await;
    expect_line(&["peer-refused", "it has the certificate of zone zone-b and says it is zone zone-c"]).await;
    // B means to talk to zone C, and finds A.
    let mut raw = Raw::dial(a.address, Some(&b.identity), &version::TLS13).await.unwrap();
    raw.send(&hello(1, "zone-b", "zone-c")).await;
    raw.expect_closed().await;
    expect_line(&["peer-refused", "it wants to talk to zone zone-c, and this is zone zone-a"]).await;
    nothing_but_downs(&mut a).await;
    a.stop().await;
}

#[tokio::test]
async fn a_dialled_zone_that_says_it_is_another_is_refused() {
    // B's certificate is listed for zone C by mistake: B itself says who it is.
    let (a, b) = (Plan::new("zone-a").await, Plan::new("zone-b").await);
    let mistaken = PeerConfig { zone: "zone-c".parse().unwrap(), ..b.as_peer() };
    let a_peer = a.as_peer();
    let mut a = a.start(vec![mistaken]);
    let b = b.start(vec![a_peer]);
    let why = a.expect_down("zone-c").await;
    assert!(why.contains("certificate of zone zone-c and says it is zone zone-b"), "{why}");
    nothing_but_downs(&mut a).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_garbage_hello_is_refused() {
    let (mut a, b) = one_peer(LinkLimits::default()).await;
    for (what, garbage) in [
        ("no hello at all", vec![0xa5; 64]),
        ("another version", hello(2, "zone-b", "zone-a")),
        ("an empty one", vec![]),
        ("not quite one", hello(1, "zone-b", "zone_a")),
        ("more than a hello", vec![1; 4096]),
    ] {
        let mut raw = Raw::dial(a.address, Some(&b.identity), &version::TLS13).await.unwrap();
        raw.send(&garbage).await;
        timeout(LONG, raw.expect_closed()).await.unwrap_or_else(|_| panic!("{what}"));
    }
    expect_line(&["peer-refused", "its hello cannot be read"]).await;
    expect_line(&["peer-refused", "it did not say hello: a frame of 4096 bytes was announced"]).await;
    expect_line(&["peer-refused", "it speaks version 2 of the protocol"]).await;
    nothing_but_downs(&mut a).await;
    a.stop().await;
}

#[tokio::test]
async fn without_tls_a_certificate_or_version_1_3_nobody_comes_in() {
    let (mut a, b) = one_peer(LinkLimits::default()).await;
    let mut plain = TcpStream::connect(a.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(LONG, plain.read_to_end(&mut rest)).await.expect("closed");
    // In TLS 1.3 a client learns only when it reads that it was turned away.
    let mut bare = Raw::dial(a.address, None, &version::TLS13).await.unwrap();
    bare.send(&hello(1, "zone-b", "zone-a")).await;
    bare.expect_closed().await;
    expect_line(&["peer-refused", "peer sent no certificates"]).await;
    assert!(Raw::dial(a.address, Some(&b.identity), &version::TLS12).await.is_err());
    nothing_but_downs(&mut a).await;
    a.stop().await;
}

#[tokio::test]
async fn a_frame_longer_than_allowed_is_refused_before_it_comes() {
    let (mut a, b) = one_peer(LinkLimits::default()).await;
    for announced in [u32::try_from(MAX_FRAME_LEN).unwrap() + 1, u32::MAX] {
        let mut raw = Raw::link(a.address, &b.identity, "zone-b", "zone-a").await;
        raw.send_bytes(&announced.to_be_bytes()).await;
        raw.expect_closed().await;
        expect_line(&["peer-refused", "peer=zone-b", &format!("{announced} bytes was announced")]).await;
    }
    let mut raw = Raw::link(a.address, &b.identity, "zone-b", "zone-a").await;
    raw.send(b"a good one").await;
    assert_eq!(raw.receive().await.unwrap(), b"re:a good one");
    assert_eq!(a.requests(1).await, [b"a good one"]);
    a.stop().await;
}

#[tokio::test]
async fn a_frame_that_is_begun_and_not_finished_ends_the_connection() {
    let limits = LinkLimits { frame_timeout: Duration::from_millis(200), ..LinkLimits::default() };
    let (a, b) = one_peer(limits).await;
    let mut raw = Raw::link(a.address, &b.identity, "zone-b", "zone-a").await;
    raw.send_bytes(b"\0\0\0\x09half").await;
    raw.expect_closed().await;
    a.stop().await;
}

#[tokio::test]
async fn one_zone_holds_no_more_connections_than_allowed_and_the_newest_stay() {
    let limits = LinkLimits { connections_per_peer: 2, ..LinkLimits::default() };
    let (a, b) = one_peer(limits).await;
    let mut raws = Vec::new();
    for _ in 0..4 {
        let mut raw = Raw::link(a.address, &b.identity, "zone-b", "zone-a").await;
        raw.send(b"here").await;
        assert_eq!(raw.receive().await.unwrap(), b"re:here");
        raws.push(raw);
    }
    let newest = raws.split_off(2);
    for raw in raws {
        raw.expect_closed().await;
    }
    for mut raw in newest {
        raw.send(b"still").await;
        assert_eq!(raw.receive().await.unwrap(), b"re:still");
    }
    a.stop().await;
}

#[tokio::test]
async fn a_flood_of_silent_connections_is_bounded_and_keeps_nobody_out() {
    let limits = LinkLimits { unauthenticated: 4, handshake_timeout: Duration::from_secs(15), ..LinkLimits::default() };
    let (a, b) = one_peer(limits).await;
    let began = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(a.address).await.unwrap());
    }
    // All but the four newest are closed at once, long before their time is over.
    let newest = silent.split_off(96);
    for stream in silent {
        expect_end(stream).await;
    }
    assert!(began.elapsed() < limits.handshake_timeout, "{:?}", began.elapsed());
    let mut raw = Raw::link(a.address, &b.identity, "zone-b", "zone-a").await;
    raw.send(b"through the flood").await;
    assert_eq!(raw.receive().await.unwrap(), b"re:through the flood");
    assert!(began.elapsed() < limits.handshake_timeout, "{:?}", began.elapsed());
    // The others have until the deadline.
    for stream in newest {
        expect_end(stream).await;
    }
    raw.send(b"and after it").await;
    assert_eq!(raw.receive().await.unwrap(), b"re:and after it");
    a.stop().await;
}

/// Zone A running, which lists B; B does not run.
async fn one_peer(limits: LinkLimits) -> (Zone, Plan) {
    let (a, b) = (Plan::new("zone-a").await, Plan::new("zone-b").await);
    let nowhere = PeerConfig { address: "127.0.0.1:1".to_owned(), ..b.as_peer() };
    (Plan { limits, ..a }.start(vec![nowhere]), b)
}

async fn expect_end(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("the connection is still open");
}

async fn nothing_but_downs(zone: &mut Zone) {
    let told = zone.told_within(Duration::from_millis(300)).await;
    assert!(told.iter().all(|told| matches!(told, Told::Down(..))), "{told:?}");
}
