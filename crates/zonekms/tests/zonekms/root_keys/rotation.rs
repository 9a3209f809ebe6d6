//! `zonekms root-key rotate`: online and offline, to the same and to another provider.

use std::fs;

use crate::program::{run, text};

use super::zone::{Zone, stop};

const NEXT_PASSPHRASE: &str = "[root-key]\nfile = \"root.key\"\n[root-key-next]\npassphrase-file = \"passphrase\"\n";

#[test]
fn a_file_is_rotated_in_place_while_the_zone_is_served() {
    let zone = Zone::new("[root-key]\nfile = \"root.key\"");
    zone.make_root_key("root.key");
    let old = fs::read(zone.path("root.key")).unwrap();
    let server = zone.start();
    let before = zone.status();
    let rotated = zone.run(&["root-key", "rotate"]);
    let after = zone.status();
    assert!(rotated.starts_with("the keyring is wrapped under another root key\n"), "{rotated}");
    assert!(rotated.ends_with(&after) && before.contains("generation   1\n") && after.contains("generation   2\n"));
    let fingerprint = |status: &str| status.lines().find(|line| line.starts_with("fingerprint")).unwrap().to_owned();
    assert_ne!(fingerprint(&before), fingerprint(&after));
    assert!(zone.run(&["check-config"]).contains(fingerprint(&after).trim_start_matches("fingerprint ").trim()));
    stop(server);

    // Offline it is the same, and the file names the root key without a root key.
    let offline = zone.status();
    assert!(offline.contains(&fingerprint(&after)) && offline.contains("none runs"), "{offline}");
    zone.run(&["root-key", "rotate"]);
    assert!(zone.status().contains("generation   3\n"), "{}", zone.status());
    stop(zone.start());

    zone.write("root.key", text(&old));
    assert!(zone.start_refused().contains("wrong root key"), "the old root key opens it");
}

#[test]
fn a_rotation_to_another_provider_leaves_a_configuration_that_is_right_at_every_start() {
    let zone = Zone::new("[root-key]\nfile = \"root.key\"");
    zone.make_root_key("root.key");
    zone.write("passphrase", "orbit candle seven velvet quarry lamp");
    let server = zone.start();
    let refused = zone.refusal(&["root-key", "rotate", "--to-next"]);
    assert!(refused.contains("no section [root-key-next]"), "{refused}");

    // The configuration of the running server is read anew.
    zone.configure(NEXT_PASSPHRASE);
    let rotated = zone.run(&["root-key", "rotate", "--to-next"]);
    assert!(
        rotated.contains("provider     passphrase\n") && rotated.contains("section      [root-key-next]\n"),
        "{rotated}"
    );
    assert!(rotated.contains("put the content of [root-key-next] into [root-key]"), "{rotated}");
    stop(server);
    stop(zone.start());
    zone.configure("[root-key]\npassphrase-file = \"passphrase\"");
    let server = zone.start();
    assert!(zone.status().contains("section      [root-key]\n"));
    // The same passphrase under another salt.
    zone.run(&["root-key", "rotate"]);
    stop(server);
    stop(zone.start());

    zone.configure("[root-key]\nfile = \"root.key\"");
    let refused = zone.start_refused();
    assert_eq!(
        refused,
        "zonekms: zone ch-gva-2: the keyring's root key comes from: passphrase; configured is: [root-key] file, environment \
         or credential (file DIR/root.key)"
    );
    // And back.
    zone.configure("[root-key]\npassphrase-file = \"passphrase\"\n[root-key-next]\nfile = \"root.key\"");
    zone.run(&["root-key", "rotate", "--to-next"]);
    zone.configure("[root-key]\nfile = \"root.key\"");
    stop(zone.start());
}

