//! The protocol of AWS KMS, spoken to moto: a server that others have written from the protocol's own description.

use crate::peer::{self, Peer};
use kms_load::{AwsCredentials, AwsKms, Endpoint, Secret};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn keys_encrypt_decrypt_and_data_keys() {
    let program = venv().join("bin/moto_server");
    let moto = Peer::start(|address| {
        let mut command = Command::new(program);
        command.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
        command
    });
    let endpoint: Endpoint = format!("http://{}", moto.address).parse().unwrap();
    let credentials = AwsCredentials {
        access_key: "AKIDEXAMPLE".to_owned(),
        secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
        session_token: Some(Secret::new("session".to_owned())),
        region: "eu-central-1".to_owned(),
    };
    let mut session = peer::session(AwsKms::new(&endpoint, credentials), &endpoint);
    peer::works(&mut session, "encrypt=1,decrypt=1,data-key=1");
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
