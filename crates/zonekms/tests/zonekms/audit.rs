//! A server's audit log, and every command of `docs/operations/audit.md` on it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::api;
use crate::program::{Server, address, run, text, zonekms};

const SECRET: &str = "apiSecretCanary_0123456789abcdefghijklmnop";

/// A zone that was used, and stopped.
struct Used {
    directory: tempfile::TempDir,
    key: String,
}

impl Used {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = format!(
            "zone = \"ch-gva-2\"\nzones = [{{ name = \"ch-gva-2\", api-endpoint = \"http://127.0.0.1:8080/v2\" }}]\n\
             listen.address = \"127.0.0.1:0\"\nstore.directory = \"state/store\"\nroot-key.file = \"root.key\"\n\
             log.format = \"json\"\n[[organisation]]\nname = \"example\"\n[[organisation.api-key]]\nid = \"EXO1\"\n\
             secret = \"{SECRET}\"\n"
        );
        let file = directory.path().join("zonekms.toml");
        fs::write(&file, config).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(run(&["root-key", "new", directory.path().join("root.key").to_str().unwrap()]).status.success());
        let mut used = Self { directory, key: String::new() };
        used.key = used.serve("name-canary");
        used
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn serve(&self, name: &str) -> String {
        let mut server =
            Server::start(&mut zonekms(&["serve", "--config", self.path("zonekms.toml").to_str().unwrap()]));
        let zone =
            api::Zone { address: address(&server.wait_for("serving")), id: "EXO1".into(), secret: SECRET.into() };
        let key = zone.create_multi_zone(name);
        // "tenant 7", as in the documentation.
        let context = "dGVuYW50IDc=";
        let plaintext = "cGxhaW50ZXh0LWNhbmFyeQ==";
        let sealed = zone.on(&key, "encrypt", &json!({"plaintext": plaintext, "encryption-context": context}));
        let ciphertext = &sealed["ciphertext"];
        zone.on(&key, "decrypt", &json!({"ciphertext": ciphertext, "encryption-context": context}));
        zone.on(&key, "rotate", &Value::Null);
        let (status, _) = zone.call("POST", &format!("/kms-key/{key}/decrypt"), "{\"ciphertext\":\"AAAA\"}");
        assert_eq!(status, 400);
        let stranger = api::Zone { secret: "another-secret-of-no-one".into(), ..zone.clone() };
        assert_eq!(stranger.call("POST", "/kms-key", "{}").0, 403);
        assert_eq!(zone.call("GET", "/nowhere", "").0, 404);
        server.signal(Signal::TERM);
        let (status, log) = server.end();
        assert_eq!(status.code(), Some(0), "{log}");
        key
    }

    fn log(&self) -> PathBuf {
        self.path("state/audit")
    }

