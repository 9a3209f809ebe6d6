//! D4: the disk fills up under a server at work, and is freed again.

use crate::{program, scratch};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;
use zonekms_tests::changes::{Ledger, work};
use zonekms_tests::disk::Disk;
use zonekms_tests::random::Choices;
use zonekms_tests::server::{Dev, plain_get, wait_for};
use zonekms_tests::stop_flag::StopFlag;

const WORKERS: u64 = 4;

#[test]
fn a_full_disk_stops_changes_and_nothing_else() {
    let seed = Choices::seed();
    println!("ZONEKMS_TEST_SEED={seed}");
    let directory = scratch();
    let Some(disk) = Disk::create(directory.path(), 64 << 20) else {
        println!("no loop mount is permitted here: the full disk is not shown by this test");
        return;
    };
    // The log lies on the same disk: the server must live with a log that cannot be written either.
    let dev = Dev::new(program(), disk.mounted_at());
    let server = dev.start();
    let mut client = server.client();
    let key = client.create("used all the time");
    let (ciphertext, _) = client.encrypt(&key, b"kept");
    let ledgers: Vec<Mutex<Ledger>> =
        (0..WORKERS).map(|worker| Mutex::new(Ledger::new(&format!("w{worker}")))).collect();
    let filler = disk.mounted_at().join("filler");

    let stop = StopFlag::default();
    thread::scope(|scope| {
        let _at_end = stop.raise_at_end();
        for (worker, ledger) in (0..).zip(&ledgers) {
            let (client, stop) = (server.client(), &stop);
            scope.spawn(move || work(client, ledger, Choices::new(seed, worker), stop, &|| {}));
        }
        thread::sleep(Duration::from_millis(200));
        fill(&filler);
        let refused = wait_for(Duration::from_secs(60), || {
            let answer = client.post_empty(&format!("/v2/kms-key/{key}/enable-key-rotation"));
            // Already on: refused before the store is asked. So switch it first.
            let switched = client.post_empty(&format!("/v2/kms-key/{key}/disable-key-rotation"));
            [answer, switched].into_iter().find(|answer| answer.status >= 500)
        });
        let refused = refused.expect("a change on a full disk is refused");
        assert_eq!((refused.status, refused.title().as_str()), (503, "Service Unavailable"), "{}", refused.text());
        assert_eq!(refused.header("retry-after"), Some("1"));
        let ready = plain_get(server.environment.lab, "/readyz").unwrap();
        assert_eq!(ready.status, 503, "a server that takes no changes is not ready: {}", ready.text());
        assert_eq!(plain_get(server.environment.lab, "/healthz").unwrap().status, 200, "but it is alive");
        for _ in 0..100 {
            client.decrypt(&key, &ciphertext).ok();
            client.encrypt(&key, b"on a full disk");
            client.get(&format!("/v2/kms-key/{key}")).ok();
        }
    });

    std::fs::remove_file(&filler).unwrap();
    let again = wait_for(Duration::from_secs(60), || {
        let answer = client.post_empty(&format!("/v2/kms-key/{key}/rotate"));
        (answer.status == 200).then_some(())
    });
    assert!(again.is_some(), "with room on the disk changes are made again, without a restart");
    assert_eq!(plain_get(server.environment.lab, "/readyz").unwrap().status, 200, "and it is ready again");
    let mut answers = 0;
    for ledger in &ledgers {
        let mut ledger = ledger.lock().unwrap();
        answers += ledger.answers;
        ledger.verify(&mut client);
    }
    server.stop();
    let server = dev.start();
    for ledger in &ledgers {
        ledger.lock().unwrap().verify(&mut server.client());
    }
    server.client().decrypt(&key, &ciphertext).ok();
    println!("{answers} changes were answered before the disk was full, all are there");
    server.stop();
}

/// Writes until there is no room at all.
pub(crate) fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 20, 4096, 1] {
        let chunk = vec![0xaa; size];
        loop {
            match file.write_all(&chunk).and_then(|()| file.sync_data()) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("the disk is filled: {error}"),
            }
        }
    }
}
