//! SIGKILL at any instant: every answered change is there, every change is whole.

use crate::support::Seeded;
use crate::workload::{Child, State, TASKS, check};
use std::thread;
use std::time::Duration;

#[tokio::test]
async fn nothing_answered_is_lost_when_the_process_is_killed() {
    kill_again_and_again(10).await;
}

#[tokio::test]
#[ignore = "takes a minute: cargo test -p kms-storage --test storage -- --ignored --nocapture hundred_kills"]
async fn nothing_answered_is_lost_in_a_hundred_kills() {
    kill_again_and_again(100).await;
}

async fn kill_again_and_again(trials: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Seeded(trials);
    let mut state: State = vec![0; TASKS as usize];
    let mut answers = 0;
    for trial in 0..trials {
        let mut child = Child::start(folder.path());
        if trial % 4 == 3 {
            // Some die while the store is still being opened.
            thread::sleep(Duration::from_millis(random.below(60)));
        } else {
            child.wait_for_acks(1 + random.below(400));
            thread::sleep(Duration::from_micros(random.below(3000)));
        }
        let (acks, count) = child.kill();
        let answered: State = state.iter().zip(acks).map(|(before, ack)| ack.max(*before)).collect();
        state = check(folder.path(), &answered).await;
        answers += count;
    }
    println!("{trials} kills, {answers} answered commits, none lost, none in part");
    assert!(answers > trials * 20, "{answers} answers are too few to show anything");
}
