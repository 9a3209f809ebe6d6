//! The example configurations load, and a faulty one gets the whole truth at once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kms_audit::AuditSettings;
use zonekms::config::{Report, Transport, load};

use crate::program::{run, text};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn write(path: &Path, content: &str, mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory with `config` as `zonekms.toml`, and the files that the examples name.
fn place(config: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("zonekms.toml");
    write(&file, config, 0o600);
    write(&directory.path().join("root.key"), &format!("{}\n", "0123456789abcdef".repeat(4)), 0o600);
    write(&directory.path().join("api-secret"), "kmsTestSecret_0123456789abcdefghijklmnopq\n", 0o600);
    (directory, file)
}

fn report(config: &str) -> Box<Report> {
    let (_directory, file) = place(config);
    match load(&file, &|_| None) {
        Ok(_) => panic!("accepted:\n{config}"),
        Err(report) => report,
    }
}

#[test]
fn the_examples_load() {
    for example in ["config/zonekms.toml", "config/minimal.toml"] {
        let (_directory, file) = place(&fs::read_to_string(repository(example)).unwrap());
        let (config, report) = load(&file, &|_| None).unwrap_or_else(|report| panic!("{report}"));
        assert!(report.warnings().is_empty(), "{example}: {:?}", report.warnings());
        assert_eq!(config.zone.as_str(), "ch-gva-2");
    }
}

/// Every commented-out setting of the full example, put in force, is a known one with its default.
#[test]
fn the_comments_of_the_full_example_are_true() {
    let example = fs::read_to_string(repository("config/zonekms.toml")).unwrap();
    let (_directory, file) = place(&example);
    let (plain, _) = load(&file, &|_| None).unwrap_or_else(|report| panic!("{report}"));
    let mut in_force = 0;
    let uncommented: String = example
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if is_plain_setting(setting) => {
                in_force += 1;
                format!("{setting}\n")
            }
            Some(_) | None => format!("{line}\n"),
        })
        .collect();
    assert_eq!(in_force, 23, "settings that are commented out and no alternatives");
    let (_directory, file) = place(&uncommented);
    let (full, report) = load(&file, &|_| None).unwrap_or_else(|report| panic!("{report}"));
    assert!(report.warnings().is_empty());
    assert_eq!(full.limits, plain.limits);
    assert_eq!(full.log, plain.log);
    assert_eq!(full.shred_after, plain.shred_after);
    assert_eq!(full.audit.directory.file_name(), plain.audit.directory.file_name());
    assert_eq!(full.audit, AuditSettings { directory: full.audit.directory.clone(), ..plain.audit });
    assert_eq!(full.store.manifest.file_name(), plain.store.manifest.file_name());
    assert_eq!(full.control_socket.file_name(), plain.control_socket.file_name());
    assert_eq!(full.store.keyring.file_name(), plain.store.keyring.file_name());
}

/// A line such as `connections = 1024`, and not one of several ways to name a secret, nor of [tls], which needs files.
fn is_plain_setting(text: &str) -> bool {
    let Some((key, value)) = text.split_once(" = ") else { return false };
    let alternatives =
        ["environment", "credential", "secret-environment", "secret-credential", "secret", "certificate", "key"];
    if key.starts_with("passphrase-") {
        return false;
    }
    key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        && !value.is_empty()
        && !alternatives.contains(&key)
}

/// The report on a file with every mistake, line by line. `ZONEKMS_GOLDEN=write` writes it anew.
#[test]
fn every_fault_is_reported_at_once_with_its_place() {
    let golden = repository("crates/zonekms/tests/zonekms/golden");
    let (directory, file) = place(&fs::read_to_string(golden.join("faulty.toml")).unwrap());
    write(&directory.path().join("open.key"), "-----BEGIN PRIVATE KEY-----", 0o644);
    write(&directory.path().join("open.secret"), "0123456789abcdef", 0o640);
    let output = run(&["check-config", "--config", file.to_str().unwrap()]);
    let found = text(&output.stderr).replace(directory.path().to_str().unwrap(), "DIR");
    let expected_file = golden.join("faulty.report.txt");
    if std::env::var_os("ZONEKMS_GOLDEN").is_some_and(|mode| mode == "write") {
        fs::write(&expected_file, &found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(expected_file).unwrap());
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]));
    assert!(!found.contains("hunter2"), "a secret in a report");
}

