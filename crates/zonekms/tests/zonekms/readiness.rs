//! What the operations listener tells when a server cannot do all that it is there for.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::json;

use crate::api;
use crate::program::{PATIENCE, Server, address, http, run, text};

const SECRET: &str = "apiSecret_0123456789abcdefghijklmnop";

/// A server that a shell starts with these words before it, with its operations listener and its zone.
fn serve(directory: &Path, before: &str) -> (Server, SocketAddr, api::Zone) {
    let file = directory.join("zonekms.toml");
    let config = format!(
        "zone = \"ch-gva-2\"\nzones = [{{ name = \"ch-gva-2\", api-endpoint = \"http://127.0.0.1:8080/v2\" }}]\n\
         listen.address = \"127.0.0.1:0\"\noperations.address = \"127.0.0.1:0\"\nstore.directory = \"state/store\"\n\
         root-key.file = \"root.key\"\nlog.format = \"json\"\n[[organisation]]\nname = \"example\"\n\
         [[organisation.api-key]]\nid = \"EXO1\"\nsecret = \"{SECRET}\"\n"
    );
    fs::write(&file, config).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(run(&["root-key", "new", directory.join("root.key").to_str().unwrap()]).status.success());
    let script = format!("{before}\"$0\" serve --config \"$1\"");
    let mut shell = Command::new("bash");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_zonekms"), file.to_str().unwrap()]).env_remove("ZONEKMS_LOG");
    let mut server = Server::start(&mut shell);
    let operations = address(&server.wait_for("operations listener open"));
    let zone = api::Zone { address: address(&server.wait_for("serving")), id: "EXO1".into(), secret: SECRET.into() };
    (server, operations, zone)
}

fn gauge(operations: SocketAddr, series: &str) -> u64 {
    let (_, metrics) = http(operations, "GET", "/metrics", "");
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {series}:\n{metrics}")).parse().unwrap()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if is_so() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("not {what}");
}

/// Files that may not grow stand for a full disk.
#[test]
fn an_audit_log_that_cannot_be_written_is_told_until_it_can() {
    const BROKEN: &str = "zonekms_audit_broken{zone=\"ch-gva-2\"}";
    let scratch = tempfile::tempdir().unwrap();
    // Writing beyond the limit is then an error, and no signal.
    let (mut server, operations, zone) = serve(scratch.path(), "trap '' XFSZ; exec ");
    let ready = || http(operations, "GET", "/readyz", "");
    let key = zone.create_multi_zone("first");
    assert_eq!((ready().0, gauge(operations, BROKEN)), (200, 0));

    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    let limit = |current| prlimit(Some(pid), Resource::Fsize, Rlimit { current, maximum: None }).unwrap();
    limit(Some(0));
    zone.on(&key, "encrypt", &json!({"plaintext": "c2VydmVk"}));
    wait_until("broken", || gauge(operations, BROKEN) == 1);
    let (status, reason) = ready();
    assert_eq!(status, 503);
    assert!(reason.contains("zone ch-gva-2: ") && reason.contains("audit log"), "{reason}");
    assert_eq!(gauge(operations, "zonekms_takes_changes{zone=\"ch-gva-2\"}"), 0);
    assert_eq!(zone.call("POST", "/kms-key", "{\"name\":\"second\"}").0, 503);
    // What would go unrecorded does not begin; but a backup may be all that will be left of a disk that fails.
    let (config, to) = (scratch.path().join("zonekms.toml"), scratch.path().join("backup.age"));
    let (config, to) = (config.to_str().unwrap(), to.to_str().unwrap());
    let passphrase = scratch.path().join("passphrase");
    fs::write(&passphrase, "correct horse battery staple").unwrap();
    fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).unwrap();
    let backup = ["backup", "--to", to, "--passphrase-file", passphrase.to_str().unwrap()];
    assert!(run(&[&backup[..], &["--config", config]].concat()).status.success());
    for command in [["root-key", "rotate"], ["shred", "--now"]] {
        let refused = run(&[&command[..], &["--config", config]].concat());
        assert_eq!(text(&refused.stderr).trim(), "zonekms: the audit log cannot be written", "{command:?}");
        assert_eq!(refused.status.code(), Some(1));
    }

    limit(None);
    wait_until("written again", || ready().0 == 200 && gauge(operations, BROKEN) == 0);
    zone.create_multi_zone("second");
    server.signal(Signal::TERM);
    assert_eq!(server.end().0.code(), Some(0));
    let log = scratch.path().join("state/audit");
    let told = run(&["audit", "tail", log.to_str().unwrap(), "--all"]);
    for operation in ["begin-backup", "backup"] {
        let entry = format!("\"operation\":\"{operation}\",\"result\":\"ok\"");
        assert!(text(&told.stdout).contains(&entry), "the log has it once it can be written: {told:?}");
    }
}

#[test]
fn memory_that_is_not_locked_is_told_with_the_limit_to_raise() {
    // Root is bound by a limit only without this capability.
    let as_root = rustix::process::geteuid().is_root();
    let bound = if as_root { "exec setpriv --bounding-set -ipc_lock " } else { "exec " };
    for (before, limited) in [(format!("ulimit -l 0; {bound}"), true), ("exec ".to_owned(), false)] {
        let scratch = tempfile::tempdir().unwrap();
        let (mut server, operations, zone) = serve(scratch.path(), &before);
        zone.create_multi_zone("first");
        let [locked, unlocked] =
            ["zonekms_locked_memory_bytes", "zonekms_unlocked_secret_bytes"].map(|name| gauge(operations, name));
        assert!(locked + unlocked > 0);
        assert!(!limited || (locked == 0 && unlocked > 0), "{locked} bytes are locked against a limit of none");
        server.signal(Signal::TERM);
        let (status, log) = server.end();
        assert_eq!((status.code(), log.contains("raise RLIMIT_MEMLOCK")), (Some(0), unlocked > 0), "{log}");
    }
}
