//! Several `zonekms serve` processes, each a zone with a directory, a store, a root key and an identity of its own, linked
//! over TLS.

use crate::client::Client;
use crate::configuration::credential;
use crate::exo2::Credential;
use crate::relay::Relay;
use crate::server::{Process, Serve, wait_for};
use kms_testkit::ReservedPort;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A zone that has not caught up after this fails the test.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(120);

/// The organisation that all zones know.
const ORGANISATION: &str = "acme";

/// What one zone is on disk, and where it is reached; it may run or not.
#[derive(Debug)]
pub struct Site {
    /// The zone's name.
    pub zone: String,
    /// Its directory.
    pub directory: PathBuf,
    /// Where it serves the API while it runs.
    pub address: SocketAddr,
    /// Where its peer listener is.
    pub peer_listener: SocketAddr,
    program: PathBuf,
    operations: SocketAddr,
    /// The ports of these addresses are the zone's also while it does not run.
    _ports: [ReservedPort; 3],
    credential: Credential,
}

/// How many zones are set up, before any of them runs.
#[derive(Debug)]
pub struct ZonePlan<'a> {
    program: &'a Path,
    directory: &'a Path,
    zones: &'a [&'a str],
    limits: String,
    via: Vec<(&'a str, &'a str, SocketAddr)>,
}

impl<'a> ZonePlan<'a> {
    /// These zones, each in a directory of its name in `directory`.
    #[must_use]
    pub fn new(program: &'a Path, directory: &'a Path, zones: &'a [&'a str]) -> Self {
        Self { program, directory, zones, limits: String::new(), via: Vec::new() }
    }

    /// With `[limits]` lines such as `keys-per-organisation = 20`.
    #[must_use]
    pub fn limits(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.limits);
        self
    }

    /// Zone `from` is told to reach zone `to` at the address of this relay, which is then to be led to `to`.
    #[must_use]
    pub fn via(mut self, from: &'a str, to: &'a str, relay: &Relay) -> Self {
        self.via.push((from, to, relay.address()));
        self
    }

    /// Makes root keys, identities and configurations as an operator would. None of the zones runs yet.
    #[must_use]
    pub fn set_up(self) -> Vec<Site> {
        let sites: Vec<Site> = self.zones.iter().map(|zone| self.site(zone)).collect();
        for site in &sites {
            self.configure(site, &sites);
        }
        sites
    }

    fn site(&self, zone: &str) -> Site {
        let directory = self.directory.join(zone);
        fs::create_dir(&directory).expect("a directory for the zone");
        let ports = [ReservedPort::reserve(), ReservedPort::reserve(), ReservedPort::reserve()];
        let [address, operations, peer_listener] = ports.each_ref().map(ReservedPort::address);
        let (zone, program) = (zone.to_owned(), self.program.to_owned());
        let credential = credential(ORGANISATION);
        let site = Site { zone, directory, address, peer_listener, program, operations, _ports: ports, credential };
        let (root_key, identity) = (site.path("root.key"), site.path("identity"));
        site.command(&["root-key", "new", &root_key.display().to_string()]);
        site.command(&["zone-identity", "new", &identity.display().to_string(), "--zone", &site.zone]);
        site
    }

    fn configure(&self, site: &Site, all: &[Site]) {
        let mut text = String::new();
        self.write_configuration(&mut text, site, all).expect("writing to a String");
        let file = site.config();
        fs::write(&file, text).expect("the configuration is written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it holds a secret");
    }

    fn write_configuration(&self, text: &mut String, site: &Site, all: &[Site]) -> std::fmt::Result {
        let Site { zone, address, operations, peer_listener, credential, .. } = site;
        writeln!(text, "zone = \"{zone}\"")?;
        for other in all {
            let (zone, address) = (&other.zone, other.address);
            writeln!(text, "[[zones]]\nname = \"{zone}\"\napi-endpoint = \"http://{address}/v2\"")?;
        }
        writeln!(
            text,
            "[listen]\naddress = \"{address}\"\n[operations]\naddress = \"{operations}\"\n\
             [store]\ndirectory = \"state/store\"\n[root-key]\nfile = \"root.key\"\n[limits]\n{}\n\
             [[organisation]]\nname = \"{ORGANISATION}\"\n[[organisation.api-key]]\nid = \"{}\"\nsecret = \"{}\"\n\
             [identity]\ndirectory = \"identity\"\n[peers]\nlisten = \"{peer_listener}\"",
            self.limits, credential.id, credential.secret
        )?;
        for other in all.iter().filter(|other| other.zone != site.zone) {
            let block = fs::read_to_string(other.path("identity/peer.toml")).expect("an identity has a peer block");
            let relayed =
                self.via.iter().find(|(from, to, _)| (*from, *to) == (site.zone.as_str(), other.zone.as_str()));
            let address = relayed.map_or(other.peer_listener, |(_, _, address)| *address);
            writeln!(text, "{}", block.replace("HOST:PORT", &address.to_string()))?;
        }
        Ok(())
    }
}

