//! Links between zones that trust each other.

use crate::zone::{LONG, Plan, Told, linked};
use kms_link::{LinkLimits, NoFaults, PeerConfig, generate_identity};
use kms_service::{FrameNotSent, MAX_FRAME_LEN};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test]
async fn three_zones_talk_and_each_knows_to_whom() {
    let mut zones = linked(["zone-a", "zone-b", "zone-c"], Arc::new(NoFaults)).await;
    let names = ["zone-a", "zone-b", "zone-c"];
    for from in 0..3 {
        for to in (0..3).filter(|to| *to != from) {
            let frame = format!("from {from} to {to}").into_bytes();
            zones[from].ask(names[to], &frame).await;
            zones[to].expect(Told::Request(names[from].to_owned(), frame)).await;
        }
    }
    for zone in zones {
        zone.stop().await;
    }
}

#[tokio::test]
async fn the_longest_frame_passes_and_frames_keep_their_order() {
    let [a, mut b] = linked(["zone-a", "zone-b"], Arc::new(NoFaults)).await;
    a.send("zone-b", &vec![7; MAX_FRAME_LEN]).await;
    let frames: Vec<_> = (0..200_u32).map(|number| number.to_be_bytes().to_vec()).collect();
    for frame in &frames {
        a.send("zone-b", frame).await;
    }
    let requests = b.requests(201).await;
    assert_eq!((requests[0].len(), &requests[1..]), (MAX_FRAME_LEN, &frames[..]));
    a.stop().await;
    b.stop().await;
}

/// Our own mistake must not take the link down for everything else.
#[tokio::test]
async fn a_frame_too_long_to_send_is_left_out() {
    let [mut a, b] = linked(["zone-a", "zone-b"], Arc::new(NoFaults)).await;
    a.send("zone-b", &vec![7; MAX_FRAME_LEN + 1]).await;
    a.send("zone-b", b"next").await;
    assert_eq!(a.next().await, Told::Answer("zone-b".to_owned(), b"re:next".to_vec()));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_zone_that_restarts_is_found_again() {
    let [mut a, b] = linked(["zone-a", "zone-b"], Arc::new(NoFaults)).await;
    let identity = b.identity.clone();
    let port = b.stop().await;
    a.expect_down("zone-b").await;
    // Refused connections are told as well, one by one.
    a.expect_down("zone-b").await;
    let plan = Plan { identity, ..Plan::at(port, "zone-b").await };
    let b = plan.start(vec![a_as_peer(&a)]);
    a.expect_up("zone-b").await;
    a.ask("zone-b", b"again").await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_certificate_is_replaced_without_a_gap() {
    let (a, b) = (Plan::new("zone-a").await, Plan::new("zone-b").await);
    let new = generate_identity(&b.zone).unwrap();
    let mut b_as_peer = b.as_peer();
    b_as_peer.certificates.push(new.certificate().clone());
    let a_peer = a.as_peer();

    let mut a = a.start(vec![b_as_peer]);
    let old = b.start(vec![a_peer.clone()]);
    a.expect_up("zone-b").await;
    a.ask("zone-b", b"the old certificate").await;

    let port = old.stop().await;
    a.expect_down("zone-b").await;
    let plan = Plan { identity: new, ..Plan::at(port, "zone-b").await };
    let mut b = plan.start(vec![a_peer]);
    a.expect_up("zone-b").await;
    a.ask("zone-b", b"the new certificate").await;
    b.expect_up("zone-a").await;
    b.ask("zone-a", b"and the other way").await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_certificate_that_was_taken_out_counts_no_more() {
    let (a, b) = (Plan::new("zone-a").await, Plan::new("zone-b").await);
    let only_new =
        PeerConfig { certificates: vec![generate_identity(&b.zone).unwrap().certificate().clone()], ..b.as_peer() };
    let a_peer = a.as_peer();
    let mut a = a.start(vec![only_new]);
    let mut b = b.start(vec![a_peer]);
    let why = a.expect_down("zone-b").await;
    assert!(why.contains("is not one of those listed"), "{why}");
    b.expect_down("zone-a").await;
    for zone in [&mut a, &mut b] {
        let told = zone.told_within(Duration::from_millis(300)).await;
        assert!(told.iter().all(|told| matches!(told, Told::Down(..))), "{told:?}");
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_slow_zone_slows_its_peers_down() {
    let [a, mut b] = linked(["zone-a", "zone-b"], Arc::new(NoFaults)).await;
    b.close_gate();
    let link = a.link("zone-b");
    let mut sent = 0_usize;
    // What makes no room for so long may only have been slow: until it says that it has none.
    loop {
        if let Ok(result) = timeout(Duration::from_millis(700), link.send(numbered(sent))).await {
            result.unwrap();
        } else if let Err(refusal) = link.try_send(numbered(sent)) {
            assert_eq!(refusal, FrameNotSent::Full);
            break;
        }
        sent += 1;
        assert!(sent < 200, "{sent} frames of 256 KiB were taken, and none of them was taken in");
    }
    assert!(sent >= LinkLimits::default().outgoing_frames, "{sent}");
    b.open_gate();
    let requests = b.requests(sent).await;
    assert!(requests.iter().enumerate().all(|(number, frame)| *frame == numbered(number)), "order");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_bad_frame_costs_the_connection_and_the_link_comes_back() {
    let [mut a, mut b] = linked(["zone-a", "zone-b"], Arc::new(NoFaults)).await;
    a.send("zone-b", b"bad").await;
    a.expect_down("zone-b").await;
    a.expect_up("zone-b").await;
    a.ask("zone-b", b"good").await;
    // What B dialled is another connection, and lives on.
    assert!(!b.told_within(Duration::from_millis(50)).await.iter().any(|told| matches!(told, Told::Down(..))));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_sender_ends_with_its_connection() {
    let [mut a, b] = linked(["zone-a", "zone-b"], Arc::new(NoFaults)).await;
    let sender = a.link("zone-b");
    b.stop().await;
    a.expect_down("zone-b").await;
    timeout(LONG, sender.closed()).await.expect("the old sender is closed");
    assert_eq!(sender.try_send(vec![1]), Err(FrameNotSent::Closed));
    a.stop().await;
}

fn numbered(number: usize) -> Vec<u8> {
    let mut frame = vec![7; 1 << 18];
    frame[..8].copy_from_slice(&number.to_be_bytes());
    frame
}

fn a_as_peer(a: &crate::zone::Zone) -> PeerConfig {
    PeerConfig {
        zone: "zone-a".parse().unwrap(),
        address: a.address.to_string(),
        certificates: vec![a.identity.certificate().clone()],
    }
}
