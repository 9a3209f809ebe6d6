//! The root key is rotated when the server dies.

use super::{PATIENCE, ROOT_KEY_POINTS, command, command_killed_at, was_killed};
use crate::{program, scratch};
use std::fs;
use zonekms_tests::crash_at;
use zonekms_tests::server::Dev;

#[test]
fn crash_matrix_of_root_keys() {
    assert_eq!(killed(&ROOT_KEY_POINTS.map(|point| (point, 0))), 3, "not every point was come to");
    // The steps in between, of which the start itself makes some.
    let between: Vec<_> =
        (0..4).flat_map(|passes| [("file:written-beside", passes), ("file:replaced", passes)]).collect();
    assert!(killed(&between) >= 4);
}

/// Rotates the root key of one zone again and again, and kills the server each time. Gives how often it died.
pub(super) fn killed(points: &[(&str, u64)]) -> u64 {
    let directory = scratch();
    let dev = Dev::new(program(), directory.path());
    let data = dev.data().display().to_string();
    let server = dev.start();
    let key = server.client().create("k");
    let (ciphertext, _) = server.client().encrypt(&key, b"kept");
    server.stop();
    let root_key = || fs::read_to_string(dev.data().join("ch-gva-2/root.key")).unwrap();
    let mut died = 0;
    for (point, passes) in points {
        let old = root_key();
        let answered = match dev.clone().crash_at(crash_at::at(point, *passes)).try_start() {
            Ok(mut server) => {
                let rotated = command_killed_at("", &["root-key", "rotate", "--data-dir", &data]).status.success();
                // An answer says that nothing is left to do, and so no point to come to.
                let status = if rotated { None } else { server.process.ends_within(PATIENCE) };
                died += u64::from(status.is_some_and(was_killed));
                server.kill();
                rotated
            }
            Err(mut process) => {
                died += u64::from(process.ends_within(PATIENCE).is_some_and(was_killed));
                false
            }
        };
        let server = dev.start();
        assert!(!answered || root_key() != old, "{point}: an answered rotation is lost");
        assert!(!dev.data().join("ch-gva-2/.root.key.renewal").exists(), "{point}: what is left of a rotation is gone");
        server.client().decrypt(&key, &ciphertext).ok();
        command(&["root-key", "status", "--data-dir", &data]);
        server.stop();
    }
    died
}
