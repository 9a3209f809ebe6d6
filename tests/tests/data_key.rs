//! The main job: a real file of 100 MB, encrypted under a data key of which only the wrapped form is kept, opens again
//! after the server was stopped and started. The encrypting is `docs/examples/data_key_file.py`.

use crate::sdk::with_environment;
use crate::{program, root, scratch, venv};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::Command;
use zonekms_tests::python::{Sdk, run};
use zonekms_tests::random::Choices;
use zonekms_tests::server::Dev;

const SIZE: u64 = 100_000_000;

const CREATE_KEY: &str = "import os; from exoscale.api.v2 import Client; \
    print(Client(os.environ['EXOSCALE_API_KEY'], os.environ['EXOSCALE_API_SECRET'], \
    url=os.environ['EXOSCALE_API_ENDPOINT']).create_kms_key(name='films')['id'])";

#[test]
fn a_file_of_100_mb_opens_with_its_wrapped_data_key_after_a_restart() {
    let directory = scratch();
    let file = |name: &str| directory.path().join(name);
    let (plain, sealed, opened) = (file("film.mkv"), file("film.sealed"), file("again.mkv"));
    let seed = Choices::seed();
    println!("ZONEKMS_TEST_SEED={seed}");
    write_file(&plain, seed);

    let dev = Dev::new(program(), directory.path());
    let server = dev.start();
    let python = || Command::new(venv(Sdk::V0_16_4).interpreter());
    let script = root().join("docs/examples/data_key_file.py");
    let key = run(with_environment(python().args(["-c", CREATE_KEY]), &server), "PyPI");
    let mut seal = python();
    run(with_environment(seal.arg(&script).args(["seal", key.trim()]).arg(&plain).arg(&sealed), &server), "PyPI");
    server.stop();
    let original = digest(&plain);
    std::fs::remove_file(&plain).unwrap();
    assert!(std::fs::metadata(&sealed).unwrap().len() > SIZE, "the file is encrypted as a whole");
    let kept = std::fs::read_to_string(file("film.sealed.key")).unwrap();
    assert!(kept.len() < 400 && kept.contains("wrapped"), "the wrapped data key is all that is kept: {kept}");

    let server = dev.start();
    run(with_environment(python().arg(&script).arg("open").arg(&sealed).arg(&opened), &server), "PyPI");
    assert_eq!(digest(&opened), original, "the opened file is the original");
    assert_eq!(std::fs::metadata(&opened).unwrap().len(), SIZE);
    server.stop();
}

fn write_file(path: &Path, seed: u64) {
    let mut choices = Choices::new(seed, 0);
    let mut file = BufWriter::new(File::create(path).unwrap());
    for _ in 0..SIZE / 8 {
        file.write_all(&choices.below(u64::MAX).to_le_bytes()).unwrap();
    }
    file.flush().unwrap();
}

fn digest(path: &Path) -> String {
    let mut hash = Sha256::new();
    let mut file = File::open(path).unwrap();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match io::Read::read(&mut file, &mut chunk).unwrap() {
            0 => return hex::encode(hash.finalize()),
            read => hash.update(&chunk[..read]),
        }
    }
}
