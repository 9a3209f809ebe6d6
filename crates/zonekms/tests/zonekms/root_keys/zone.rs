//! A zone in a directory of its own, whose root key is what the test is about.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::program::{Server, address, http, text, zonekms};

pub(super) struct Zone {
    directory: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Zone {
    /// With these sections about root keys.
    pub(super) fn new(root_keys: &str) -> Self {
        let zone = Self { directory: tempfile::tempdir().unwrap(), variables: Vec::new() };
        zone.configure(root_keys);
        zone
    }

    /// With a variable in the environment of everything that is run.
    pub(super) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn configure(&self, root_keys: &str) {
        let config = format!(
            "zone = \"ch-gva-2\"\nzones = [{{ name = \"ch-gva-2\", api-endpoint = \"http://127.0.0.1:8080/v2\" }}]\n\
             listen.address = \"127.0.0.1:0\"\noperations.address = \"127.0.0.1:0\"\nstore.directory = \"state/store\"\n\
             log.format = \"json\"\n[[organisation]]\nname = \"example\"\ndefault-key = \"so that the store is not empty\"\n\
             [[organisation.api-key]]\nid = \"EXO0123456789abcdef01234567\"\n\
             secret = \"kmsTestSecret_0123456789abcdefghijklmnopq\"\n{root_keys}\n"
        );
        self.write("zonekms.toml", &config);
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file of mode 0600.
    pub(super) fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(super) fn command(&self, words: &[&str]) -> Command {
        let config = self.path("zonekms.toml");
        let mut command = zonekms(&[words, &["--config", config.to_str().unwrap()]].concat());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// What a command prints; it must succeed.
    pub(super) fn run(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout).to_owned()
    }

    /// What a command that must fail says.
    pub(super) fn refusal(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        assert!(!output.status.success(), "{words:?}: {}", text(&output.stdout));
        self.shortened(text(&output.stderr))
    }

    pub(super) fn status(&self) -> String {
        self.run(&["root-key", "status"])
    }

    pub(super) fn start(&self) -> Server {
        let mut server = Server::start(&mut self.command(&["serve"]));
        server.wait_for("serving");
        server
    }

    pub(super) fn make_root_key(&self, name: &str) {
        let made = crate::program::run(&["root-key", "new", self.path(name).to_str().unwrap()]);
        assert!(made.status.success(), "{}", text(&made.stderr));
    }

    /// What `serve` says when it refuses to start.
    pub(super) fn start_refused(&self) -> String {
        let log = Server::start(&mut self.command(&["serve"])).end_without("\"message\":\"serving\"");
        let message = log.lines().find(|line| line.starts_with("zonekms: ")).unwrap_or(&log).to_owned();
        self.shortened(&message)
    }

    /// Every file below `state` with its content.
    pub(super) fn state(&self) -> Vec<(PathBuf, Vec<u8>)> {
        files_below(&self.path("state")).into_iter().map(|file| (file.clone(), fs::read(&file).unwrap())).collect()
    }

    pub(super) fn shortened(&self, message: &str) -> String {
        message.replace(self.directory.path().to_str().unwrap(), "DIR")
    }
}

pub(super) fn stop(mut server: Server) {
    server.signal(Signal::TERM);
    let (status, log) = server.end();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// The operations listener of a server that has said no more than where that is.
pub(super) fn operations(server: &mut Server) -> SocketAddr {
    address(&server.wait_for("operations listener open"))
}

pub(super) fn is_ready(operations: SocketAddr) -> bool {
    http(operations, "GET", "/readyz", "").0 == 200
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}
