//! Deletions that become final when the server dies.

use super::{DELETION_POINTS, PATIENCE, was_killed};
use crate::{program, scratch};
use serde_json::json;
use zonekms_tests::client::{Connection, Request};
use zonekms_tests::crash_at;
use zonekms_tests::server::Dev;

const KEYS: usize = 8;

#[test]
fn crash_matrix_of_deletions() {
    for point in DELETION_POINTS {
        assert_eq!(killed(point, 0), 1, "{point} was not come to");
    }
    assert_eq!(killed("deletion:durable", 2), 1);
}

/// Kills a server whose keys fall due; 1 if it died at the point.
pub(super) fn killed(point: &str, passes: u64) -> u64 {
    let directory = scratch();
    let dev = Dev::new(program(), directory.path());
    let server = dev.start();
    let mut client = server.client();
    let keys: Vec<(String, String)> = (0..KEYS)
        .map(|number| {
            let key = client.create(&format!("k{number}"));
            let ciphertext = client.encrypt(&key, b"kept").0;
            (key, ciphertext)
        })
        .collect();
    let (dying, staying) = keys.split_at(KEYS / 2);
    for (key, _) in dying {
        client.post(&format!("/v2/kms-key/{key}/schedule-deletion"), json!({ "delay-days": 7 })).ok();
    }
    server.stop();

    let mut server = dev.clone().crash_at(crash_at::at(point, passes)).start();
    let body = json!({ "advance": "8d" }).to_string();
    let request = Request::new("POST", "/lab/clock", body.as_bytes());
    let answered = Connection::open(server.environment.lab).and_then(|mut lab| lab.call(&request)).is_ok();
    // An answer says that the work is done: then the point was passed less often.
    let died = if answered { None } else { server.process.ends_within(PATIENCE) };
    server.kill();

    let server = dev.start();
    let left = 8 * 86_400 - server.lab()["offset-seconds"].as_u64().unwrap();
    if left > 0 {
        server.advance(&format!("{left}s"));
    }
    let mut client = server.client();
    for (key, _) in dying {
        assert_eq!(client.get(&format!("/v2/kms-key/{key}")).status, 404, "{point}: a deletion is half done");
    }
    for (key, ciphertext) in staying {
        client.decrypt(key, ciphertext).ok();
    }
    for number in 0..KEYS / 2 {
        client.create(&format!("k{number}"));
    }
    server.stop();
    u64::from(died.is_some_and(was_killed))
}
