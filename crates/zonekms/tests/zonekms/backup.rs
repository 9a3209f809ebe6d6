//! Backups through the real program: on another machine, under load, and killed at any moment.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::api::Zone;
use crate::program::{Server, address, run, text, zonekms};

const ID: &str = "EXO0123456789abcdef01234567";
const SECRET: &str = "kmsTestSecret_0123456789abcdefghijklmnopq";

/// A machine with a zone of its own root key.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        assert!(run(&["root-key", "new", &machine.file("root.key")]).status.success());
        let config = format!(
            "zone = \"ch-gva-2\"\nzones = [{{ name = \"ch-gva-2\", api-endpoint = \"http://127.0.0.1:8080/v2\" }}]\n\
             listen.address = \"127.0.0.1:0\"\nstore.directory = \"state/store\"\nroot-key.file = \"root.key\"\n\
             log.format = \"json\"\n[[organisation]]\nname = \"example\"\n[[organisation.api-key]]\n\
             id = \"{ID}\"\nsecret = \"{SECRET}\"\n"
        );
        private(&machine.path("zonekms.toml"), &config);
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn serve(&self) -> (Server, Zone) {
        let mut server = Server::start(&mut zonekms(&["serve", "--config", &self.file("zonekms.toml")]));
        let address = address(&server.serves().unwrap_or_else(|log| panic!("it does not serve:\n{log}")));
        (server, Zone { address, id: ID.to_owned(), secret: SECRET.to_owned() })
    }

    fn on_zone(&self, command: &[&str]) -> Output {
        run(&[command, &["--config", &self.file("zonekms.toml")]].concat())
    }

    fn restore(&self, backup: &str, identity: &str) -> Output {
        self.on_zone(&["restore", "--from", backup, "--identity", identity])
    }
}

