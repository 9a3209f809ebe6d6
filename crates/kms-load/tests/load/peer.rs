//! Servers that others have written, started for a test, and one load for all of them.

use kms_load::{
    Distribution, Endpoint, HttpVersion, KeepAlive, LoadKind, Operation, Pace, Protocol, Session, SessionError, Stop,
    Visit, VisitSettings, Wire,
};
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How long a server or an answer may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server's process, which ends with the test.
pub(crate) struct Peer {
    process: Child,
    pub(crate) address: SocketAddr,
    /// Bound and never listening: it keeps the port from being given to others, and lets the server listen beside it.
    _port: OwnedFd,
}

impl Peer {
    /// Starts what `command` gives for an address on loopback, and waits until it listens there.
    pub(crate) fn start(command: impl FnOnce(SocketAddr) -> Command) -> Self {
        let (port, address) = reserve_port().unwrap();
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

/// A port on loopback that nobody has.
fn reserve_port() -> rustix::io::Result<(OwnedFd, SocketAddr)> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let address = getsockname(&socket)?.try_into()?;
    Ok((socket, address))
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
    let mix = mix.parse().unwrap();
    let kind = LoadKind { mix, size: 32, keys: 2, distribution: Distribution::Uniform, requests: 0, seed: 1 };
    let settings = VisitSettings {
        connections: 1,
        streams: 1,
        threads: 1,
        cpus: Vec::new(),
        pace: Pace::Closed,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(2),
        grace: PATIENCE,
        server: None,
        stop: Stop::new(),
    };
    session.visit(&kind, &settings, &mut |_| {})
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
