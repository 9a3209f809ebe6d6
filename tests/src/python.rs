//! The official Python clients, unmodified, each version in a virtual environment of its own with every package pinned.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A version of the official client that the tests drive the server with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    /// Today's client and API description.
    V0_16_4,
    /// The client of the service's first months; its API description still has the older shapes.
    V0_16_3,
}

impl Sdk {
    /// The version as the package index spells it.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Self::V0_16_4 => "0.16.4",
            Self::V0_16_3 => "0.16.3",
        }
    }
}

/// A virtual environment with one official client in it.
#[derive(Clone, Debug)]
pub struct Venv {
    directory: PathBuf,
    scripts: PathBuf,
}

impl Venv {
    /// The environment for `sdk` under `target` (cargo's target directory), made on first use. Scripts and pinned
    /// requirements are in `scripts`.
    #[must_use]
    pub fn open(target: &Path, scripts: &Path, sdk: Sdk) -> Self {
        let base = target.join("zonekms-venvs");
        fs::create_dir_all(&base).expect("the target directory is writable");
        let name = format!("exoscale-{}", sdk.version());
        let requirements = scripts.join(format!("requirements-{}.txt", sdk.version()));
        let venv = Self { directory: base.join(&name), scripts: scripts.to_owned() };

        let lock = File::create(base.join(format!("{name}.lock"))).expect("a lock file");
        lock.lock().expect("the lock is taken");
        let wanted = fs::read_to_string(&requirements).expect("the requirement file is there");
        let done = venv.directory.join("installed-requirements.txt");
        if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
            return venv;
        }
        let _ = fs::remove_dir_all(&venv.directory);
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv.directory), "python3 with its venv module");
        run(
            Command::new(venv.interpreter())
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary"])
                .args([":all:", "--requirement"])
                .arg(&requirements),
            "pip and the Python package index",
        );
        fs::write(&done, wanted).expect("the environment is writable");
        venv
    }

    /// The environment's Python.
    #[must_use]
    pub fn interpreter(&self) -> PathBuf {
        self.directory.join("bin/python")
    }

    /// The API description that the installed client ships.
    #[must_use]
    pub fn openapi(&self) -> PathBuf {
        let lib = self.directory.join("lib");
        let python = fs::read_dir(&lib).expect("an environment has a lib directory").next();
        let python = python.expect("one Python version").expect("a readable directory").path();
        python.join("site-packages/exoscale/openapi.json")
    }

    /// A command that runs one of the scripts.
    #[must_use]
    pub fn script(&self, name: &str) -> Command {
        let mut command = Command::new(self.interpreter());
        command.arg("-B").arg(self.scripts.join(name)).env("PYTHONPATH", &self.scripts);
        for (variable, _) in std::env::vars_os() {
            let text = variable.to_string_lossy().to_lowercase();
            if text.starts_with("exoscale_") || text.ends_with("_proxy") {
                command.env_remove(variable);
            }
        }
        command
    }
}

/// Runs a script to its end; gives its standard output. A failing script fails the test with all it said.
pub fn run(command: &mut Command, needs: &str) -> String {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?} does not start ({error}): it needs {needs}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?} ended with {}; it needs {needs}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