fn private(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn told(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// A new backup key in `file`; its public half.
fn new_key(file: &str) -> String {
    let made = run(&["backup-key", "new", file]);
    let recipient = text(&made.stdout).split_whitespace().find(|word| word.starts_with("age1"));
    recipient.unwrap_or_else(|| panic!("{made:?}")).to_owned()
}

fn create(zone: &Zone, name: &str) -> String {
    let (status, key) = zone.call("POST", "/kms-key", &json!({"name": name, "multi-zone": true}).to_string());
    assert_eq!(status, 200, "{key}");
    key["id"].as_str().unwrap().to_owned()
}

fn encrypt(zone: &Zone, key: &str, plaintext: &str) -> Value {
    zone.on(key, "encrypt", &json!({"plaintext": BASE64_STANDARD.encode(plaintext)}))["ciphertext"].clone()
}

fn decrypt(zone: &Zone, key: &str, ciphertext: &Value) -> String {
    let answer = zone.on(key, "decrypt", &json!({"ciphertext": ciphertext}));
    String::from_utf8(BASE64_STANDARD.decode(answer["plaintext"].as_str().unwrap()).unwrap()).unwrap()
}

#[test]
fn a_new_machine_with_another_root_key_opens_every_old_ciphertext() {
    let old = Machine::new();
    let (identity, to_key, to_pass, pass) =
        (old.file("backup.key"), old.file("running.age"), old.file("stopped.age"), old.file("pass"));
    let recipient = new_key(&identity);
    private(Path::new(&pass), "correct horse battery staple\n");
    let (mut server, zone) = old.serve();
    let mut sealed = Vec::new();
    for number in 0..5 {
        let key = create(&zone, &format!("key {number}"));
        for version in 0..=number {
            sealed.push((
                key.clone(),
                encrypt(&zone, &key, &format!("{number}.{version}")),
                format!("{number}.{version}"),
            ));
            zone.on(&key, "rotate", &Value::Null);
        }
    }
    let running = old.on_zone(&["backup", "--to", &to_key, "--recipient", &recipient]);
    assert!(running.status.success(), "{running:?}");
    assert_eq!(fs::metadata(&to_key).unwrap().permissions().mode() & 0o777, 0o600);
    let again = old.on_zone(&["backup", "--to", &to_key, "--recipient", &recipient]);
    assert!(told(&again).contains("--force"), "{again:?}");
    assert!(old.on_zone(&["backup", "--to", &to_key, "--recipient", &recipient, "--force"]).status.success());
    server.signal(Signal::TERM);
    assert_eq!(server.end().0.code(), Some(0));
    let stopped = old.on_zone(&["backup", "--to", &to_pass, "--passphrase-file", &pass]);
    assert!(stopped.status.success(), "{stopped:?}");
    let nobody = old.on_zone(&["backup", "--to", &old.file("other")]);
    assert_eq!(nobody.status.code(), Some(2), "{nobody:?}");

    for (backup, unlock) in [(&to_key, ["--identity", &identity]), (&to_pass, ["--passphrase-file", &pass])] {
        let verified = run(&[&["verify-backup", backup][..], &unlock].concat());
        assert!(told(&verified).contains("keys      5, with 20 material versions; 0 deleted"), "{verified:?}");
        let new = Machine::new();
        let restored = new.on_zone(&[&["restore", "--from", backup][..], &unlock].concat());
        assert!(restored.status.success(), "{restored:?}");
        assert!(told(&restored).contains("5 keys of several zones have a new material version"), "{restored:?}");
        let (mut server, zone) = new.serve();
        for (key, ciphertext, plaintext) in &sealed {
            assert_eq!(decrypt(&zone, key, ciphertext), *plaintext);
        }
        let meanwhile = told(&new.on_zone(&[&["restore", "--from", backup][..], &unlock].concat()));
        assert!(meanwhile.contains("in use by another process"), "{meanwhile}");
        server.signal(Signal::TERM);
        server.end();
        let twice = told(&new.on_zone(&[&["restore", "--from", backup][..], &unlock].concat()));
        assert!(twice.contains("a restore is for an empty place"), "{twice}");
        // The old keyring opens nothing there, nor the old root key.
        assert_ne!(fs::read(new.path("root.key")).unwrap(), fs::read(old.path("root.key")).unwrap());
        fs::copy(old.path("root.key"), new.path("root.key")).unwrap();
        let refused =
            Server::start(&mut zonekms(&["serve", "--config", &new.file("zonekms.toml")])).end_without("serving");
        assert!(refused.contains("wrong root key"), "{refused}");
    }
    let swapped = run(&["verify-backup", &to_pass, "--identity", &identity]);
    assert!(told(&swapped).contains("give --passphrase-file"), "{swapped:?}");
}

#[test]
fn a_damaged_backup_is_told_and_makes_nothing() {
    let old = Machine::new();
    let (identity, backup) = (old.file("backup.key"), old.file("b.age"));
    let recipient = new_key(&identity);
    let (_server, zone) = old.serve();
    create(&zone, "k1");
    assert!(old.on_zone(&["backup", "--to", &backup, "--recipient", &recipient]).status.success());
    let whole = fs::read(&backup).unwrap();
    let new = Machine::new();
    // Each part of the file: age's head, the first bytes of the payload, the middle, the end. Every byte is kms-backup's test.
    for at in [0, 30, 120, 200, 400, whole.len() / 2, whole.len() - 17, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&backup, bytes).unwrap();
        let refused = run(&["verify-backup", &backup, "--identity", &identity]);
        assert_eq!(refused.status.code(), Some(1), "byte {at}: {refused:?}");
        assert_eq!(new.restore(&backup, &identity).status.code(), Some(1), "byte {at}");
        assert!(!new.path("state/store").exists() && !new.path("state/keyring.restoring").exists(), "byte {at}");
    }
    fs::write(&backup, whole).unwrap();
    assert!(new.restore(&backup, &identity).status.success());
}

#[test]
fn every_change_answered_before_a_backup_under_load_is_in_it() {
    let old = Machine::new();
    let identity = old.file("backup.key");
    let recipient = new_key(&identity);
    let (_server, zone) = old.serve();
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let users: Vec<_> = (0..3)
            .map(|user| {
                let (zone, end) = (&zone, &end);
                let (told, answered) = std::sync::mpsc::channel();
                scope.spawn(move || {
                    for number in 0..250 {
                        if end.load(Ordering::Relaxed) {
                            return;
                        }
                        let key = create(zone, &format!("{user} {number}"));
                        zone.on(&key, "rotate", &Value::Null);
                        let ciphertext = encrypt(zone, &key, "version 2");
                        if told.send((key, ciphertext)).is_err() {
                            return;
                        }
                    }
                });
                answered
            })
            .collect();
        let mut answered = Vec::new();
        for round in 0..3 {
            // At least a few more each time, whatever the machine's speed.
            for user in &users {
                answered.extend((0..10).filter_map(|_| user.recv().ok()));
                answered.extend(user.try_iter());
            }
            let backup = old.file(&format!("{round}.age"));
            let taken = old.on_zone(&["backup", "--to", &backup, "--recipient", &recipient]);
            assert!(taken.status.success(), "{taken:?}");
            let new = Machine::new();
            let restored = new.restore(&backup, &identity);
            assert!(restored.status.success(), "{restored:?}");
            let (_server, there) = new.serve();
            for (key, ciphertext) in &answered {
                assert_eq!(decrypt(&there, key, ciphertext), "version 2");
            }
        }
        end.store(true, Ordering::Relaxed);
        assert!(answered.len() >= 90, "{}", answered.len());
    });
}

