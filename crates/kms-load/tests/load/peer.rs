//! Servers that others have written, started for a test, and one load for all of them.

use crate::measuring::{PATIENCE, kind, settings};
use kms_load::{
    Endpoint, HttpVersion, KeepAlive, Operation, Pace, Protocol, Session, SessionError, Visit, VisitSettings, Wire,
};
use kms_testkit::ReservedPort;
use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// A server's process, which ends with the test.
pub(crate) struct Peer {
    process: Child,
    pub(crate) address: SocketAddr,
    _port: ReservedPort,
}

impl Peer {
    /// Starts what `command` gives for an address on loopback, and waits until it listens there.
    pub(crate) fn start(command: impl FnOnce(SocketAddr) -> Command) -> Self {
        let port = ReservedPort::reserve();
        let address = port.address();
        let mut command = command(address);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut peer = Self { process, address, _port: port };
        for _ in 0..PATIENCE.as_millis() / 100 {
            if TcpStream::connect(address).is_ok() {
                return peer;
            }
            assert!(peer.process.try_wait().unwrap().is_none(), "{command:?} has ended");
            thread::sleep(Duration::from_millis(100));
        }
        panic!("{command:?} does not listen");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program that the environment names. Where it names none, that is said, past the test harness's capture: a test that
/// did not run must not look like one that passed.
pub(crate) fn program(variable: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from);
    if found.is_none() {
        let said = writeln!(std::io::stderr(), "NOT RUN: {variable} names no program");
        said.unwrap();
    }
    found
}

/// The virtual environment of `requirements-NAME.txt`, every package pinned, made on first use.
pub(crate) fn venv(name: &str) -> PathBuf {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("zonekms-venvs");
    fs::create_dir_all(&base).unwrap();
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/load/requirements-{name}.txt"));
    let wanted = fs::read_to_string(&requirements).unwrap();
    let lock = File::create(base.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let venv = base.join(name);
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

pub(crate) fn session(protocol: impl Protocol + 'static, endpoint: &Endpoint) -> Session {
    let wire = Wire::new(endpoint, HttpVersion::Http1, KeepAlive::On, None).unwrap();
    Session::new("peer".to_owned(), Arc::new(protocol), wire, Vec::new(), "test".to_owned())
}

/// Two keys, and `mix` on them for two seconds over one connection.
pub(crate) fn visit(session: &mut Session, mix: &str) -> Result<Visit, SessionError> {
    let settings = VisitSettings { duration: Duration::from_secs(2), ..settings(Pace::Closed, 1) };
    session.visit(&kind(mix, 2), &settings, &mut |_| {})
}

/// A [`visit`] in which every operation of `mix` succeeds each time, and after which every key is taken out of use.
pub(crate) fn works(session: &mut Session, mix: &str) {
    let visit = visit(session, mix).unwrap();
    assert_eq!((visit.failed, visit.unanswered), (0, 0), "{:?}", visit.failures);
    let answered = |operation: Operation| visit.operations.get(&operation).map_or(0, |figures| figures.answered);
    for part in mix.split(',') {
        let name = part.split('=').next().unwrap();
        let operation = Operation::ALL.into_iter().find(|operation| operation.name() == name).unwrap();
        assert!(answered(operation) > 0, "no {operation} was answered");
    }
    // One more may have been made after the end.
    let made = 2 + usize::try_from(answered(Operation::CreateKey)).unwrap();
    let removed = session.clean_up(&mut |_, _, _| {}).unwrap();
    assert!((made..=made + 1).contains(&removed), "{removed} of {made}");
}
