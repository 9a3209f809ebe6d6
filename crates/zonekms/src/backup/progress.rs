//! How far a long command has come, on standard error: in place on a terminal, as lines elsewhere.

use std::io::{self, IsTerminal, Stderr, Write};

/// Records between two lines where there is no terminal.
const LINE_EVERY: u64 = 10_000;

/// Records between two updates on a terminal.
const UPDATE_EVERY: u64 = 200;

/// Where progress is shown.
pub(super) struct Progress {
    what: &'static str,
    out: Stderr,
    place: Place,
    shown: u64,
}

#[derive(Clone, Copy)]
enum Place {
    Terminal,
    Log,
}

impl Progress {
    /// Of the work that is called `what`, such as "verified".
    pub(super) fn new(what: &'static str) -> Self {
        let out = io::stderr();
        let place = if out.is_terminal() { Place::Terminal } else { Place::Log };
        Self { what, out, place, shown: 0 }
    }

    /// So many records are done; `bytes` of the file, where it is being written.
    pub(super) fn show(&mut self, records: u64, bytes: Option<u64>) {
        let (every, begin, end) = match self.place {
            Place::Terminal => (UPDATE_EVERY, "\r", "\x1b[K"),
            Place::Log => (LINE_EVERY, "", "\n"),
        };
        if records < self.shown + every {
            return;
        }
        self.shown = records;
        let bytes = bytes.map_or_else(String::new, |bytes| format!(", {} KiB", bytes / 1024));
        // Nobody may be looking.
        let _ = write!(self.out, "{begin}{} {records} records{bytes}{end}", self.what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        match self.place {
            Place::Terminal if self.shown > 0 => drop(write!(self.out, "\r\x1b[K")),
            Place::Terminal | Place::Log => {}
        }
    }
}
