//! `zonekms serve` as a process: start, health, refusals, stop.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::program::{PATIENCE, Server, address, http, run, text, zonekms};

/// A zone on ports of the system's choice, with everything in a directory of its own.
struct Zone {
    directory: tempfile::TempDir,
}

const CONFIG: &str = r#"
zone = "ch-gva-2"
zones = [{ name = "ch-gva-2", api-endpoint = "http://127.0.0.1:8080/v2" }]
listen.address = "127.0.0.1:0"
operations.address = "127.0.0.1:0"
store.directory = "state/store"
root-key.file = "root.key"
log.format = "json"

[[organisation]]
name = "example"
default-key = "so that the store is not empty"

[[organisation.api-key]]
id = "EXO0123456789abcdef01234567"
secret = "kmsTestSecret_0123456789abcdefghijklmnopq"
"#;

impl Zone {
    fn new() -> Self {
        let zone = Self { directory: tempfile::tempdir().unwrap() };
        zone.configure(CONFIG);
        zone.make_root_key();
        zone
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configure(&self, config: &str) {
        fs::write(self.path("zonekms.toml"), config).unwrap();
        fs::set_permissions(self.path("zonekms.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn make_root_key(&self) {
        let made = run(&["root-key", "new", self.path("root.key").to_str().unwrap()]);
        assert!(made.status.success(), "{}", text(&made.stderr));
    }

    fn command(&self, name: &str) -> Command {
        zonekms(&[name, "--config", self.path("zonekms.toml").to_str().unwrap()])
    }

    /// Starts it, waits until it serves, and stops it.
    fn serve_once(&self) {
        let mut server = Server::start(&mut self.command("serve"));
        server.wait_for("serving");
        server.signal(Signal::TERM);
        let (status, log) = server.end();
        assert_eq!(status.code(), Some(0), "{log}");
    }

    /// What `serve` says when it refuses to start, without the log's lines.
    fn refusal(&self) -> String {
        let log = Server::start(&mut self.command("serve")).end_without("\"message\":\"serving\"");
        let message = log.lines().find(|line| line.starts_with("zonekms: ")).unwrap_or_default();
        message.replace(self.directory.path().to_str().unwrap(), "DIR")
    }

    /// Every file below `state` with its content.
    fn state(&self) -> Vec<(PathBuf, Vec<u8>)> {
        files_below(&self.path("state")).into_iter().map(|file| (file.clone(), fs::read(&file).unwrap())).collect()
    }
}

/// A request whose head the server has read, and whose body of two bytes it waits for.
fn request_under_way(api: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(api).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "POST /v2/kms-key HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(text(&answer), "HTTP/1.1 100");
    stream
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn health_from_start_to_stop() {
    let zone = Zone::new();
    let mut server = Server::start(&mut zone.command("serve"));
    let operations = address(&server.wait_for("operations listener open"));
    let api = address(&server.wait_for("serving"));
    assert_eq!(http(operations, "GET", "/healthz", ""), (200, r#"{"status":"live"}"#.to_owned()));
    assert_eq!(http(operations, "GET", "/readyz", ""), (200, r#"{"status":"ready"}"#.to_owned()));
    assert_eq!(http(api, "GET", "/v2/zone", "").0, 200);
    assert_eq!(http(api, "GET", "/healthz", "").0, 403, "the API shows nothing unsigned but the zones");
    assert_eq!(http(api, "POST", "/lab/clock", r#"{"advance":"1d"}"#).0, 403, "no lab outside dev");
    assert_eq!(http(operations, "POST", "/lab/clock", r#"{"advance":"1d"}"#).0, 404, "no lab outside dev");

    // A request under way keeps the server; it is live and not ready until that request is over.
    let mut slow = request_under_way(api);
    server.signal(Signal::TERM);
    server.wait_for("stopping");
    let stopping = (503, r#"{"reason":"stopping","status":"not-ready"}"#.to_owned());
    assert_eq!(http(operations, "GET", "/readyz", ""), stopping);
    assert_eq!(http(operations, "GET", "/healthz", "").0, 200);
    slow.write_all(b"{}").unwrap();
    let (status, log) = server.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("kmsTestSecret"));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let zone = Zone::new();
    let mut server = Server::start(&mut zone.command("serve"));
    let api = address(&server.wait_for("serving"));
    let _slow = request_under_way(api);
    server.signal(Signal::TERM);
    server.wait_for("stopping");
    server.signal(Signal::INT);
    let (status, log) = server.end();
    assert_eq!(status.code(), Some(130), "{log}");
}

#[test]
fn a_second_process_on_the_same_store_is_refused() {
    let zone = Zone::new();
    let mut server = Server::start(&mut zone.command("serve"));
    server.wait_for("serving");
    assert!(zone.refusal().contains("is in use by another process"), "{}", zone.refusal());
    server.signal(Signal::INT);
    assert_eq!(server.end().0.code(), Some(0));
}

#[test]
fn a_wrong_root_key_is_refused_and_changes_nothing() {
    let zone = Zone::new();
    zone.serve_once();
    let before = zone.state();
    fs::rename(zone.path("root.key"), zone.path("right.key")).unwrap();
    zone.make_root_key();
    let refusal = zone.refusal();
    assert!(
        refusal.starts_with(
            "zonekms: zone ch-gva-2: wrong root key: DIR/state/keyring was wrapped under the root key with fingerprint "
        ),
        "{refusal}"
    );
    assert!(refusal.ends_with("Start with the right root key; nothing was changed"), "{refusal}");
    assert!(zone.state() == before, "a refused start changed the state");
    fs::rename(zone.path("right.key"), zone.path("root.key")).unwrap();
    zone.serve_once();
}

#[test]
fn a_lost_keyring_or_store_is_never_made_anew() {
    let zone = Zone::new();
    zone.serve_once();
    fs::rename(zone.path("state/keyring"), zone.path("keyring.lost")).unwrap();
    assert!(zone.refusal().contains("the keyring DIR/state/keyring is missing, but DIR/state/manifest is there"));
    assert!(!zone.path("state/keyring").exists());
    fs::rename(zone.path("keyring.lost"), zone.path("state/keyring")).unwrap();

    fs::rename(zone.path("state/store"), zone.path("store.lost")).unwrap();
    let refusal = zone.refusal();
    assert!(refusal.contains("Do not start empty"), "{refusal}");
    fs::rename(zone.path("state/manifest"), zone.path("manifest.lost")).unwrap();
    let refusal = zone.refusal();
    assert!(refusal.contains("the store DIR/state/store and its manifest are missing"), "{refusal}");
}

#[test]
fn an_operator_can_adopt_a_store_that_lost_its_manifest() {
    let zone = Zone::new();
    zone.serve_once();
    fs::remove_file(zone.path("state/manifest")).unwrap();
    assert!(zone.refusal().contains("the manifest file DIR/state/manifest is missing"), "{}", zone.refusal());
    let adopted = zone.command("adopt-store").output().unwrap();
    assert!(text(&adopted.stdout).starts_with("the store is adopted as it stands, at revision "), "{adopted:?}");
    zone.serve_once();
}

#[test]
fn a_port_in_use_is_named_before_anything_is_made() {
    let zone = Zone::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    zone.configure(&CONFIG.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1));
    assert_eq!(
        zone.refusal(),
        format!("zonekms: port {port} of 127.0.0.1 is in use: end what listens there, or change listen.address")
    );
    assert!(!zone.path("state").exists());
}

#[test]
fn the_log_filter_of_the_environment_is_checked() {
    let zone = Zone::new();
    let output = zone.command("serve").env("ZONEKMS_LOG", "info,=").output().unwrap();
    assert!(text(&output.stderr).starts_with("zonekms: ZONEKMS_LOG: "), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(2));
}
