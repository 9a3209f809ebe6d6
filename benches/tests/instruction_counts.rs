//! The instructions that one encrypt call takes, compared with those recorded in `instruction-counts.toml`.
//!
//! Counted by valgrind, so the figures do not depend on how busy the machine is. Its processor has neither the SHA nor the wide AES
//! instructions, so libraries take other paths there and the counts are not times: they show when a call begins to do more
//! than it did. `ZONEKMS_COUNTS=write` records them anew.

#![cfg(test)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Plaintext sizes in bytes.
const SIZES: [usize; 3] = [32, 4096, 65_536];

/// How far a count may be from the recorded one, in percent.
const TOLERANCE: f64 = 5.0;

#[test]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn an_encrypt_call_takes_the_recorded_number_of_instructions() {
    let Some(valgrind) = valgrind() else {
        println!("NOT RUN: there is no valgrind here, and Debian's could not be fetched: nothing was counted");
        eprintln!("NOT RUN: there is no valgrind here, and Debian's could not be fetched: nothing was counted");
        return;
    };
    let driver = driver();
    let counted: BTreeMap<String, u64> =
        SIZES.iter().map(|size| (size.to_string(), valgrind.per_call(&driver, *size))).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instruction-counts.toml");
    if std::env::var_os("ZONEKMS_COUNTS").is_some_and(|value| value == "write") {
        std::fs::write(&file, written(&counted)).unwrap();
    }
    let recorded: BTreeMap<String, BTreeMap<String, u64>> =
        toml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let mut outside = Vec::new();
    for (size, count) in &counted {
        let expected = recorded["encrypt"][size];
        let change = (*count as f64 / expected as f64 - 1.0) * 100.0;
        let line = format!("encrypt of {size} bytes: {count} instructions, {expected} recorded ({change:+.2} %)");
        println!("{line}");
        if change.abs() > TOLERANCE {
            outside.push(line);
        }
    }
    assert!(
        outside.is_empty(),
        "more than {TOLERANCE} % off:\n{}\nZONEKMS_COUNTS=write records anew",
        outside.join("\n")
    );
}

fn written(counted: &BTreeMap<String, u64>) -> String {
    let mut text = String::from(
        "# Instructions per encrypt call on a connection in memory, from the request's bytes to the answer's, by plaintext size, as valgrind counts\n\
         # them. The client's copies of both are included.\n\
         # See tests/instruction_counts.rs.\n[encrypt]\n",
    );
    for size in SIZES {
        text += &format!("{size} = {}\n", counted[&size.to_string()]);
    }
    text
}

/// The driver, optimised.
fn driver() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "-p", "zonekms-benches", "--bin", "count_encrypt", "--locked", "--target-dir"])
        .arg(target)
        .status()
        .unwrap();
    assert!(status.success(), "the driver was not built");
    target.join("release/count_encrypt")
}

struct Valgrind {
    program: PathBuf,
    /// Where its tools are, when it is not installed.
    library: Option<PathBuf>,
}

impl Valgrind {
    /// The instructions of one call, as the difference between runs of 50 and of 150 calls.
    fn per_call(&self, driver: &Path, size: usize) -> u64 {
        (self.count(driver, size, 150) - self.count(driver, size, 50)) / 100
    }

    fn count(&self, driver: &Path, size: usize, calls: usize) -> u64 {
        let mut command = Command::new(&self.program);
        if let Some(library) = &self.library {
            command.env("VALGRIND_LIB", library);
        }
        command.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
        let output = command.arg(driver).arg(size.to_string()).arg(calls.to_string()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        // ==123== I   refs:      4,567,890
        let count =
            told.lines().find_map(|line| line.split_once("refs:")).map(|(_, count)| count.trim().replace(',', ""));
        count.unwrap_or_else(|| panic!("no count in:\n{told}")).parse().unwrap()
    }
}

/// The valgrind of this machine, or Debian's unpacked beside the build, which needs no rights.
fn valgrind() -> Option<Valgrind> {
    if runs(Path::new("valgrind")) {
        return Some(Valgrind { program: "valgrind".into(), library: None });
    }
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("valgrind");
    let unpacked = place.join("usr/bin/valgrind");
    if !unpacked.exists() {
        std::fs::create_dir_all(&place).ok()?;
        let fetch = "apt-get download valgrind && dpkg-deb -x valgrind_*.deb .";
        Command::new("sh").args(["-c", fetch]).current_dir(&place).status().ok().filter(|status| status.success())?;
    }
    let library =
        [place.join("usr/libexec/valgrind"), place.join("usr/lib/valgrind")].into_iter().find(|path| path.is_dir())?;
    runs(&unpacked).then_some(Valgrind { program: unpacked, library: Some(library) })
}

fn runs(program: &Path) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}
