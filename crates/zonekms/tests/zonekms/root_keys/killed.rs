//! SIGKILL at any instant of a rotation: the configuration opens the keyring afterwards, and the old root key is either in use or
//! opens nothing.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use super::zone::{Zone, stop};

/// How many rotations are killed in the normal run. Each takes about as long as a start.
const KILLS: u64 = 20;

#[test]
fn a_server_killed_while_it_rotates_starts_again() {
    let zone = Zone::new("[root-key]\nfile = \"root.key\"");
    zone.make_root_key("root.key");
    let mut rotated = 0;
    for kill in 0..KILLS {
        let old = fs::read_to_string(zone.path("root.key")).unwrap();
        let mut server = zone.start();
        let mut rotation = zone.command(&["root-key", "rotate"]);
        let mut rotation =
            rotation.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        // A command takes a few tens of milliseconds, from before its connection to after its end.
        std::thread::sleep(Duration::from_micros(kill * 61_803_399 % 30_000));
        server.signal(Signal::KILL);
        server.end();
        let answered = rotation.wait().unwrap().success();

        let server = zone.start();
        let now = fs::read_to_string(zone.path("root.key")).unwrap();
        assert!(!zone.path(".root.key.renewal").exists(), "kill {kill}: what is left of a rotation is gone");
        assert!(!answered || now != old, "kill {kill}: an answered rotation is lost");
        if now != old {
            rotated += 1;
        }
        stop(server);
    }
    println!("{rotated} of {KILLS} killed rotations had taken place");
}
