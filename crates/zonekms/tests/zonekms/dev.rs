//! `zonekms dev` as a process: the first start, the next ones, and what it refuses.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::api;
use crate::program::{Server, http, read_when_there, run, text, zonekms};

fn arguments(directory: &Path) -> Vec<String> {
    let directory = directory.to_str().unwrap().to_owned();
    ["dev", "--listen", "127.0.0.1:0", "--zones", "ch-gva-2,de-fra-1", "--data-dir"]
        .into_iter()
        .map(str::to_owned)
        .chain([directory])
        .collect()
}

fn dev(directory: &Path) -> Server {
    let arguments = arguments(directory);
    Server::start(&mut zonekms(&arguments.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// The variables of the env file, once it is there.
pub(crate) fn env_file(directory: &Path) -> BTreeMap<String, String> {
    read_when_there(&directory.join("dev.env"))
        .lines()
        .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

pub(crate) fn lab(env: &BTreeMap<String, String>) -> SocketAddr {
    env["ZONEKMS_LAB"].strip_prefix("http://").unwrap().parse().unwrap()
}

pub(crate) fn stop(mut server: Server) {
    server.signal(Signal::TERM);
    let (status, log) = server.end();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn a_restart_keeps_the_api_key_and_the_lab_clock() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("data");
    let server = dev(&directory);
    let first = env_file(&directory);
    assert_eq!(first["EXOSCALE_ZONE"], "ch-gva-2");
    assert_eq!(http(lab(&first), "GET", "/healthz", "").0, 200);
    let (status, moved) = http(lab(&first), "POST", "/lab/clock", r#"{"advance":"90d"}"#);
    let moved: Value = serde_json::from_str(&moved).unwrap();
    assert_eq!((status, &moved["offset-seconds"]), (200, &Value::from(7_776_000)));
    for (body, detail) in [
        ("", "the body must be"),
        (r#"{"advance":"-1d"}"#, "advance must be a whole number and a unit"),
        (r#"{"advance":"1d","zone":"ch-gva-2"}"#, "the body must be"),
        (r#"{"advance":"36500d"}"#, "the clock cannot be moved more than"),
    ] {
        let (status, refused) = http(lab(&first), "POST", "/lab/clock", body);
        assert!(status == 400 && refused.contains(detail), "{body}: {status} {refused}");
    }
    stop(server);

    fs::remove_file(directory.join("dev.env")).unwrap();
    let server = dev(&directory);
    let second = env_file(&directory);
    assert_eq!(
        (&second["EXOSCALE_API_KEY"], &second["EXOSCALE_API_SECRET"]),
        (&first["EXOSCALE_API_KEY"], &first["EXOSCALE_API_SECRET"])
    );
    let shown: Value = serde_json::from_str(&http(lab(&second), "GET", "/lab", "").1).unwrap();
    assert_eq!(shown["offset-seconds"], 7_776_000);
    assert!(shown["now"].as_str() > moved["now"].as_str(), "{shown} after {moved}");
    assert_eq!(shown["zones"]["ch-gva-2"], second["EXOSCALE_API_ENDPOINT"]);
    stop(server);
}

#[test]
fn everything_is_private_whatever_the_umask() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("data");
    let mut command = Command::new("sh");
    command.args(["-c", r#"umask 000; exec "$0" "$@""#, env!("CARGO_BIN_EXE_zonekms")]);
    command.args(arguments(&directory)).stdin(Stdio::null());
    let server = Server::start(&mut command);
    env_file(&directory);
    stop(server);
    let mut seen = 0;
    let mut open = vec![directory];
    while let Some(path) = open.pop() {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        seen += 1;
    }
    assert!(seen > 10, "{seen} files and directories");
}

#[test]
fn a_second_lab_on_the_same_directory_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let server = dev(scratch.path());
    let before = env_file(scratch.path());
    let all = arguments(scratch.path());
    let output = run(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let expected = format!(
        "zonekms: {} is in use by another `zonekms dev`: stop that one, or give this one its own --data-dir\n",
        scratch.path().display()
    );
    assert_eq!((text(&output.stderr), output.status.code()), (expected.as_str(), Some(1)));
    assert_eq!(env_file(scratch.path()), before, "the env file of the one that runs");
    stop(server);
}

#[test]
fn a_zone_of_a_lab_that_was_put_back_is_served_once_its_store_is_adopted() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join("ch-gva-2").join(name);
    let copy = |from: &str, to: &str| {
        let shell = "rm -rf \"$1\" && cp -a \"$0\" \"$1\"";
        let copied = Command::new("sh").args(["-euc", shell]).args([at(from), at(to)]).status();
        assert!(copied.unwrap().success(), "{from} to {to}");
    };
    let while_served = |work: &mut dyn FnMut(&api::Zone, SocketAddr)| {
        let server = dev(scratch.path());
        let env = env_file(scratch.path());
        let endpoint = env["EXOSCALE_API_ENDPOINT"].strip_prefix("http://").unwrap().strip_suffix("/v2").unwrap();
        let (id, secret) = (env["EXOSCALE_API_KEY"].clone(), env["EXOSCALE_API_SECRET"].clone());
        work(&api::Zone { address: endpoint.parse().unwrap(), id, secret }, lab(&env));
        stop(server);
        // So that the next run's is waited for.
        fs::remove_file(scratch.path().join("dev.env")).unwrap();
    };
    let mut key = String::new();
    while_served(&mut |zone, lab| {
        assert_eq!(http(lab, "POST", "/lab/clock", r#"{"advance":"90d"}"#).0, 200);
        let (status, created) = zone.call("POST", "/kms-key", r#"{"name":"leaked"}"#);
        assert_eq!(status, 200, "{created}");
        created["id"].as_str().unwrap().clone_into(&mut key);
    });
    for part in ["store", "manifest", "keyring"] {
        copy(part, &format!("yesterday-{part}"));
    }
    while_served(&mut |zone, _| drop(zone.on(&key, "disable", &Value::Null)));
    for part in ["store", "manifest", "keyring"] {
        copy(&format!("yesterday-{part}"), part);
    }
    let refused = dev(scratch.path()).end_without("serving zone=");
    assert!(refused.contains("the store was put back to an earlier state"), "{refused}");

    let adopt = |more: &[&str]| run(&[&["adopt-store", "--data-dir", scratch.path().to_str().unwrap()], more].concat());
    let unnamed = adopt(&[]);
    assert_eq!((unnamed.status.code(), text(&unnamed.stderr)), (Some(2), "zonekms: which zone? give --zone\n"));
    let adopted = adopt(&["--zone", "ch-gva-2"]);
    assert!(text(&adopted.stdout).contains("the audit log knew of 1 commits more"), "{adopted:?}");
    while_served(&mut |zone, _| {
        let (status, answer) = zone.call("POST", &format!("/kms-key/{key}/encrypt"), r#"{"plaintext":"AAAA"}"#);
        assert_eq!(status, 200, "which is what the operator was told: {answer}");
        let served = adopt(&["--zone", "ch-gva-2"]);
        assert_eq!(served.status.code(), Some(1), "{served:?}");
    });
    let tail = run(&["audit", "tail", at("audit").to_str().unwrap(), "--all"]);
    let entries: Vec<Value> = text(&tail.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let place = |operation: &str| entries.iter().position(|entry| entry["operation"] == operation).unwrap();
    let time = |operation: &str| entries[place(operation)]["time"].as_str().unwrap();
    assert_eq!(entries[place("adopt-store")]["count"], 1);
    assert!(time("adopt-store") > time("disable-kms-key"), "the lab's clock, which was moved, tells the time");
}

#[test]
fn a_port_in_use_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let output = run(&["dev", "--data-dir", scratch.path().to_str().unwrap(), "--listen", &taken.to_string()]);
    let expected =
        format!("zonekms: port {} of 127.0.0.1 is in use: end what listens there, or change --listen\n", taken.port());
    assert_eq!((text(&output.stderr), output.status.code()), (expected.as_str(), Some(1)));
    assert!(!scratch.path().join("ch-gva-2").exists());
    drop(holder);
}

#[test]
fn a_lab_does_not_leave_this_machine() {
    let output = run(&["dev", "--listen", "0.0.0.0:8080", "--data-dir", "/nonexistent/zonekms"]);
    assert!(text(&output.stderr).contains("--listen 0.0.0.0:8080 is not a loopback address"), "{output:?}");
    assert_eq!(output.status.code(), Some(2));
}
