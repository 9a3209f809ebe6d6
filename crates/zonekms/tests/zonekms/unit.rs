//! The systemd unit of `docs/operations`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use crate::program::text;

/// Says so where there is no systemd.
#[test]
fn systemd_takes_the_unit() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations/zonekms.service");
    let unit = fs::read_to_string(unit).unwrap();
    for line in ["LimitMEMLOCK=infinity", "LimitCORE=0", "NoNewPrivileges=yes", "ProtectSystem=strict"] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    let installed = "/usr/local/bin/zonekms";
    assert!(unit.contains(installed));
    let scratch = tempfile::tempdir().unwrap();
    let verify = |name: &str, unit: &str| {
        let file = scratch.path().join(name);
        fs::write(&file, unit.replace(installed, env!("CARGO_BIN_EXE_zonekms"))).unwrap();
        match Command::new("systemd-analyze").args(["verify", "--man=no", file.to_str().unwrap()]).output() {
            // Of other units of this machine it may say what it likes.
            Ok(output) => Some(text(&output.stderr).lines().filter(|line| line.contains(name)).count()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => panic!("{error}"),
        }
    };
    let Some(complaints) = verify("zonekms-good.service", &unit) else {
        println!("skipped: there is no systemd-analyze");
        return;
    };
    assert_eq!(complaints, 0);
    let misspelt = unit.replace("LimitMEMLOCK=infinity", "LimitMEMLOK=infinity");
    assert_eq!(verify("zonekms-bad.service", &misspelt), Some(1), "what is wrong would have been told");
}
