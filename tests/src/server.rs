//! Real server processes, each with its own directory, its log in a file, ended by its own process id.

use crate::client::{Answer, Client, Connection, Request};
use crate::exo2::Credential;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A start or an orderly stop that takes longer fails the test.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(120);

/// A running process of the product and its log.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with these arguments; its output goes to the end of the file `log`.
    #[must_use]
    pub fn start(program: &Path, arguments: &[&str], log: &Path) -> Self {
        Self::start_with(program, arguments, log, &[])
    }

    fn start_with(program: &Path, arguments: &[&str], log: &Path, variables: &[(&str, &str)]) -> Self {
        let out = fs::OpenOptions::new().create(true).append(true).open(log).expect("the log file opens");
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("EXOSCALE_") || name.to_string_lossy().starts_with("ZONEKMS_") {
                command.env_remove(name);
            }
        }
        let child = command
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a file handle is cloned"))
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        Self { child, log: log.to_owned() }
    }

    /// What the process has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Asks for an orderly stop (SIGTERM) and waits for it.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let status = self.ends_within(STOP_LIMIT);
        status.unwrap_or_else(|| panic!("no orderly stop within {STOP_LIMIT:?}; log:\n{}", self.log()))
    }

    /// Ends the process at once (SIGKILL).
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("a child is waited for");
    }

    /// Freezes the process (SIGSTOP).
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen process go on (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// The process id, for signals sent from other threads.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The exit status, if the process ends within `limit`.
    pub fn ends_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        wait_for(limit, || self.child.try_wait().expect("a child is waited for"))
    }

    fn signal(&self, signal: Signal) {
        // A process that has ended is not there to be signalled; callers see that in its status.
        let _ = kill_process(self.pid(), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- end of {}", self.log.display());
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// How `zonekms dev` is to be started on one data directory.
#[derive(Clone, Debug)]
pub struct Dev {
    program: PathBuf,
    directory: PathBuf,
    log: PathBuf,
    zones: Vec<String>,
    default_key: Option<String>,
    log_level: &'static str,
    crash_at: Option<String>,
}

impl Dev {
    /// A one-zone lab with its data in `directory/data` and its log beside it.
    #[must_use]
    pub fn new(program: &Path, directory: &Path) -> Self {
        Self {
            program: program.to_owned(),
            directory: directory.join("data"),
            log: directory.join("server.log"),
            zones: vec!["ch-gva-2".to_owned()],
            default_key: None,
            log_level: "info",
            crash_at: None,
        }
    }

    /// Killed at this point, as [`crate::crash_at::at`] gives it.
    #[must_use]
    pub fn crash_at(mut self, at: String) -> Self {
        self.crash_at = Some(at);
        self
    }

    /// Logging warnings only: for tests that send so much that a line for each request would slow them down.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.log_level = "warn";
        self
    }

    /// Logging everything that the product and its libraries have to say.
    #[must_use]
    pub fn talkative(mut self) -> Self {
        self.log_level = "trace";
        self
    }

    /// With these zones, the first one being the zone of the environment file.
    #[must_use]
    pub fn zones(mut self, zones: &[&str]) -> Self {
        self.zones = zones.iter().map(|zone| (*zone).to_owned()).collect();
        self
    }

    /// With a default key of this name.
    #[must_use]
    pub fn default_key(mut self, name: &str) -> Self {
        self.default_key = Some(name.to_owned());
        self
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.directory
    }

    /// The file that the server's output is appended to.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The arguments of the command line.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "dev".to_owned(),
            "--data-dir".to_owned(),
            self.directory.display().to_string(),
            "--listen".to_owned(),
            "127.0.0.1:0".to_owned(),
            "--zones".to_owned(),
            self.zones.join(","),
        ];
        if let Some(name) = &self.default_key {
            arguments.extend(["--default-key".to_owned(), name.clone()]);
        }
        arguments
    }

    /// Starts the process without waiting for it to be ready.
    #[must_use]
    pub fn spawn(&self) -> Process {
        let arguments = self.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut variables = vec![("ZONEKMS_LOG", self.log_level)];
        variables.extend(self.crash_at.as_deref().map(|at| (crate::crash_at::VARIABLE, at)));
        Process::start_with(&self.program, &arguments, &self.log, &variables)
    }

    /// Starts the lab and waits until it is ready.
    #[must_use]
    pub fn start(&self) -> Server {
        match self.try_start() {
            Ok(server) => server,
            Err(process) => panic!("the server ended before it was ready; log:\n{}", process.log()),
        }
    }

    /// Starts the lab and waits until it is ready or has ended by itself; a server that does neither fails the test.
    ///
    /// # Errors
    /// The process that has ended.
    pub fn try_start(&self) -> Result<Server, Process> {
        let file = self.directory.join("dev.env");
        let _ = fs::remove_file(&file);
        let mut process = self.spawn();
        let ready = wait_for(START_LIMIT, || {
            if process.ends_within(Duration::ZERO).is_some() {
                return Some(None);
            }
            let environment = Environment::read(&file)?;
            let lab = plain_get(environment.lab, "/healthz")?;
            (lab.status == 200).then_some(Some(environment))
        });
        match ready {
            Some(Some(environment)) => {
                let zones = zones_of(environment.endpoint);
                Ok(Server { process, environment, zones })
            }
            Some(None) => Err(process),
            None => panic!("the server is not ready within {START_LIMIT:?}; log:\n{}", process.log()),
        }
    }
}

