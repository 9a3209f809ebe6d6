//! Servers as processes of their own, each kept on one processor.

use kms_load::{Endpoint, Exoscale, HttpVersion, KeepAlive, KeyHandle, Secret, ServerProcess, Session, Wire};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// As long as those of the no-op's requests.
const API_KEY: &str = "EXO0123456789abcdef01234567";
const API_SECRET: &str = "bench_secret_that_is_long_enough_0123456789";

/// Where the programs are, and where data may be put: cargo's target directory.
pub(crate) struct Place {
    target: PathBuf,
    programs: PathBuf,
}

impl Place {
    /// Beside this program.
    pub(crate) fn find() -> Self {
        let own = std::env::current_exe().unwrap();
        // target/release/deps/quick-...
        let programs = own.ancestors().nth(2).unwrap().to_owned();
        let place = Self { target: programs.parent().unwrap().to_owned(), programs };
        for program in ["zonekms", "noop"] {
            let file = place.program(program);
            assert!(file.exists(), "{} is not there: `just bench-quick` builds it", file.display());
        }
        let cpus = thread::available_parallelism().unwrap().get();
        assert!(cpus >= 2, "one processor is for the server and one for the load: here is {cpus}");
        place
    }

    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }
}

/// A process that is ended with this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a server may run.
#[derive(Clone, Copy)]
pub(crate) enum Processors {
    All,
    One(usize),
}

/// Whether a server's audit log tells crypto calls.
#[derive(Clone, Copy)]
pub(crate) enum CryptoCalls {
    Told,
    Untold,
}

/// Starts `command` on some processors: a child inherits where its parent's thread may run.
fn spawn_on(processors: Processors, command: &mut Command) -> Process {
    let before = sched_getaffinity(None).unwrap();
    match processors {
        Processors::All => {}
        Processors::One(cpu) => {
            let mut only = CpuSet::new();
            only.set(cpu);
            sched_setaffinity(None, &only).unwrap();
        }
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    sched_setaffinity(None, &before).unwrap();
    Process(child.unwrap())
}

/// A `zonekms serve` with one zone and one organisation.
pub(crate) struct Serve {
    process: Process,
    address: SocketAddr,
    ready_after: Duration,
}

impl Serve {
    /// Starts a server with its data in `directory` and waits until it is ready.
    pub(crate) fn start(place: &Place, directory: &Path, processors: Processors, calls: CryptoCalls) -> Self {
        Self::try_start(place, directory, processors, calls).unwrap_or_else(|log| panic_with(&log))
    }

    /// As [`Serve::start`].
    ///
    /// # Errors
    /// The server's log, if it ended before it was ready.
    pub(crate) fn try_start(
        place: &Place,
        directory: &Path,
        processors: Processors,
        calls: CryptoCalls,
    ) -> Result<Self, String> {
        let calls = match calls {
            CryptoCalls::Told => "on",
            CryptoCalls::Untold => "off",
        };
        let (address, operations) = (free_address(), free_address());
        let config = directory.join("zonekms.toml");
        write_private(&directory.join("root.key"), &"5a0f".repeat(16));
        write_private(&directory.join("api-secret"), API_SECRET);
        let text = format!(
            "zone = \"ch-gva-2\"\n\
             [[zones]]\nname = \"ch-gva-2\"\napi-endpoint = \"http://{address}/v2\"\n\
             [listen]\naddress = \"{address}\"\n\
             [operations]\naddress = \"{operations}\"\n\
             [store]\ndirectory = \"state/store\"\n\
             [root-key]\nfile = \"root.key\"\n\
             [[organisation]]\nname = \"bench\"\n\
             [[organisation.api-key]]\nid = \"{API_KEY}\"\nsecret-file = \"api-secret\"\n\
             [audit]\ncrypto-calls = \"{calls}\"\n\
             [limits]\nkeys-per-organisation = 1000000\n"
        );
        fs::write(&config, text).unwrap();
        let log = directory.join("server.log");
        let mut command = Command::new(place.program("zonekms"));
        command
            .args(["serve", "--config"])
            .arg(&config)
            .env("ZONEKMS_LOG", "warn")
            .stderr(fs::File::create(&log).unwrap());
        let began = Instant::now();
        let mut process = spawn_on(processors, &mut command);
        loop {
            if ready(operations) {
                return Ok(Self { process, address, ready_after: began.elapsed() });
            }
            if process.0.try_wait().unwrap().is_some() || began.elapsed() > Duration::from_secs(120) {
                return Err(fs::read_to_string(&log).unwrap());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// From its start to its first "ready".
    pub(crate) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    pub(crate) fn process(&self) -> ServerProcess {
        ServerProcess::new(self.process.0.id()).unwrap()
    }

    pub(crate) fn resident_bytes(&self) -> u64 {
        self.process().usage().unwrap().resident_bytes
    }

    /// A session on these keys, and on new ones when it needs more.
    pub(crate) fn session(&self, keys: Vec<KeyHandle>) -> Session {
        let endpoint: Endpoint = format!("http://{}/v2", self.address).parse().unwrap();
        let protocol = Exoscale::new(&endpoint, API_KEY.to_owned(), Secret::new(API_SECRET.to_owned()));
        Session::new("zonekms".to_owned(), Arc::new(protocol), wire(&endpoint), keys, "bench-quick".to_owned())
    }

    /// Stops in order.
    pub(crate) fn stop(mut self) {
        kill_process(Pid::from_child(&self.process.0), Signal::TERM).unwrap();
        let status = self.process.0.wait().unwrap();
        assert!(status.success(), "the server ended with {status}");
    }
}

/// The server that answers anything with a number of bytes.
pub(crate) struct Noop {
    process: Process,
    address: SocketAddr,
}

impl Noop {
    pub(crate) fn start(place: &Place, cpu: usize) -> Self {
        let address = free_address();
        let mut command = Command::new(place.program("noop"));
        command.args(["--listen", &address.to_string(), "--workers", "1"]);
        let process = spawn_on(Processors::One(cpu), &mut command);
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "the no-op server does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        Self { process, address }
    }

    pub(crate) fn process(&self) -> ServerProcess {
        ServerProcess::new(self.process.0.id()).unwrap()
    }

    /// Where it answers with `bytes` bytes, in a path of `length` characters.
    pub(crate) fn endpoint(&self, bytes: usize, length: usize) -> Endpoint {
        let mut path = format!("/answer/{bytes}?");
        while path.len() < length {
            path.push('x');
        }
        format!("http://{}{path}", self.address).parse().unwrap()
    }
}

/// Connections that are kept.
pub(crate) fn wire(endpoint: &Endpoint) -> Wire {
    Wire::new(endpoint, HttpVersion::Http1, KeepAlive::On, None).unwrap()
}

fn ready(operations: SocketAddr) -> bool {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(operations)?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200"))
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn write_private(path: &Path, text: &str) {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

#[expect(clippy::panic, reason = "a bench ends where a step fails")]
fn panic_with(log: &str) -> ! {
    panic!("the server ended before it was ready:\n{log}")
}