#[test]
fn each_zone_of_a_lab_has_a_root_key_to_rotate() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().to_str().unwrap();
    let arguments = ["dev", "--data-dir", data, "--listen", "127.0.0.1:0", "--zones", "ch-gva-2,de-fra-1"];
    let mut lab = crate::program::Server::start(&mut crate::program::zonekms(&arguments));
    crate::program::read_when_there(&scratch.path().join("dev.env"));
    let rotated = run(&["root-key", "rotate", "--data-dir", data, "--zone", "de-fra-1"]);
    assert!(text(&rotated.stdout).contains("generation   2\n"), "{rotated:?}");
    let other = run(&["root-key", "status", "--data-dir", data, "--zone", "ch-gva-2"]);
    assert!(text(&other.stdout).contains("generation   1\n"), "{other:?}");
    lab.signal(rustix::process::Signal::TERM);
    assert_eq!(lab.end().0.code(), Some(0));
    let offline = run(&["root-key", "rotate", "--data-dir", data, "--zone", "de-fra-1"]);
    assert!(text(&offline.stdout).contains("generation   3\n"), "{offline:?}");
}

#[test]
fn the_next_root_key_may_be_called_next_but_not_as_the_renewal_of_the_other() {
    let zone = Zone::new("[root-key]\nfile = \"root.key\"");
    zone.make_root_key("root.key");
    stop(zone.start());
    zone.make_root_key("root.key.next");
    let prepared = fs::read(zone.path("root.key.next")).unwrap();
    stop(zone.start());
    zone.configure("[root-key]\nfile = \"root.key\"\n[root-key-next]\nfile = \"root.key.next\"\n");
    let rotated = zone.run(&["root-key", "rotate", "--to-next"]);
    assert!(rotated.contains("section      [root-key-next]\n"), "{rotated}");
    stop(zone.start());
    assert_eq!(fs::read(zone.path("root.key.next")).unwrap(), prepared);

    fs::rename(zone.path("root.key.next"), zone.path(".root.key.renewal")).unwrap();
    let refused = "a renewal of ";
    for (current, next) in [("root.key", ".root.key.renewal"), (".root.key.renewal", "root.key")] {
        zone.configure(&format!("[root-key]\nfile = \"{current}\"\n[root-key-next]\nfile = \"{next}\"\n"));
        let told = zone.refusal(&["root-key", "rotate", "--to-next"]);
        assert!(told.contains(refused) && told.contains("give this file another name"), "{told}");
    }
    assert_eq!(fs::read(zone.path(".root.key.renewal")).unwrap(), prepared);
    // As the only one it opens the zone.
    zone.configure("[root-key]\nfile = \".root.key.renewal\"");
    stop(zone.start());
}

#[test]
fn a_next_root_key_that_is_not_there_stops_only_who_needs_it() {
    let zone = Zone::new("[root-key]\nfile = \"root.key\"");
    zone.make_root_key("root.key");
    let current = "[root-key]\nfile = \"root.key\"\n";
    let token = "[root-key-next.pkcs11]\nmodule = \"gone.so\"\ntoken = \"t\"\nkey = \"k\"\npin-file = \"pin\"\n";
    for (next, told) in [
        ("[root-key-next]\nfile = \"gone.key\"\n", "root-key-next.file: cannot be opened"),
        (token, "there is no such PKCS#11 module"),
        ("[root-key-next]\npassphrase-environment = \"GONE\"\n", "there is no such environment variable"),
    ] {
        zone.configure(&format!("{current}{next}"));
        stop(zone.start());
        let refused = zone.refusal(&["root-key", "rotate", "--to-next"]);
        assert!(refused.contains("[root-key-next]") && refused.contains(told), "{refused}");
        // Another root key in the same place is nothing that the next one is needed for.
        zone.run(&["root-key", "rotate"]);
    }
    // What is wrong in the file itself is still a fault.
    zone.configure(&format!("{current}[root-key-next]\nfile = \"gone.key\"\nfil = 1\n"));
    assert!(zone.refusal(&["check-config"]).contains("has 2 faults"), "{}", zone.refusal(&["check-config"]));
    // A keyring that needs it is not opened without it.
    zone.write("passphrase", "orbit candle seven velvet quarry lamp");
    zone.configure(NEXT_PASSPHRASE);
    zone.run(&["root-key", "rotate", "--to-next"]);
    fs::remove_file(zone.path("passphrase")).unwrap();
    let refused = zone.refusal(&["root-key", "rotate"]);
    assert!(refused.contains("[root-key-next]") && refused.contains("cannot be opened"), "{refused}");
}
