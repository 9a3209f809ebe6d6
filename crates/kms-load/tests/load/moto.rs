//! The protocol of AWS KMS, spoken to moto: a server that others have written from the protocol's own description.

use crate::measuring::PATIENCE;
use kms_load::{
    AwsCredentials, AwsKms, Distribution, Endpoint, HttpVersion, KeepAlive, LoadKind, Operation, Pace, Secret, Session,
    Stop, VisitSettings, Wire,
};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

#[test]
fn keys_encrypt_decrypt_and_data_keys() {
    let moto = Moto::start();
    let endpoint: Endpoint = moto.url.parse().unwrap();
    let credentials = AwsCredentials {
        access_key: "AKIDEXAMPLE".to_owned(),
        secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
        session_token: Some(Secret::new("session".to_owned())),
        region: "eu-central-1".to_owned(),
    };
    let wire = Wire::new(&endpoint, HttpVersion::Http1, KeepAlive::On, None).unwrap();
    let protocol = Arc::new(AwsKms::new(&endpoint, credentials));
    let mut session = Session::new("moto".to_owned(), protocol, wire, Vec::new(), "test".to_owned());
    let mix = "encrypt=1,decrypt=1,data-key=1".parse().unwrap();
    let kind = LoadKind { mix, size: 32, keys: 2, distribution: Distribution::Uniform, seed: 1 };
    let settings = VisitSettings {
        connections: 1,
        streams: 1,
        threads: 1,
        cpus: Vec::new(),
        pace: Pace::Closed,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(5),
        grace: PATIENCE,
        server: None,
        stop: Stop::new(),
    };
    let visit = session.visit(&kind, &settings, &mut |_| {}).unwrap();
    assert_eq!((visit.failed, visit.unanswered), (0, 0), "{:?}", visit.failures);
    for operation in [Operation::Encrypt, Operation::Decrypt, Operation::DataKey] {
        assert!(visit.operations.get(&operation).is_some_and(|figures| figures.answered > 0), "{operation}");
    }
    assert_eq!(session.clean_up(&mut |_, _, _| {}).unwrap(), 2);
}

/// A moto server that ends with the test.
struct Moto {
    process: Child,
    url: String,
}

impl Moto {
    /// On a port that it chooses itself, and tells when it listens there.
    fn start() -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let process = Command::new(venv().join("bin/moto_server"))
            .args(["--host", "127.0.0.1", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let mut moto = Self { process, url: String::new() };
        for _ in 0..1200 {
            let said = fs::read_to_string(log.path()).unwrap();
            let told = said.lines().find_map(|line| line.split("Running on ").nth(1));
            // A line that is not at its end yet is read again.
            if let (Some(url), true) = (told, said.ends_with('\n')) {
                url.trim().clone_into(&mut moto.url);
                return moto;
            }
            assert!(moto.process.try_wait().unwrap().is_none(), "moto has ended: {said}");
            thread::sleep(Duration::from_millis(100));
        }
        panic!("moto does not listen");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The virtual environment with moto, every package pinned, made on first use.
fn venv() -> PathBuf {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("zonekms-venvs");
    fs::create_dir_all(&base).unwrap();
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/load/requirements-moto.txt");
    let wanted = fs::read_to_string(&requirements).unwrap();
    let lock = File::create(base.join("moto.lock")).unwrap();
    lock.lock().unwrap();
    let venv = base.join("moto");
    let done = venv.join("installed-requirements.txt");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return venv;
    }
    let _ = fs::remove_dir_all(&venv);
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"];
    succeed(Command::new(venv.join("bin/python")).args(pip).arg("--requirement").arg(&requirements));
    fs::write(done, wanted).unwrap();
    venv
}

fn succeed(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?} needs Python 3.11 with venv: {error}"));
    assert!(status.success(), "{command:?} needs Python 3.11 with venv and the Python package index");
}
