//! Promise 1, for a power cut: the server's data lies on a small file system of its own; at the instant of an answer
//! the server is frozen, the image of the block device is copied as it is, mounted elsewhere and started.

use crate::{program, scratch};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use zonekms_tests::changes::{Ledger, work};
use zonekms_tests::disk::Disk;
use zonekms_tests::exo2::Credential;
use zonekms_tests::random::Choices;
use zonekms_tests::server::{Dev, wait_for};
use zonekms_tests::stop_flag::StopFlag;

const WORKERS: u64 = 4;
/// After so many cuts the next ones begin with an empty file system.
const CUTS_PER_DISK: u64 = 10;

#[test]
fn nothing_answered_is_lost_in_a_power_cut() {
    cut(3);
}

/// `cargo test -p zonekms-tests -- --ignored --nocapture a_hundred_power_cuts`
#[test]
#[ignore = "a hundred power cuts take minutes"]
fn nothing_answered_is_lost_in_a_hundred_power_cuts() {
    cut(100);
}

fn cut(times: u64) {
    let seed = Choices::seed();
    println!("ZONEKMS_TEST_SEED={seed}");
    let begin = Instant::now();
    let (mut cuts, mut answers, mut opened) = (0, 0, 0);
    while cuts < times {
        let directory = scratch();
        let Some(disk) = Disk::create(directory.path(), 96 << 20) else {
            println!("no loop mount is permitted here: the power cut is not shown by this test");
            return;
        };
        let server = Dev::new(program(), disk.mounted_at()).start();
        let ledgers: Vec<Mutex<Ledger>> =
            (0..WORKERS).map(|worker| Mutex::new(Ledger::new(&format!("w{worker}")))).collect();
        let stop = StopFlag::default();
        // Counts answers down; the answer that reaches zero freezes the server.
        let until_cut = AtomicU64::new(u64::MAX);
        let pid = server.process.pid();
        let answered = || {
            if until_cut.fetch_sub(1, Ordering::SeqCst) == 1 {
                kill_process(pid, Signal::STOP).unwrap();
            }
        };
        thread::scope(|scope| {
            let _at_end = stop.raise_at_end();
            for (worker, ledger) in (0..).zip(&ledgers) {
                let choices = Choices::new(seed, 1000 + cuts * WORKERS + worker);
                let (client, stop, answered) = (server.client(), &stop, &answered);
                scope.spawn(move || work(client, ledger, choices, stop, answered));
            }
            let mut moments = Choices::new(seed, cuts);
            for _ in 0..CUTS_PER_DISK.min(times - cuts) {
                until_cut.store(1 + moments.below(60), Ordering::SeqCst);
                wait_until_frozen(pid);
                until_cut.store(u64::MAX, Ordering::SeqCst);
                let copy = disk.copy();
                // Every answer that a worker has read by now was sent before the server froze.
                let mut known: Vec<Ledger> = ledgers.iter().map(|ledger| ledger.lock().unwrap().clone()).collect();
                server.process.resume();

                let api_key = &server.environment.credential;
                opened += survive(&copy, (api_key, &mut known), &mut moments);
                cuts += 1;
            }
        });
        server.stop();
        answers += ledgers.iter().map(|ledger| ledger.lock().unwrap().answers).sum::<u64>();
    }
    println!(
        "{cuts} power cuts, each followed by two more: no answered change lost ({answers} were made), {opened} ciphertexts opened, {:?}",
        begin.elapsed()
    );
}

/// Starts a server on a disk that lost its power, cuts it again while it starts and once more after its first change, and
/// checks each time that everything is there. Gives how many ciphertexts were opened.
fn survive(disk: &Disk, (api_key, known): (&Credential, &mut [Ledger]), moments: &mut Choices) -> usize {
    let starting = Dev::new(program(), disk.mounted_at()).spawn();
    thread::sleep(Duration::from_micros(moments.below(40_000)));
    starting.pause();
    wait_until_frozen(starting.pid());
    let second = disk.copy();
    drop(starting);

    let server = Dev::new(program(), second.mounted_at()).start();
    assert_eq!(server.environment.credential, *api_key, "the API key was kept");
    let mut client = server.client();
    let mut opened = known.iter_mut().map(|ledger| ledger.verify(&mut client)).sum();
    let key = client.create("made after the first cut");
    server.process.pause();
    wait_until_frozen(server.process.pid());
    let third = second.copy();
    server.kill();

    let server = Dev::new(program(), third.mounted_at()).start();
    let mut client = server.client();
    client.encrypt(&key, b"after three cuts");
    opened += known.iter_mut().map(|ledger| ledger.verify(&mut client)).sum::<usize>();
    server.stop();
    opened
}

/// Waits until the process, which was told to stop, writes nothing more.
fn wait_until_frozen(pid: Pid) {
    let frozen = wait_for(Duration::from_secs(120), || is_frozen(pid.as_raw_pid()).then_some(()));
    frozen.expect("the server stops");
}

/// Whether every thread of the process has stopped: the state in `/proc/PID/stat` is that of the main thread, and a
/// group stop is complete when its parent is told, so all tasks are looked at.
fn is_frozen(pid: i32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.flatten().all(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}
