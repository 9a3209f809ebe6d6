//! What an operator did with a zone is in its audit log.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::program::{Server, run, text, zonekms};

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

    /// Whether a command succeeds.
    fn does(&self, command: &[&str]) -> bool {
        run(&[command, &["--config", self.path("zonekms.toml").to_str().unwrap()]].concat()).status.success()
    }

    fn while_served(&self, work: impl FnOnce()) {
        let config = self.path("zonekms.toml");
        let mut server = Server::start(&mut zonekms(&["serve", "--config", config.to_str().unwrap()]));
        server.wait_for("serving");
        work();
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
    old.while_served(|| {
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
    new.while_served(|| {});
    let told = new.told();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[1].starts_with("earlier-commits ok server "), "{told:?}");
    assert_eq!(told[2], "start ok server");
    new.while_served(|| {});
    assert_eq!(new.told().iter().filter(|line| line.starts_with("earlier-commits")).count(), 1, "it is told once");
}
