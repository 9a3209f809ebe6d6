//! `zonekms zone-identity`, and the configuration of a zone among others.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kms_types::ZoneName;
use zonekms::config::load;

use crate::program::{run, text};

/// A directory with what a zone's configuration names, and an identity for each of some zones.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new(zones: &[&str]) -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        place.write("root.key", &format!("{}\n", "0123456789abcdef".repeat(4)));
        place.write("api-secret", "kmsTestSecret_0123456789abcdefghijklmnopq\n");
        for zone in zones {
            place.make_identity(zone, zone);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Makes an identity in the directory `name`; what was printed.
    fn make_identity(&self, zone: &str, name: &str) -> String {
        let made = run(&["zone-identity", "new", self.path(name).to_str().unwrap(), "--zone", zone]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        text(&made.stdout).to_owned()
    }

    /// The `[[peer]]` of the identity in the directory `name`, at an address.
    fn peer(&self, name: &str) -> String {
        fs::read_to_string(self.path(name).join("peer.toml")).unwrap().replace("HOST:PORT", "kms.example.org:7443")
    }

    /// What is wrong with the configuration of zone a with these further lines.
    fn check(&self, further: &str) -> Result<String, String> {
        let zone = |name: &str| format!("[[zones]]\nname = \"{name}\"\napi-endpoint = \"http://{name}/v2\"\n");
        let config = format!(
            "zone = \"a\"\nlisten.address = \"127.0.0.1:0\"\nstore.directory = \"state/store\"\nroot-key.file = \
             \"root.key\"\n{}{}{}[[organisation]]\nname = \"example\"\n{further}",
            zone("a"),
            zone("b"),
            zone("c")
        );
        self.write("zonekms.toml", &config);
        match load(&self.path("zonekms.toml"), &|_| None) {
            Ok((config, _)) => Ok(config.to_string()),
            Err(report) => Err(report.to_string()),
        }
    }
}

const OWN: &str = "[identity]\ndirectory = \"a\"\n[peers]\nlisten = \"127.0.0.1:0\"\n";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_is_printed_is_what_another_zone_needs() {
    let place = Place::new(&["b"]);
    let printed = place.make_identity("a", "a");
    // The whole output is a piece of configuration: what is not the block is a comment.
    let peer = printed.replace("HOST:PORT", "[2001:db8::1]:7443");
    place.write("zonekms.toml", "");
    let other = peer.replace("zone = \"a\"", "zone = \"b\"");
    let accepted = place.check(&format!("[identity]\ndirectory = \"b\"\n[peers]\nlisten = \"127.0.0.1:0\"\n{other}"));
    let shown = accepted.unwrap_or_else(|report| panic!("{report}"));
    assert!(shown.contains("peer           b at [2001:db8::1]:7443, 1 certificate, HPKE key "), "{shown}");
    assert_eq!(mode(&place.path("a")), 0o700);
    for secret in ["certificate.key", "hpke.key"] {
        assert_eq!(mode(&place.path("a").join(secret)), 0o600);
        let content = fs::read_to_string(place.path("a").join(secret)).unwrap();
        assert!(content.trim().lines().all(|line| line.starts_with("-----") || !printed.contains(line)), "{secret}");
    }
    let again = run(&["zone-identity", "new", place.path("a").to_str().unwrap(), "--zone", "a"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("exists; an identity is never overwritten"), "{}", text(&again.stderr));
}

#[test]
fn the_sections_come_together_and_zones_are_told_apart() {
    let place = Place::new(&["a", "b", "c"]);
    let (b, c) = (place.peer("b"), place.peer("c"));
    let shown = place.check(&format!("{OWN}{b}{c}")).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(shown.matches("peer           ").count(), 2, "{shown}");
    assert!(place.check("").unwrap().contains("replication    none"));

    let own_zone = b.replace("zone = \"b\"", "zone = \"a\"");
    let unknown = b.replace("zone = \"b\"", "zone = \"d\"");
    let certificate_of_b = c.replace(&certificate(&c), &certificate(&b));
    let certificate_of_a = c.replace(&certificate(&c), &certificate(&place.peer("a")));
    let no_hpke_key = c.split("hpke-public-key").next().unwrap().to_owned();
    for (further, fault) in [
        (b.clone(), "[identity] is missing"),
        (b.clone(), "[peers] is missing"),
        (OWN.to_owned(), "[[peer]] is missing"),
        (format!("{OWN}{own_zone}"), "is this zone itself"),
        (format!("{OWN}{unknown}"), "d is not in the list of zones"),
        (format!("{OWN}{b}{b}"), "b has two [[peer]] sections"),
        (format!("{OWN}{b}{certificate_of_b}"), "have a certificate in common"),
        (format!("{OWN}{certificate_of_a}"), "have a certificate in common"),
        (format!("{OWN}{no_hpke_key}"), "hpke-public-key is missing"),
        (format!("{OWN}{}", b.replace("kms.example.org:7443", "kms.example.org")), "must be a host and a port"),
        (format!("{OWN}{b}").replace("[peers]", "previous-directory = \"a\"\n[peers]"), "is also previous-directory"),
        (format!("{OWN}{b}").replace("directory = \"a\"", "directory = \"x\""), "x/certificate.pem: No such file"),
    ] {
        let Err(report) = place.check(&further) else { panic!("accepted, though {fault}:\n{further}") };
        assert!(report.contains(fault), "{fault} in:\n{report}");
    }
}

/// The certificate in a `[[peer]]`.
fn certificate(peer: &str) -> String {
    let end = "-----END CERTIFICATE-----";
    let (from, to) = (peer.find("-----BEGIN").unwrap(), peer.find(end).unwrap() + end.len());
    peer[from..to].to_owned()
}

/// The three sections of the commented example, taken out of their comments and with real certificates, are right.
#[test]
fn the_example_of_other_zones_is_true() {
    let place = Place::new(&["ch-dk-2"]);
    place.make_identity("ch-gva-2", "identity");
    place.make_identity("ch-gva-2", "identity-before");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/zonekms.toml");
    let peer = place.peer("ch-dk-2");
    let key = peer.split("\"\"\"\n").nth(2).unwrap();
    let example = fs::read_to_string(example).unwrap();
    let (before, sections) = example.split_once("#   [identity]\n").unwrap();
    let (sections, after) = sections.split_once("\n\n").unwrap();
    let sections: String =
        sections.lines().map(|line| format!("{}\n", line.strip_prefix("#   ").unwrap_or(line))).collect();
    let config = format!("{before}[identity]\n{sections}\n{after}")
        .replace("-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----", &certificate(&peer))
        .replace("hpke-public-key = \"\"\"\n...\n", &format!("hpke-public-key = \"\"\"\n{key}"));
    place.write("zonekms.toml", &config);
    let (config, _) = load(&place.path("zonekms.toml"), &|_| None).unwrap_or_else(|report| panic!("{report}"));
    let replication = config.replication.unwrap();
    assert_eq!(replication.listen.to_string(), "0.0.0.0:7443");
    let peer = &replication.peers[0];
    assert_eq!(
        (peer.zone.clone(), peer.address.as_str()),
        ("ch-dk-2".parse::<ZoneName>().unwrap(), "kms-dk.example.org:7443")
    );
}
