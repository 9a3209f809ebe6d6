//! Configuration of a `zonekms serve` process, with its root key and secrets in files beside it.

use crate::client::Client;
use crate::exo2::Credential;
use crate::server::{Process, Serve};
use kms_testkit::ReservedPort;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// One zone's configuration on disk, and the ports that it names.
#[derive(Debug)]
pub struct Configuration {
    program: PathBuf,
    directory: PathBuf,
    listen: ReservedPort,
    operations: ReservedPort,
    text: String,
}

impl Configuration {
    /// A server of zone `ch-gva-2` in `directory`, on loopback ports of its own.
    #[must_use]
    pub fn new(program: &Path, directory: &Path) -> Self {
        let (listen, operations) = (ReservedPort::reserve(), ReservedPort::reserve());
        write_private(&directory.join("root.key"), &"5a0f".repeat(16));
        let text = format!(
            "zone = \"ch-gva-2\"\n\
             [[zones]]\nname = \"ch-gva-2\"\napi-endpoint = \"http://{address}/v2\"\n\
             [[zones]]\nname = \"ch-dk-2\"\napi-endpoint = \"http://127.0.0.1:1/v2\"\n\
             [listen]\naddress = \"{address}\"\n\
             [operations]\naddress = \"{}\"\n\
             [store]\ndirectory = \"state/store\"\n\
             [root-key]\nfile = \"root.key\"\n",
            operations.address(),
            address = listen.address(),
        );
        let (program, directory) = (program.to_owned(), directory.to_owned());
        Self { program, directory, listen, operations, text }
    }

    /// With `[limits]` lines such as `keys-per-organisation = 20`.
    #[must_use]
    pub fn limits(mut self, lines: &str) -> Self {
        self.text.push_str("[limits]\n");
        self.text.push_str(lines);
        self.text.push('\n');
        self
    }

    /// With TLS, the certificate and its key in PEM.
    #[must_use]
    pub fn tls(mut self, certificate: &str, key: &str) -> Self {
        write_private(&self.directory.join("certificate.pem"), certificate);
        write_private(&self.directory.join("key.pem"), key);
        self.text.push_str("[tls]\ncertificate = \"certificate.pem\"\nkey = \"key.pem\"\n");
        self
    }

    /// With one more organisation and its API keys, each with the zones it is good for (all if none are named).
    #[must_use]
    pub fn organisation(mut self, name: &str, api_keys: &[(&Credential, &[&str])]) -> Self {
        let write = |text: &mut String| -> std::fmt::Result {
            writeln!(text, "[[organisation]]\nname = \"{name}\"")?;
            for (credential, zones) in api_keys {
                let file = format!("secret-{}", credential.id);
                write_private(&self.directory.join(&file), &credential.secret);
                writeln!(text, "[[organisation.api-key]]\nid = \"{}\"\nsecret-file = \"{file}\"", credential.id)?;
                if !zones.is_empty() {
                    writeln!(text, "zones = {zones:?}")?;
                }
            }
            Ok(())
        };
        write(&mut self.text).expect("writing to a String");
        self
    }

    /// Writes the file and starts a server with it.
    #[must_use]
    pub fn serve(&self) -> Serve {
        Serve::start(&self.program, &self.file(), self.listen.address(), self.operations.address())
    }

    /// Writes the file; gives its path.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        let file = self.directory.join("zonekms.toml");
        fs::write(&file, &self.text).expect("the configuration is written");
        file
    }

    /// `zonekms serve` started a second time with the same file.
    #[must_use]
    pub fn spawn(&self) -> Process {
        let file = self.file().display().to_string();
        Process::start(&self.program, &["serve", "--config", &file], &self.directory.join("second.log"))
    }

    /// A client with this API key.
    #[must_use]
    pub fn client(&self, credential: &Credential) -> Client {
        Client::new(self.listen.address(), credential)
    }
}

/// An API key for tests, its id made from `name`.
#[must_use]
pub fn credential(name: &str) -> Credential {
    Credential { id: format!("EXO{name}"), secret: format!("{name}-{}", "s3cret_".repeat(5)) }
}

fn write_private(path: &Path, text: &str) {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    std::io::Write::write_all(&mut file.expect("a private file opens"), text.as_bytes()).expect("it is written");
}
