//! Runs the real program, and talks to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything in these tests may take before it counts as hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The program with these arguments, and nothing of the test's environment that it would read.
pub(crate) fn zonekms(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zonekms"));
    command.args(arguments).env_remove("ZONEKMS_LOG").env_remove("CREDENTIALS_DIRECTORY").stdin(Stdio::null());
    command
}

/// A copy of it that every user may run. Not made by this process: a program that another test starts at this moment would have
/// the copy open for writing a little longer, and what is written to cannot be run.
pub(crate) fn copy_program(to: &Path) {
    let copied = Command::new("install").args(["-m", "0755", env!("CARGO_BIN_EXE_zonekms")]).arg(to).status().unwrap();
    assert!(copied.success(), "{copied}");
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    zonekms(arguments).output().unwrap()
}

/// What it wrote, as text.
pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A server that logs JSON; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Its lines. They are read as they come: a server whose log nobody reads stands still.
    log: Receiver<String>,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (lines, log) = channel();
        std::thread::spawn(move || {
            // The end of the log, or of the test.
            stderr.lines().map_while(Result::ok).all(|line| lines.send(line + "\n").is_ok())
        });
        Self { child, log }
    }

    /// Reads the log up to the event with `message`.
    pub(crate) fn wait_for(&mut self, message: &str) -> Value {
        self.wait_for_member("message", message)
    }

    /// Reads the log up to the event that has `value` as its member `name`.
    pub(crate) fn wait_for_member(&mut self, name: &str, value: &str) -> Value {
        let mut seen = String::new();
        loop {
            let Ok(line) = self.log.recv() else { panic!("the server ended before {value:?}:\n{seen}") };
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
            if event[name] == value {
                return event;
            }
            seen.push_str(&line);
        }
    }

    /// Reads the log up to the event that says where it serves, or to the end of a server that was refused.
    pub(crate) fn serves(&mut self) -> Result<Value, String> {
        let mut log = String::new();
        loop {
            let Ok(line) = self.log.recv() else { return Err(log) };
            match serde_json::from_str::<Value>(&line) {
                Ok(event) if event["message"] == "serving" => return Ok(event),
                Ok(_) | Err(_) => log.push_str(&line),
            }
        }
    }

    /// Reads the log to the end of a server that fails to start. An event with `message` says that it did not fail.
    pub(crate) fn end_without(&mut self, message: &str) -> String {
        let mut log = String::new();
        while let Ok(line) = self.log.recv() {
            log.push_str(&line);
            assert!(!log.contains(message), "the server started:\n{log}");
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(1), "{log}");
        log
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; the exit status and what was left of the log.
    pub(crate) fn end(&mut self) -> (ExitStatus, String) {
        let rest = self.log.iter().collect();
        (self.child.wait().unwrap(), rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address an event names.
pub(crate) fn address(event: &Value) -> SocketAddr {
    event["address"].as_str().unwrap().parse().unwrap()
}

/// Sends one request and reads the answer: its status and body.
pub(crate) fn http(address: SocketAddr, method: &str, target: &str, body: &str) -> (u16, String) {
    http_with(address, method, target, body, "")
}

/// The same with further header lines, each ended by CR LF.
pub(crate) fn http_with(address: SocketAddr, method: &str, target: &str, body: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Waits until the file is there, and reads it.
pub(crate) fn read_when_there(path: &Path) -> String {
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if let Ok(content) = std::fs::read_to_string(path) {
            return content;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("{} did not appear", path.display());
}