    fn entries(&self) -> Vec<Value> {
        let tail = self.audit(&["tail", self.log().to_str().unwrap(), "--all"]);
        text(&tail.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn audit(&self, arguments: &[&str]) -> Output {
        let output = run(&[&["audit"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        output
    }
}

#[test]
fn a_server_tells_what_it_did_and_refused_to_whom() {
    let used = Used::new();
    let entries = used.entries();
    let told: Vec<_> = entries
        .iter()
        .map(|entry| {
            let [operation, result, by] = ["operation", "result", "by"].map(|name| entry[name].as_str().unwrap());
            format!("{operation} {result} {by} {}", entry["status"])
        })
        .collect();
    assert_eq!(
        told,
        [
            "audit-file-begun ok server null",
            "start ok server null",
            "create-kms-key ok caller null",
            "encrypt ok caller null",
            "decrypt ok caller null",
            "rotate-kms-key ok caller null",
            "decrypt refused caller 400",
            "create-kms-key refused anonymous 403",
            "unknown refused caller 404",
            "stop ok server null",
        ]
    );
    assert!(entries[3..9].iter().all(|entry| entry["address"] == "127.0.0.1"), "{entries:?}");
    assert!(entries[2..7].iter().all(|entry| entry["credential"] == "EXO1"));
    assert!(entries[2..7].iter().all(|entry| entry["key"] == used.key.as_str()));
    assert_eq!((&entries[6]["reason"], &entries[7]["reason"]), (&"Bad Request".into(), &"not-verified".into()));
    assert_eq!(entries[7]["credential"], Value::Null, "what a bad signature claims is not told");
    for file in fs::read_dir(used.log()).unwrap() {
        let content = fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!content.to_lowercase().contains("canary") && !content.contains(SECRET), "{content}");
        assert!(!content.contains("dGVuYW50") && !content.contains("cGxhaW50"), "{content}");
    }
}

/// The fenced shell blocks of the documentation, in order, on a log of our own.
#[test]
fn the_commands_of_the_documentation_do_what_it_says() {
    let used = Used::new();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations/audit.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks: Vec<_> = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 5, "{} blocks", blocks.len());
    let program = Path::new(env!("CARGO_BIN_EXE_zonekms")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut said = String::new();
    for block in blocks {
        let block = block.replace("/etc/zonekms/zonekms.toml", used.path("zonekms.toml").to_str().unwrap());
        let block = block.replace("/var/lib/zonekms/audit", used.log().to_str().unwrap());
        let shell =
            Command::new("sh").args(["-euc", &block]).env("PATH", &path).current_dir(used.directory.path()).output();
        let shell = shell.unwrap();
        assert!(shell.status.success(), "{block}{}", text(&shell.stderr));
        said += text(&shell.stdout);
    }
    assert!(said.contains("in order: entries 0 to 9 in 1 files, "), "{said}");
    assert!(!said.contains("give --public-key"), "{said}");
    assert!(said.contains("entry 1 is among the 10 entries that were signed:\n{\"seq\":1,"), "{said}");
    assert!(said.contains("the log of 10 entries begins with all 10 of the older one"), "{said}");
    let hash = used.entries()[3]["context"].as_str().unwrap().to_owned();
    assert!(said.lines().any(|line| line == hash), "the hash of a known context is that of its entries: {said}");
}

#[test]
fn a_tampered_log_is_told_with_its_place() {
    let used = Used::new();
    let key =
        text(&used.audit(&["key", "--config", used.path("zonekms.toml").to_str().unwrap()]).stdout).trim().to_owned();
    used.serve("second-canary");
    let log = used.log();
    let log = log.to_str().unwrap();
    let verify = || run(&["audit", "verify", log, "--public-key", &key]);
    assert!(verify().status.success());
    let entries = used.entries();
    assert_eq!(entries.iter().filter(|entry| entry["operation"] == "start").count(), 2);
    let of_a_crash = ["recover", "recover-commits", "store-set-back", "audit-tail-cut"];
    assert!(entries.iter().all(|entry| !of_a_crash.contains(&entry["operation"].as_str().unwrap())), "{entries:?}");
    let file = used.log().join("00000000000000000000.jsonl");
    let original = fs::read_to_string(&file).unwrap();
    fs::write(&file, original.replacen("rotate-kms-key", "enable-kms-key", 1)).unwrap();
    let found = verify();
    assert_eq!(found.status.code(), Some(1));
    let message = text(&found.stderr);
    assert!(message.contains("00000000000000000000.jsonl:7: the line does not follow the one before it"), "{message}");
    // Nor does anything begin that would go on from it as if nothing had happened, once it is the newest file.
    fs::write(&file, original).unwrap();
    let newest = used.log().join("00000000000000000010.jsonl");
    let content = fs::read_to_string(&newest).unwrap();
    fs::write(&newest, content.replacen("rotate-kms-key", "enable-kms-key", 1)).unwrap();
    let config = used.path("zonekms.toml");
    let refused = run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("is not as it was written"), "{}", text(&refused.stderr));
}

#[test]
fn a_filter_that_matches_nothing_shows_nothing_and_a_missing_log_is_told() {
    let used = Used::new();
    let log = used.log();
    let log = log.to_str().unwrap();
    assert!(used.audit(&["tail", log, "--credential", "EXO2"]).stdout.is_empty());
    let rotations = used.audit(&["tail", log, "--operation", "rotate-kms-key", "--key", &used.key]);
    assert_eq!(text(&rotations.stdout).lines().count(), 1);
    let nothing = run(&["audit", "verify", used.directory.path().to_str().unwrap()]);
    assert_eq!((nothing.status.code(), text(&nothing.stderr).contains("there is no audit log")), (Some(2), true));
}