/// The secret itself where the name of its place belongs: the report says where that is, and not what.
#[test]
fn a_secret_in_the_wrong_field_is_not_repeated() {
    const SECRET: &str = "hunter2-0123456789abcdefghijklmnopq";
    let minimal = fs::read_to_string(repository("config/minimal.toml")).unwrap();
    let (root_key, api_secret) = ("file = \"root.key\"", "secret-file = \"api-secret\"");
    let tls =
        |certificate: &str, key: &str| format!("{minimal}\n[tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
    let pem = format!("-----BEGIN PRIVATE KEY-----\\n{SECRET}\\n-----END PRIVATE KEY-----");
    let cases = [
        minimal.replace(root_key, &format!("file = \"{SECRET}\"")),
        minimal.replace(root_key, &format!("file = \"{}\"", SECRET.repeat(200))),
        minimal.replace(root_key, &format!("environment = \"{SECRET}\"")),
        minimal.replace(root_key, &format!("credential = \"{SECRET}\"")),
        minimal.replace(api_secret, &format!("secret-file = \"{SECRET}\"")),
        minimal.replace(api_secret, &format!("secret-file = \"/{SECRET}/x\"")),
        minimal.replace(api_secret, &format!("secret-file = {SECRET}")),
        minimal.replace(api_secret, &format!("secret-environment = \"{SECRET}\"")),
        minimal.replace(api_secret, &format!("secret-credential = \"{SECRET}\"")),
        tls("root.key", &pem),
        tls(&pem, "root.key"),
    ];
    for config in cases {
        assert_ne!(config, minimal);
        let line = 1 + config.lines().position(|line| line.contains(SECRET)).unwrap();
        let (directory, file) = place(&config);
        for environment in [None, Some(directory.path())] {
            let look_up = |name: &str| {
                environment.filter(|_| name == "CREDENTIALS_DIRECTORY").map(|path| path.as_os_str().to_owned())
            };
            let Err(report) = load(&file, &look_up) else { panic!("accepted:\n{config}") };
            let report = report.to_string();
            assert!(!report.contains("hunter2"), "{report}");
            assert!(report.contains(&format!("zonekms.toml:{line}:")), "line {line} in:\n{report}");
        }
    }
}

#[test]
fn syntax_errors_have_places_too() {
    let report = report("zone = \"a\nlisten = [\n").to_string();
    assert!(report.contains("zonekms.toml:1:"), "{report}");
}

#[test]
fn an_empty_file_is_told_what_is_missing() {
    let report = report("").to_string();
    for part in [
        "zone is missing",
        "[[zones]] is missing",
        "[listen] is missing",
        "[store] is missing",
        "[root-key] is missing",
        "[[organisation]] is missing",
    ] {
        assert!(report.contains(part), "{part} in:\n{report}");
    }
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let output = run(&["serve", "--config", "/nowhere/zonekms.toml"]);
    assert!(
        text(&output.stderr).starts_with(
            "zonekms: /nowhere/zonekms.toml has 1 fault\n/nowhere/zonekms.toml: No such file or directory"
        )
    );
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn plain_http_leaves_this_machine_only_on_purpose() {
    let minimal = fs::read_to_string(repository("config/minimal.toml")).unwrap();
    let open = minimal.replace("address = \"127.0.0.1:8080\"", "address = \"0.0.0.0:8080\"");
    assert!(report(&open).to_string().contains("plain HTTP is for loopback only"));
    let allowed = open.replace("[listen]", "[listen]\nallow-plaintext = true");
    let (_directory, file) = place(&allowed);
    let (_, report) = load(&file, &|_| None).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(report.warnings().len(), 1);
    assert!(report.warnings()[0].contains(":10:11: listen.address: plain HTTP"), "{:?}", report.warnings());
}

#[test]
fn a_secret_in_a_file_for_all_is_warned_about() {
    let minimal = fs::read_to_string(repository("config/minimal.toml")).unwrap();
    let inline = minimal.replace("secret-file = \"api-secret\"", "secret = \"0123456789abcdef\"");
    for (mode, warnings) in [(0o600, 0), (0o640, 1), (0o604, 1)] {
        let (_directory, file) = place(&inline);
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let (_, report) = load(&file, &|_| None).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(report.warnings().len(), warnings, "{mode:o}");
    }
}

#[test]
fn secrets_come_from_the_environment_and_from_credentials() {
    let minimal = fs::read_to_string(repository("config/minimal.toml")).unwrap();
    let config = minimal
        .replace("file = \"root.key\"", "credential = \"root\"")
        .replace("secret-file = \"api-secret\"", "secret-environment = \"API\"");
    let (directory, file) = place(&config);
    write(&directory.path().join("root"), &"a1".repeat(31), 0o440);
    let environment = |name: &str| match name {
        "CREDENTIALS_DIRECTORY" => Some(directory.path().as_os_str().to_owned()),
        "API" => Some("0123456789abcdef".into()),
        _ => None,
    };
    let Err(short) = load(&file, &environment) else { panic!("31 bytes are no root key") };
    assert!(short.to_string().contains("root-key.credential: credential root: must be 64"), "{short}");
    write(&directory.path().join("root"), &format!("{}b2", "a1".repeat(31)), 0o440);
    assert!(load(&file, &environment).is_ok());
    assert_eq!(report(&config).fault_count(), 2);
}

#[test]
fn certificate_and_key_must_belong_together() {
    let minimal = fs::read_to_string(repository("config/minimal.toml")).unwrap();
    let config = format!("{minimal}\n[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n");
    let (directory, file) = place(&config);
    let [one, other] = [(); 2].map(|()| rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap());
    write(&directory.path().join("cert.pem"), &one.cert.pem(), 0o644);
    write(&directory.path().join("key.pem"), &one.signing_key.serialize_pem(), 0o600);
    let (good, _) = load(&file, &|_| None).unwrap_or_else(|report| panic!("{report}"));
    assert!(matches!(good.listen.transport, Transport::Tls(_)));

    write(&directory.path().join("key.pem"), &other.signing_key.serialize_pem(), 0o600);
    let Err(report) = load(&file, &|_| None) else { panic!("a certificate with another's key") };
    assert!(report.to_string().contains("certificate and key do not work together"), "{report}");
    write(&directory.path().join("key.pem"), &one.signing_key.serialize_pem(), 0o644);
    let Err(report) = load(&file, &|_| None) else { panic!("a key that others can read") };
    assert!(report.to_string().contains("can be read by others"), "{report}");
}

#[test]
fn a_good_configuration_is_summed_up_without_secrets() {
    let (directory, file) = place(&fs::read_to_string(repository("config/minimal.toml")).unwrap());
    let output = run(&["check-config", "--config", file.to_str().unwrap()]);
    let shown = text(&output.stdout).replace(directory.path().to_str().unwrap(), "DIR");
    assert!(shown.starts_with("DIR/zonekms.toml: ok\n\nzone           ch-gva-2\n"), "{shown}");
    assert!(shown.contains("organisation   example, 1 API key\n"), "{shown}");
    assert!(!shown.contains("kmsTestSecret") && !shown.contains("0123456789abcdef0123"), "{shown}");
    assert_eq!(output.status.code(), Some(0));
    let mut names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["api-secret", "root.key", "zonekms.toml"], "check-config writes nothing");
}