#[test]
fn a_killed_restore_leaves_a_whole_zone_or_says_what_to_do() {
    let old = Machine::new();
    let (identity, backup) = (old.file("backup.key"), old.file("b.age"));
    let recipient = new_key(&identity);
    let (_server, zone) = old.serve();
    let keys: Vec<_> = (0..150).map(|number| create(&zone, &format!("key {number}"))).collect();
    let ciphertext = encrypt(&zone, &keys[0], "old");
    assert!(old.on_zone(&["backup", "--to", &backup, "--recipient", &recipient]).status.success());

    let (mut cut_short, mut whole) = (0, 0);
    // At least ten kills, and on until one came in time.
    for round in 0..50_u64 {
        if round >= 10 && cut_short > 0 {
            break;
        }
        let new = Machine::new();
        let mut command =
            zonekms(&["restore", "--from", &backup, "--identity", &identity, "--config", &new.file("zonekms.toml")]);
        let mut restore = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The kill comes at some moment after the first file was made, or when all is over.
        while restore.try_wait().unwrap().is_none() && !new.path("state/keyring.restoring").exists() {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(3 * (round % 10)));
        if restore.try_wait().unwrap().is_none() {
            kill_process(Pid::from_child(&restore), Signal::KILL).unwrap();
        }
        restore.wait().unwrap();

        let mut server = Server::start(&mut zonekms(&["serve", "--config", &new.file("zonekms.toml")]));
        match server.serves() {
            Ok(event) => {
                whole += 1;
                let there = Zone { address: address(&event), ..zone.clone() };
                assert!(keys.iter().all(|key| there.get(key).is_some()), "round {round}: half a zone is served");
                assert_eq!(decrypt(&there, &keys[0], &ciphertext), "old");
            }
            Err(log) => {
                cut_short += 1;
                assert!(log.contains("a restore of this zone was not finished: delete"), "round {round}: {log}");
                let again = told(&new.restore(&backup, &identity));
                assert!(again.contains("was not finished"), "{again}");
                for made in ["state/keyring.restoring", "state/manifest"] {
                    let _ = fs::remove_file(new.path(made));
                }
                let _ = fs::remove_dir_all(new.path("state/store"));
                let repeated = new.restore(&backup, &identity);
                assert!(repeated.status.success(), "round {round}: {repeated:?}");
            }
        }
    }
    assert!(cut_short > 0, "no kill came in time ({whole} restores were whole)");
}

#[test]
fn a_killed_backup_leaves_no_half_file() {
    let old = Machine::new();
    let (identity, backup) = (old.file("backup.key"), old.file("b.age"));
    let recipient = new_key(&identity);
    let (mut server, zone) = old.serve();
    for number in 0..100 {
        create(&zone, &format!("key {number}"));
    }
    let arguments = ["backup", "--to", &backup, "--recipient", &recipient, "--config", &old.file("zonekms.toml")];
    let has_part = || {
        let names = fs::read_dir(old.path("b.age").parent().unwrap()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("b.age.") && name.ends_with(".part")).count() > 0
    };
    for round in 0..6 {
        let mut taking = zonekms(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while taking.try_wait().unwrap().is_none() && !has_part() {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(2 * round));
        if round < 4 {
            if taking.try_wait().unwrap().is_none() {
                kill_process(Pid::from_child(&taking), Signal::KILL).unwrap();
            }
        } else {
            server.signal(Signal::KILL);
            server.end();
        }
        // A command that met no server any more takes the backup itself, and no server starts until it has.
        let ended = taking.wait().unwrap();
        if round >= 4 {
            server = old.serve().0;
        }
        assert!(!ended.success() || old.path("b.age").exists());
        if old.path("b.age").exists() {
            let verified = run(&["verify-backup", &backup, "--identity", &identity]);
            assert!(verified.status.success(), "round {round}: {verified:?}");
            fs::remove_file(&backup).unwrap();
        }
    }
    assert!(run(&arguments).status.success(), "the next one is made");
    assert!(!has_part());
    assert!(run(&["verify-backup", &backup, "--identity", &identity]).status.success());
}

/// The commands of both documents, in order, as they stand there; only the places are others.
#[test]
fn the_documents_commands_work_from_backup_to_drill_and_restore() {
    let (old, new) = (Machine::new(), tempfile::tempdir().unwrap());
    let (_server, zone) = old.serve();
    let key = create(&zone, "k1");
    let ciphertext = encrypt(&zone, &key, "old");
    fs::create_dir(old.path("backups")).unwrap();
    fs::copy(old.path("zonekms.toml"), new.path().join("zonekms.toml")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut script = String::from("set -euxo pipefail\n");
    for document in ["backup.md", "disaster-recovery.md"] {
        let text = fs::read_to_string(root.join("docs/operations").join(document)).unwrap();
        let blocks: Vec<_> =
            text.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect();
        assert!(blocks.len() >= 2, "{document}");
        script += &blocks.concat();
    }
    let script = script
        .replace("/etc/zonekms-new", new.path().to_str().unwrap())
        .replace("/etc/zonekms/", &format!("{}/", old.0.path().display()))
        .replace("/var/backups/zonekms", &old.file("backups"))
        .replace("docs/examples/", &format!("{}/docs/examples/", root.display()));
    let program = Path::new(env!("CARGO_BIN_EXE_zonekms"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut bash = std::process::Command::new("bash");
    let ran = bash.args(["-c", &script]).current_dir(old.0.path()).env("PATH", path).output().unwrap();
    assert!(ran.status.success(), "{}", told(&ran));
    assert!(told(&ran).contains("the drill succeeded"), "{}", told(&ran));
    let mut server =
        Server::start(&mut zonekms(&["serve", "--config", new.path().join("zonekms.toml").to_str().unwrap()]));
    let there = Zone { address: address(&server.serves().unwrap()), ..zone };
    assert_eq!(decrypt(&there, &key, &ciphertext), "old");
}
