//! A root key sealed by a PKCS#11 token: SoftHSM 2.
//!
//! Its library and its tool are those of Debian's packages `softhsm2` and `libsofthsm2`. Where they are not installed, they are
//! fetched with `apt-get download` and unpacked under the target directory, which needs no root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::zone::{Zone, stop};

const PIN: &str = "7356-kms-pin";

pub(super) struct SoftHsm {
    pub(super) module: PathBuf,
    pub(super) tool: PathBuf,
}

impl SoftHsm {
    pub(super) fn find() -> Self {
        const MODULE: &str = "usr/lib/softhsm/libsofthsm2.so";
        const TOOL: &str = "usr/bin/softhsm2-util";
        let in_directory = |root: &Path| Self { module: root.join(MODULE), tool: root.join(TOOL) };
        let installed = in_directory(Path::new("/"));
        if installed.is_there() {
            return installed;
        }
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("softhsm");
        fs::create_dir_all(&place).unwrap();
        let lock = fs::File::create(place.join("lock")).unwrap();
        lock.lock().unwrap();
        let fetched = in_directory(&place);
        if !fetched.is_there() {
            let script = "apt-get download softhsm2 libsofthsm2 && for deb in *.deb; do dpkg-deb -x \"$deb\" .; done";
            let done = Command::new("sh").args(["-c", script]).current_dir(&place).output().unwrap();
            assert!(
                done.status.success() && fetched.is_there(),
                "SoftHSM 2 is not installed and cannot be fetched; run: apt-get install softhsm2\n{}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        fetched
    }

    fn is_there(&self) -> bool {
        self.module.is_file() && self.tool.is_file()
    }

    /// A zone with a token of its own, and a wrapping key in it.
    fn zone(&self) -> Zone {
        let zone = Zone::new(&self.section("root-key", "zonekms"));
        fs::create_dir(zone.path("tokens")).unwrap();
        let tokens = zone.path("tokens");
        zone.write("softhsm2.conf", &format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()));
        zone.write("pin", &format!("{PIN}\n"));
        let conf = zone.path("softhsm2.conf");
        self.make_token(&zone, "zonekms");
        zone.with_variable("SOFTHSM2_CONF", conf.to_str().unwrap())
    }

    fn make_token(&self, zone: &Zone, label: &str) {
        let mut init = Command::new(&self.tool);
        init.args(["--init-token", "--free", "--label", label, "--so-pin", "0000-so-pin", "--pin", PIN]);
        init.arg("--module").arg(&self.module).env("SOFTHSM2_CONF", zone.path("softhsm2.conf"));
        let made = init.output().unwrap();
        assert!(
            made.status.success(),
            "{}{}",
            String::from_utf8_lossy(&made.stdout),
            String::from_utf8_lossy(&made.stderr)
        );
    }

    fn section(&self, section: &str, token: &str) -> String {
        format!(
            "[{section}.pkcs11]\nmodule = \"{}\"\ntoken = \"{token}\"\nkey = \"root\"\npin-file = \"pin\"\n",
            self.module.display()
        )
    }
}

#[test]
fn a_token_seals_the_root_key_and_opens_it_again() {
    let soft_hsm = SoftHsm::find();
    let zone = soft_hsm.zone();
    let no_key = zone.start_refused();
    assert!(
        no_key.contains("token \"zonekms\" has 0 AES keys with label \"root\", and must have exactly one"),
        "{no_key}"
    );
    let made = zone.run(&["root-key", "new-token-key"]);
    assert!(made.starts_with("made the key \"root\" of token \"zonekms\""), "{made}");
    let again = zone.refusal(&["root-key", "new-token-key"]);
    assert!(again.contains("has a key with label \"root\" already; it is never replaced"), "{again}");

    stop(zone.start());
    let server = zone.start();
    assert!(zone.status().contains("provider     PKCS#11 token\n"), "{}", zone.status());
    zone.run(&["root-key", "rotate"]);
    assert!(zone.status().contains("generation   2\n"), "{}", zone.status());
    stop(server);
    stop(zone.start());

    // From the token to a file and back, online.
    zone.make_root_key("root.key");
    let to_file = soft_hsm.section("root-key", "zonekms") + "[root-key-next]\nfile = \"root.key\"\n";
    zone.configure(&to_file);
    let server = zone.start();
    zone.run(&["root-key", "rotate", "--to-next"]);
    let back = format!("[root-key]\nfile = \"root.key\"\n{}", soft_hsm.section("root-key-next", "zonekms"));
    zone.configure(&back);
    zone.run(&["root-key", "rotate", "--to-next"]);
    stop(server);
    zone.configure(&soft_hsm.section("root-key", "zonekms"));
    stop(zone.start());
}

#[test]
fn a_token_that_is_not_the_right_one_is_refused_and_nothing_changes() {
    let soft_hsm = SoftHsm::find();
    let zone = soft_hsm.zone();
    zone.run(&["root-key", "new-token-key"]);
    stop(zone.start());
    let before = zone.state();

    zone.write("pin", "1234-wrong");
    let wrong_pin = zone.start_refused();
    assert!(wrong_pin.contains("token \"zonekms\" refuses the PIN"), "{wrong_pin}");
    assert!(!wrong_pin.contains("1234-wrong"), "{wrong_pin}");
    zone.write("pin", PIN);

    zone.configure(&soft_hsm.section("root-key", "elsewhere"));
    let no_token = zone.start_refused();
    assert!(no_token.contains("has no token with label \"elsewhere\"; it has \"zonekms\""), "{no_token}");

    // A token with a key of the same name, and not the same key.
    soft_hsm.make_token(&zone, "elsewhere");
    zone.run(&["root-key", "new-token-key"]);
    let other_key = zone.start_refused();
    assert!(other_key.contains("does not open the keyring's root key"), "{other_key}");

    zone.configure(&soft_hsm.section("root-key", "zonekms").replace("libsofthsm2.so", "libc.so"));
    let no_module = zone.refusal(&["check-config"]);
    assert!(no_module.contains("there is no such PKCS#11 module"), "{no_module}");

    assert!(zone.state() == before, "a refused start changed the state");
    zone.configure(&soft_hsm.section("root-key", "zonekms"));
    stop(zone.start());
}
