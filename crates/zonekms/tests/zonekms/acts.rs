//! What an operator did with a zone is in its audit log.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::Value;

use crate::api;
use crate::program::{Server, address, run, text, zonekms};

const SECRET: &str = "apiSecret_0123456789abcdefghijklmnop";

/// A machine with a configuration and a root key.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.private(
            "zonekms.toml",
            "zone = \"ch-gva-2\"\nzones = [{ name = \"ch-gva-2\", api-endpoint = \"http://127.0.0.1:8080/v2\" }]\n\
             listen.address = \"127.0.0.1:0\"\nstore.directory = \"state/store\"\nroot-key.file = \"root.key\"\n\
             log.format = \"json\"\n[[organisation]]\nname = \"example\"\ndefault-key = \"first\"\n\
             [[organisation.api-key]]\nid = \"EXO1\"\nsecret = \"apiSecret_0123456789abcdefghijklmnop\"\n",
        );
        assert!(run(&["root-key", "new", machine.path("root.key").to_str().unwrap()]).status.success());
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn private(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn run(&self, command: &[&str]) -> Output {
        run(&[command, &["--config", self.path("zonekms.toml").to_str().unwrap()]].concat())
    }

    /// Whether a command succeeds.
    fn does(&self, command: &[&str]) -> bool {
        self.run(command).status.success()
    }

    /// Has `from` in the place of what is at `to`.
    fn copy(&self, from: &str, to: &str) {
        let shell = "rm -rf \"$1\" && cp -a \"$0\" \"$1\"";
        let copied = Command::new("sh").args(["-euc", shell]).args([self.path(from), self.path(to)]).status();
        assert!(copied.unwrap().success(), "{from} to {to}");
    }

    fn while_served(&self, work: impl FnOnce(&api::Zone)) {
        let config = self.path("zonekms.toml");
        let mut server = Server::start(&mut zonekms(&["serve", "--config", config.to_str().unwrap()]));
        let address = address(&server.wait_for("serving"));
        work(&api::Zone { address, id: "EXO1".into(), secret: SECRET.into() });
        server.signal(Signal::TERM);
        let (status, log) = server.end();
        assert_eq!(status.code(), Some(0), "{log}");
    }

    /// Operation, result, who, and why or how many.
    fn told(&self) -> Vec<String> {
        let tail = run(&["audit", "tail", self.path("state/audit").to_str().unwrap(), "--all"]);
        let entries = text(&tail.stdout).lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let shown = |entry: Value| {
            let [operation, result, by] = ["operation", "result", "by"].map(|name| entry[name].as_str().unwrap());
            let more = [&entry["reason"], &entry["count"]].into_iter().find(|value| !value.is_null());
            more.map_or_else(
                || format!("{operation} {result} {by}"),
                |more| format!("{operation} {result} {by} {more}"),
            )
        };
        entries.map(shown).collect()
    }
}

#[test]
fn rotations_of_the_root_key_backups_and_restores_are_told() {
    let old = Machine::new();
    old.private("passphrase", "correct horse battery staple");
    let (passphrase, backup) = (old.path("passphrase"), old.path("backup.age"));
    let (passphrase, to): (&str, &Path) = (passphrase.to_str().unwrap(), &backup);
    old.while_served(|_| {
        assert!(old.does(&["root-key", "rotate"]));
        assert!(!old.does(&["root-key", "rotate", "--to-next"]), "there is no next one");
        assert!(old.does(&["backup", "--to", to.to_str().unwrap(), "--passphrase-file", passphrase]));
    });
    assert_eq!(
        old.told(),
        [
            "audit-file-begun ok server",
            "start ok server",
            "create-kms-key ok server",
            "rotate-root-key ok operator",
            "rotate-root-key refused operator \"failed\"",
            "begin-backup ok operator",
            "backup ok operator 2",
            "stop ok server",
        ]
    );

    let new = Machine::new();
    assert!(new.does(&["restore", "--from", to.to_str().unwrap(), "--passphrase-file", passphrase]));
    new.while_served(|_| {});
    let told = new.told();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[1].starts_with("earlier-commits ok server "), "{told:?}");
    assert_eq!(told[2], "start ok server");
    new.while_served(|_| {});
    assert_eq!(new.told().iter().filter(|line| line.starts_with("earlier-commits")).count(), 1, "it is told once");
}

#[test]
fn a_zone_that_was_put_back_whole_is_refused_by_its_audit_log_until_it_is_adopted() {
    let (machine, mut key) = (Machine::new(), String::new());
    machine.while_served(|zone| key = zone.create_multi_zone("leaked"));
    for part in ["store", "manifest", "keyring"] {
        machine.copy(&format!("state/{part}"), &format!("yesterday-{part}"));
    }
    let encrypt =
        |zone: &api::Zone| zone.call("POST", &format!("/kms-key/{key}/encrypt"), "{\"plaintext\":\"AAAA\"}").0;
    machine.while_served(|zone| {
        zone.on(&key, "disable", &Value::Null);
        assert_ne!(encrypt(zone), 200);
    });
    for part in ["store", "manifest", "keyring"] {
        machine.copy(&format!("yesterday-{part}"), &format!("state/{part}"));
    }
    for _ in 0..2 {
        let config = machine.path("zonekms.toml");
        let mut serve = zonekms(&["serve", "--config", config.to_str().unwrap()]);
        let said = Server::start(&mut serve).end_without("\"message\":\"serving\"");
        assert!(
            said.contains("the store was put back to an earlier state: the audit log knows of 1 commits more"),
            "{said}"
        );
        assert!(said.contains("`zonekms restore`") && said.contains("`zonekms adopt-store`"), "{said}");
    }
    let adopted = machine.run(&["adopt-store"]);
    assert!(text(&adopted.stdout).contains("the audit log knew of 1 commits more"), "{adopted:?}");
    machine.while_served(|zone| assert_eq!(encrypt(zone), 200, "which is what the operator was told"));
    let told = machine.told();
    let of_it = |line: &&String| ["store-set-back", "adopt-store"].iter().any(|operation| line.starts_with(operation));
    assert_eq!(
        told.iter().filter(of_it).collect::<Vec<_>>(),
        [
            "store-set-back refused server \"not started\"",
            "store-set-back refused server \"not started\"",
            "adopt-store ok operator 1"
        ]
    );
}

#[test]
fn a_restore_beside_the_audit_log_of_the_lost_zone_is_refused_before_anything_is_made() {
    let machine = Machine::new();
    machine.private("passphrase", "correct horse battery staple");
    let (passphrase, backup) = (machine.path("passphrase"), machine.path("backup.age"));
    let (passphrase, backup) = (passphrase.to_str().unwrap(), backup.to_str().unwrap());
    machine.while_served(|_| assert!(machine.does(&["backup", "--to", backup, "--passphrase-file", passphrase])));
    for part in ["store", "manifest", "keyring"] {
        machine.copy(&format!("state/{part}"), &format!("lost-{part}"));
        let path = machine.path(&format!("state/{part}"));
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }
    let restore = ["restore", "--from", backup, "--passphrase-file", passphrase];
    let refused = machine.run(&restore);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("state/audit holds the audit log of an earlier zone"), "{said}");
    assert!(!machine.path("state/keyring").exists() && !machine.path("state/store").exists());
    fs::rename(machine.path("state/audit"), machine.path("old-audit")).unwrap();
    assert!(machine.does(&restore));
    machine.while_served(|_| {});
}