/// What `dev.env` tells a user's shell.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `EXOSCALE_API_KEY` and `EXOSCALE_API_SECRET`.
    pub credential: Credential,
    /// The address in `EXOSCALE_API_ENDPOINT`.
    pub endpoint: SocketAddr,
    /// `EXOSCALE_ZONE`.
    pub zone: String,
    /// The address in `ZONEKMS_LAB`.
    pub lab: SocketAddr,
}

impl Environment {
    /// Reads an environment file; none if it is not there.
    #[must_use]
    pub fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")));
            let value = line.unwrap_or_else(|| panic!("{} does not export {name}:\n{text}", path.display()));
            value.trim_matches(|quote| matches!(quote, '"' | '\'')).to_owned()
        };
        let credential = Credential { id: value("EXOSCALE_API_KEY"), secret: value("EXOSCALE_API_SECRET") };
        let endpoint = address_of(&value("EXOSCALE_API_ENDPOINT"));
        Some(Self { credential, endpoint, zone: value("EXOSCALE_ZONE"), lab: address_of(&value("ZONEKMS_LAB")) })
    }
}

/// A lab that is ready.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// The contents of its environment file.
    pub environment: Environment,
    /// The address of every zone.
    pub zones: BTreeMap<String, SocketAddr>,
}

impl Server {
    /// A client of the first zone.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.environment.endpoint, &self.environment.credential)
    }

    /// A client of this zone.
    #[must_use]
    pub fn client_of(&self, zone: &str) -> Client {
        let address = self.zones.get(zone).unwrap_or_else(|| panic!("no zone {zone} in {:?}", self.zones));
        Client::new(*address, &self.environment.credential)
    }

    /// `EXOSCALE_API_ENDPOINT` as the official clients take it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}/v2", self.environment.endpoint)
    }

    /// Moves the lab clock forward; gives the lab's answer.
    pub fn advance(&self, by: &str) -> Value {
        let request = Request::new("POST", "/lab/clock", json!({ "advance": by }).to_string().as_bytes());
        let answer = Connection::open(self.environment.lab).and_then(|mut lab| lab.call(&request));
        answer.unwrap_or_else(|error| panic!("the lab does not answer: {error}")).ok()
    }

    /// The lab's view of itself.
    #[must_use]
    pub fn lab(&self) -> Value {
        plain_get(self.environment.lab, "/lab").expect("the lab answers").ok()
    }

    /// Stops in order; the exit status must be success.
    pub fn stop(mut self) {
        let status = self.process.stop();
        assert!(status.success(), "the server ended with {status}; log:\n{}", self.process.log());
    }

    /// Ends the server at once.
    pub fn kill(mut self) {
        self.process.kill();
    }
}

/// A `zonekms serve` process that is ready.
#[derive(Debug)]
pub struct Serve {
    /// The process.
    pub process: Process,
    /// Where it serves the API.
    pub address: SocketAddr,
}

impl Serve {
    /// Starts `zonekms serve --config` and waits until `operations` says that it is ready.
    #[must_use]
    pub fn start(program: &Path, config: &Path, address: SocketAddr, operations: SocketAddr) -> Self {
        Self::start_with(program, config, address, operations, &[])
    }

    /// As [`Serve::start`], logging everything that the product and its libraries have to say.
    #[must_use]
    pub fn start_talkative(program: &Path, config: &Path, address: SocketAddr, operations: SocketAddr) -> Self {
        Self::start_with(program, config, address, operations, &[("ZONEKMS_LOG", "trace")])
    }

    fn start_with(
        program: &Path,
        config: &Path,
        address: SocketAddr,
        operations: SocketAddr,
        variables: &[(&str, &str)],
    ) -> Self {
        let log = config.with_extension("log");
        let arguments = ["serve", "--config", &config.display().to_string()];
        let mut process = Process::start_with(program, &arguments, &log, variables);
        let ready = wait_for(START_LIMIT, || {
            if let Some(status) = process.ends_within(Duration::ZERO) {
                panic!("the server ended with {status}; log:\n{}", process.log());
            }
            plain_get(operations, "/readyz").filter(|answer| answer.status == 200)
        });
        assert!(ready.is_some(), "the server is not ready within {START_LIMIT:?}; log:\n{}", process.log());
        Self { process, address }
    }

    /// Stops in order; the exit status must be success.
    pub fn stop(mut self) {
        let status = self.process.stop();
        assert!(status.success(), "the server ended with {status}; log:\n{}", self.process.log());
    }
}

/// Calls `probe` every 5 ms until it gives something or `limit` has passed.
pub fn wait_for<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The zones that a server lists and their addresses.
#[must_use]
pub fn zones_of(endpoint: SocketAddr) -> BTreeMap<String, SocketAddr> {
    let answer = plain_get(endpoint, "/v2/zone").expect("the zone list is answered").ok();
    let zones = answer["zones"].as_array().expect("a list of zones");
    let entry = |zone: &Value| {
        let text = |member: &str| zone[member].as_str().expect("a zone has a name and an endpoint").to_owned();
        (text("name"), address_of(&text("api-endpoint")))
    };
    zones.iter().map(entry).collect()
}

/// An unsigned GET; none if there is no answer.
#[must_use]
pub fn plain_get(address: SocketAddr, path: &str) -> Option<Answer> {
    Connection::open(address).and_then(|mut connection| connection.call(&Request::new("GET", path, b""))).ok()
}

fn address_of(url: &str) -> SocketAddr {
    let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("{url} is not a plain HTTP address"));
    let authority = rest.split('/').next().unwrap_or_default();
    authority.parse().unwrap_or_else(|_| panic!("{url} does not name a loopback address and port"))
}
