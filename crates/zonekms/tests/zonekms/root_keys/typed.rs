//! A passphrase that is typed at a terminal.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use super::zone::Zone;
use crate::program::PATIENCE;

const PASSPHRASE: &str = "orbit candle seven velvet quarry lamp";

/// A terminal with `zonekms serve` at it, and somebody at the keyboard.
struct Terminal {
    keyboard: File,
    server: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Terminal {
    fn serve(zone: &Zone) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = PathBuf::from(ptsname(&keyboard, Vec::new()).unwrap().into_string().unwrap());
        let terminal = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let serve = zone.command(&["serve"]);
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(serve.get_program()).args(serve.get_args());
        let mut server = command.stdin(terminal).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(server.stderr.take().unwrap());
        Self { keyboard: keyboard.into(), server, log }
    }

    /// Types a line once the prompt is there and the terminal hides what is typed.
    fn type_after(&mut self, prompt: &str, line: &str) {
        const PAUSE: Duration = Duration::from_millis(2);
        let mut shown = Vec::new();
        while !shown.ends_with(prompt.as_bytes()) {
            let mut byte = [0];
            self.keyboard.read_exact(&mut byte).unwrap();
            shown.push(byte[0]);
        }
        assert!(!String::from_utf8_lossy(&shown).contains(PASSPHRASE), "the terminal shows the passphrase");
        let hides = |keyboard| !tcgetattr(keyboard).unwrap().local_modes.contains(LocalModes::ECHO);
        for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
            if hides(&self.keyboard) {
                self.keyboard.write_all(format!("{line}\n").as_bytes()).unwrap();
                return;
            }
            std::thread::sleep(PAUSE);
        }
        panic!("the terminal shows what is typed");
    }

    fn wait_for(&mut self, told: &str) {
        let mut log = String::new();
        while !log.contains(told) {
            assert_ne!(self.log.read_line(&mut log).unwrap(), 0, "ended without {told:?}:\n{log}");
        }
        assert!(!log.contains(PASSPHRASE), "{log}");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn a_new_passphrase_is_typed_twice_and_an_old_one_once() {
    let zone = Zone::new("[root-key]\npassphrase-prompt = true");
    let mut terminal = Terminal::serve(&zone);
    terminal.type_after("New passphrase: ", PASSPHRASE);
    terminal.type_after("The same again: ", PASSPHRASE);
    terminal.wait_for("\"message\":\"serving\"");
    drop(terminal);

    let mut terminal = Terminal::serve(&zone);
    terminal.type_after("Passphrase: ", PASSPHRASE);
    terminal.wait_for("\"message\":\"serving\"");
    drop(terminal);

    let mut terminal = Terminal::serve(&zone);
    terminal.type_after("Passphrase: ", "another passphrase altogether");
    terminal.wait_for("the passphrase is wrong (passphrase typed at the terminal)");
}
