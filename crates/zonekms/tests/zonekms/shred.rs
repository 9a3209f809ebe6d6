//! `zonekms shred` on a lab whose clock brings a deletion about, and every command of `docs/operations/shredding.md`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::api;
use crate::dev::{env_file, lab, stop};
use crate::program::{Server, http, run, text, zonekms};

/// The value of a line of what `zonekms shred` shows.
fn shown<'t>(status: &'t str, line: &str) -> &'t str {
    let found = status.lines().find_map(|shown| shown.strip_prefix(line));
    found.unwrap_or_else(|| panic!("no {line}:\n{status}")).trim_start()
}

fn entries(log: &Path) -> Vec<Value> {
    let tail = run(&["audit", "tail", log.to_str().unwrap(), "--all"]);
    text(&tail.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Operation, result, who and how many, of the entries that are about the keyring and what it seals.
fn acts(log: &Path) -> Vec<String> {
    let acts = ["begin-epoch", "begin-shred", "retire-epochs", "shred-unreadable", "shred", "final-deletion"];
    let told = entries(log).into_iter().filter(|entry| acts.contains(&entry["operation"].as_str().unwrap()));
    told.map(|entry| {
        let [operation, result, by] = ["operation", "result", "by"].map(|name| entry[name].as_str().unwrap());
        format!("{operation} {result} {by} {}", entry["count"])
    })
    .collect()
}

#[test]
fn an_operator_sees_what_waits_and_has_it_shredded() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().to_str().unwrap();
    let shred = |more: &[&str]| {
        let output = run(&[&["shred", "--data-dir", data], more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    let arguments = ["dev", "--data-dir", data, "--listen", "127.0.0.1:0", "--zones", "ch-gva-2"];
    let server = Server::start(&mut zonekms(&arguments));
    let env = env_file(scratch.path());
    let endpoint = env["EXOSCALE_API_ENDPOINT"].strip_prefix("http://").unwrap().strip_suffix("/v2").unwrap();
    let zone = api::Zone {
        address: endpoint.parse().unwrap(),
        id: env["EXOSCALE_API_KEY"].clone(),
        secret: env["EXOSCALE_API_SECRET"].clone(),
    };
    let [doomed, kept] = ["doomed", "kept"].map(|name| zone.create_multi_zone(name));
    let sealed = zone.on(&kept, "encrypt", &json!({"plaintext": "a2VwdA=="}))["ciphertext"].clone();
    let before = shred(&[]);
    assert_eq!((shown(&before, "waiting"), shown(&before, "epochs")), ("nothing", "1"));
    assert!(shown(&before, "last pass").starts_with("none since the server started"), "{before}");

    zone.on(&doomed, "schedule-deletion", &json!({"delay-days": 7}));
    assert_eq!(http(lab(&env), "POST", "/lab/clock", r#"{"advance":"8d"}"#).0, 200);
    let waits = shred(&[]);
    assert!(shown(&waits, "waiting").starts_with("1 deletion since 20"), "{waits}");
    assert_eq!((shown(&waits, "epochs"), shown(&waits, "begins")), ("2", "10m after the first final deletion"));

    let done = shred(&["--now"]);
    assert!(done.starts_with("what was deleted for good before this is shredded\n"), "{done}");
    // The key that stays, and its name.
    assert_eq!((shown(&done, "sealed anew"), shown(&done, "given up")), ("2 records", "1 epoch"));
    let after = shred(&[]);
    assert_eq!((shown(&after, "waiting"), shown(&after, "epochs")), ("nothing", "1"));
    assert_eq!(shown(&after, "under way"), "nothing");
    assert!(shown(&after, "last pass").ends_with(": 2 records sealed anew, 0 unreadable, 1 epoch given up"), "{after}");
    assert_eq!(zone.on(&kept, "decrypt", &json!({"ciphertext": sealed}))["plaintext"], "a2VwdA==");
    stop(server);

    let told = acts(&scratch.path().join("ch-gva-2/audit"));
    let expected = [
        "begin-epoch ok server 2",
        "final-deletion ok scheduler null",
        "begin-shred ok operator null",
        "retire-epochs ok server 1",
        "shred ok operator 2",
    ];
    assert_eq!(told, expected);

    let nobody = run(&["shred", "--now", "--data-dir", data, "--zone", "ch-gva-2"]);
    assert_eq!(nobody.status.code(), Some(1));
    let told = text(&nobody.stderr);
    assert!(told.starts_with("zonekms: no server runs on ") && told.contains("running server's work"), "{told}");
}

/// A served zone of its own, with a default key so that its store is not empty.
fn served(extra: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("zonekms.toml");
    let config = format!(
        "zone = \"ch-gva-2\"\nzones = [{{ name = \"ch-gva-2\", api-endpoint = \"http://127.0.0.1:8080/v2\" }}]\n\
         listen.address = \"127.0.0.1:0\"\nstore.directory = \"state/store\"\nroot-key.file = \"root.key\"\n\
         log.format = \"json\"\n{extra}\n[[organisation]]\nname = \"example\"\ndefault-key = \"first\"\n\
         [[organisation.api-key]]\nid = \"EXO1\"\nsecret = \"apiSecret_0123456789abcdefghijklmnop\"\n"
    );
    fs::write(&file, config).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(run(&["root-key", "new", directory.path().join("root.key").to_str().unwrap()]).status.success());
    (directory, file)
}

fn serve(file: &Path) -> Server {
    let mut server = Server::start(&mut zonekms(&["serve", "--config", file.to_str().unwrap()]));
    server.wait_for("serving");
    server
}

#[test]
fn the_interval_of_the_configuration_is_the_servers() {
    let (_directory, file) = served("shred.after = \"90s\"");
    let config = file.to_str().unwrap();
    let checked = run(&["check-config", "--config", config]);
    assert!(text(&checked.stdout).contains("shredding      90s after the first final deletion\n"), "{checked:?}");
    let mut server = serve(&file);
    let status = run(&["shred", "--config", config]);
    assert_eq!(shown(text(&status.stdout), "begins"), "90s after the first final deletion");
    server.signal(Signal::TERM);
    assert_eq!(server.end().0.code(), Some(0));
}

/// The fenced shell blocks of the documentation, in order, on a server of our own; and what the log has of the last one.
#[test]
fn the_commands_of_the_documentation_do_what_it_says() {
    let (directory, file) = served("");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations/shredding.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks: Vec<_> = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 3, "status, a pass, the log");
    let program = Path::new(env!("CARGO_BIN_EXE_zonekms")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let log = directory.path().join("state/audit");
    let mut server = serve(&file);
    let mut said = String::new();
    for block in blocks {
        let block = block.replace("/etc/zonekms/zonekms.toml", file.to_str().unwrap());
        let block = block.replace("/var/lib/zonekms/audit", log.to_str().unwrap());
        let shell = Command::new("sh").args(["-euc", &block]).env("PATH", &path).output().unwrap();
        assert!(shell.status.success(), "{block}{}", text(&shell.stderr));
        said += text(&shell.stdout);
    }
    assert!(said.contains("waiting      nothing\n") && said.contains("sealed anew  2 records\n"), "{said}");
    let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!([&last["operation"], &last["result"], &last["count"]], [&json!("shred"), &json!("ok"), &json!(2)]);
    server.signal(Signal::TERM);
    assert_eq!(server.end().0.code(), Some(0));
}
