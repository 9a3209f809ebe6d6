//! A root key derived from a passphrase.

use std::fs;

use super::zone::{Zone, stop};

const PASSPHRASE: &str = "orbit candle seven velvet quarry lamp";

#[test]
fn a_passphrase_opens_what_it_closed_and_another_does_not() {
    let zone = Zone::new("[root-key]\npassphrase-file = \"passphrase\"");
    zone.write("passphrase", PASSPHRASE);
    stop(zone.start());
    zone.write("passphrase", &format!("{PASSPHRASE}\r\n"));
    let server = zone.start();
    let status = zone.status();
    assert!(status.contains("provider     passphrase\n") && status.contains("generation   1\n"), "{status}");
    stop(server);

    let before = zone.state();
    zone.write("passphrase", "orbit candle seven velvet quarry lamb");
    let refused = zone.start_refused();
    assert_eq!(
        refused,
        "zonekms: zone ch-gva-2: the passphrase is wrong (passphrase of file passphrase): it does not open the keyring"
    );
    assert!(zone.state() == before, "a refused start changed the state");

    // From a credential of systemd it is the same passphrase.
    let credentials = zone.path("credentials");
    fs::create_dir(&credentials).unwrap();
    zone.write("credentials/phrase", PASSPHRASE);
    zone.configure("[root-key]\npassphrase-credential = \"phrase\"");
    stop(zone.with_variable("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap()).start());
}

#[test]
fn a_short_passphrase_is_refused_and_nothing_is_made() {
    let zone = Zone::new("[root-key]\npassphrase-file = \"passphrase\"");
    zone.write("passphrase", "hunter2");
    let refused = zone.start_refused();
    assert!(refused.contains("the passphrase has 7 bytes; at least 16 are needed"), "{refused}");
    assert!(!refused.contains("hunter2"), "{refused}");
    assert!(zone.state().iter().all(|(file, _)| file.ends_with("keyring.lock")), "{:?}", zone.state());
}

#[test]
fn a_passphrase_for_all_to_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let zone = Zone::new("[root-key]\npassphrase-file = \"passphrase\"");
    zone.write("passphrase", PASSPHRASE);
    fs::set_permissions(zone.path("passphrase"), fs::Permissions::from_mode(0o644)).unwrap();
    let refused = zone.refusal(&["check-config"]);
    assert!(refused.contains("can be read by others (mode 0644); run: chmod 600 DIR/passphrase"), "{refused}");
}

/// Without a terminal nobody can type. `setsid` takes the test's own terminal away, where there is one.
#[test]
fn without_a_terminal_a_passphrase_cannot_be_typed() {
    let zone = Zone::new("[root-key]\npassphrase-prompt = true");
    let serve = zone.command(&["serve"]);
    let mut detached = std::process::Command::new("setsid");
    detached.arg("--wait").arg(serve.get_program()).args(serve.get_args());
    let output = detached.stdin(std::process::Stdio::null()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("the passphrase must be typed, and there is no terminal"), "{told}");
    assert_eq!(output.status.code(), Some(1));
}