impl Site {
    /// A path in the zone's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Starts the zone and waits until it is ready.
    #[must_use]
    pub fn start(&self) -> Serve {
        Serve::start(&self.program, &self.config(), self.address, self.operations)
    }

    /// As [`Site::start`], logging everything that the product and its libraries have to say.
    #[must_use]
    pub fn start_talkative(&self) -> Serve {
        Serve::start_talkative(&self.program, &self.config(), self.address, self.operations)
    }

    /// A client of this zone.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.address, &self.credential)
    }

    /// The API key that is good in all zones.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// What the zone has logged so far, in all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.config().with_extension("log")).unwrap_or_default()).into_owned()
    }

    /// Creates a multi-zone key in this zone and registers it for these others; gives its id.
    #[must_use]
    pub fn create_replicated(&self, client: &mut Client, name: &str, targets: &[&str]) -> String {
        let created = client.post("/v2/kms-key", json!({ "name": name, "multi-zone": true })).ok();
        let id = created["id"].as_str().expect("a key has an id").to_owned();
        for target in targets {
            let answer = client.post(&format!("/v2/kms-key/{id}/replicate"), json!({ "zone": target })).ok();
            assert_eq!(answer["status"], "target-registered", "{answer}");
        }
        id
    }

    fn config(&self) -> PathBuf {
        self.path("zonekms.toml")
    }

    fn command(&self, arguments: &[&str]) {
        let mut process = Process::start(&self.program, arguments, &self.path("commands.log"));
        let status = process.ends_within(Duration::from_secs(120));
        assert!(status.is_some_and(|status| status.success()), "{arguments:?}: {status:?}\n{}", process.log());
    }
}

/// Waits until every replica of the key has the revision that the key has at its origin, and shows no failure; gives the
/// key. At no moment may a watermark be ahead of the key.
pub fn settled(origin: &mut Client, key: &str) -> Value {
    let mut seen = Value::Null;
    let found = wait_for(CATCH_UP_LIMIT, || {
        seen = origin.get(&format!("/v2/kms-key/{key}")).ok();
        let revision = seen["revision"]["seq"].as_u64().expect("a revision");
        let replicas = seen["replicas-status"].as_array().expect("the status of replicas");
        assert_eq!(replicas.len(), seen["replicas"].as_array().map_or(0, Vec::len), "{seen}");
        let behind = |replica: &&Value| {
            let watermark = replica["last-applied-watermark"].as_u64().expect("a watermark");
            assert!(watermark <= revision, "a watermark ahead of the key: {seen}");
            watermark != revision || replica.get("last-failure").is_some()
        };
        replicas.iter().find(behind).is_none().then_some(())
    });
    assert!(found.is_some(), "not at rest after {CATCH_UP_LIMIT:?}: {seen}");
    seen
}
