//! Faults between zones: each does what it says, and in its direction alone.

use crate::zone::{Told, linked};
use kms_link::{FrameFaults, FrameVerdict};
use kms_types::ZoneName;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// For so long a frame waits for another to overtake it, and then goes on alone: what took longer shows nothing.
const HELD: Duration = Duration::from_millis(200);

#[tokio::test]
async fn drop_duplicate_and_reorder_touch_one_direction() {
    use FrameVerdict::{Deliver, Drop, Duplicate, Reorder};
    let faults = Arc::new(Scripted::default());
    let [mut a, mut b] = linked(["zone-a", "zone-b"], Arc::clone(&faults) as _).await;
    let mut answers = 0;
    'scripts: for (script, arrives) in [
        (vec![Deliver, Deliver, Deliver], &b"012"[..]),
        (vec![Drop, Deliver, Deliver], b"12"),
        (vec![Deliver, Duplicate, Deliver], b"0112"),
        (vec![Reorder, Deliver, Deliver], b"102"),
        (vec![Deliver, Deliver, Reorder], b"012"),
    ] {
        for _ in 0..20 {
            faults.script(script.clone());
            let began = Instant::now();
            for frame in [b"0", b"1", b"2"] {
                a.send("zone-b", frame).await;
            }
            let mut requests = b.requests(arrives.len()).await.concat();
            let took = began.elapsed();
            requests.extend(requests_of(b.told_within(Duration::from_millis(50)).await).concat());
            answers += requests.len();
            if requests == arrives {
                continue 'scripts;
            }
            assert!(script.contains(&Reorder) && took >= HELD, "{script:?} made {requests:?} within {took:?}");
        }
        panic!("three frames never came within {HELD:?}");
    }
    // The answers, and the requests of the other side, all came through.
    for _ in 0..answers {
        assert!(matches!(a.next().await, Told::Answer(..)));
    }
    faults.script(vec![Drop; 10]);
    for frame in [b"0", b"1", b"2"] {
        b.send("zone-a", frame).await;
    }
    assert_eq!(a.requests(3).await.concat(), b"012");
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_delay_delays_one_direction_and_does_not_add_up() {
    let faults = Arc::new(Scripted::default());
    let [mut a, mut b] = linked(["zone-a", "zone-b"], Arc::clone(&faults) as _).await;
    let delay = Duration::from_secs(5);
    faults.script(vec![FrameVerdict::Delay(delay); 10]);
    let began = Instant::now();
    for number in 0..10 {
        a.send("zone-b", &[number]).await;
    }
    // Meanwhile the other direction is quick. (The answer to B comes from A: it uses up one delay.)
    b.send("zone-a", b"quick").await;
    assert_eq!(a.requests(1).await, [b"quick"]);
    assert!(began.elapsed() < delay, "{:?}", began.elapsed());
    assert_eq!(b.requests(10).await.concat(), (0..10).collect::<Vec<u8>>());
    assert!(began.elapsed() >= delay && began.elapsed() < delay * 9, "{:?}", began.elapsed());
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_cut_closes_all_connections_and_none_comes_about_until_it_heals() {
    let faults = Arc::new(Scripted::default());
    let [mut a, mut b] = linked(["zone-a", "zone-b"], Arc::clone(&faults) as _).await;
    faults.cut(true);
    // Idle connections end as well, in both directions.
    a.expect_down("zone-b").await;
    b.expect_down("zone-a").await;
    for zone in [&mut a, &mut b] {
        let told = zone.told_within(Duration::from_millis(600)).await;
        assert_eq!(told, [], "while cut");
    }
    faults.cut(false);
    a.expect_up("zone-b").await;
    b.expect_up("zone-a").await;
    a.ask("zone-b", b"healed").await;
    b.ask("zone-a", b"healed").await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_cut_of_two_zones_leaves_the_third_alone() {
    let faults = Arc::new(Scripted::default());
    let [mut a, mut b, mut c] = linked(["zone-a", "zone-b", "zone-c"], Arc::clone(&faults) as _).await;
    faults.cut(true);
    a.expect_down("zone-b").await;
    b.expect_down("zone-a").await;
    a.ask("zone-c", b"from a").await;
    b.ask("zone-c", b"from b").await;
    c.ask("zone-a", b"from c").await;
    for zone in [a, b, c] {
        zone.stop().await;
    }
}

/// Follows a script for the frames from zone A to zone B; everything else is delivered.
#[derive(Default)]
struct Scripted {
    verdicts: Mutex<VecDeque<FrameVerdict>>,
    cut: Mutex<bool>,
}

impl Scripted {
    fn script(&self, verdicts: Vec<FrameVerdict>) {
        *self.verdicts.lock().unwrap() = verdicts.into();
    }

    fn cut(&self, cut: bool) {
        *self.cut.lock().unwrap() = cut;
    }
}

impl FrameFaults for Scripted {
    fn verdict(&self, from: &ZoneName, to: &ZoneName) -> FrameVerdict {
        if self.is_cut(from, to) {
            return FrameVerdict::Cut;
        }
        if (from.as_str(), to.as_str()) != ("zone-a", "zone-b") {
            return FrameVerdict::Deliver;
        }
        self.verdicts.lock().unwrap().pop_front().unwrap_or(FrameVerdict::Deliver)
    }

    fn is_cut(&self, from: &ZoneName, to: &ZoneName) -> bool {
        *self.cut.lock().unwrap() && (from.as_str(), to.as_str()) == ("zone-a", "zone-b")
    }
}

fn requests_of(told: Vec<Told>) -> Vec<Vec<u8>> {
    told.into_iter()
        .filter_map(|told| match told {
            Told::Request(_, frame) => Some(frame),
            Told::Up(_) | Told::Down(..) | Told::Answer(..) => None,
        })
        .collect()
}
