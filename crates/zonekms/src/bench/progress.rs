//! What a run is doing, on standard error: one line that changes on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};

use kms_load::{Event, Stretch};

/// Off a terminal, every so many seconds of a visit have a line.
const PLAIN_EVERY: usize = 10;

pub(super) struct Progress {
    place: Place,
    failed: u64,
}

#[derive(Clone, Copy)]
enum Place {
    /// The length of the line that is there, to be written over.
    Terminal {
        shown: usize,
    },
    Plain,
}

impl Progress {
    pub(super) fn new() -> Self {
        let place = if io::stderr().is_terminal() { Place::Terminal { shown: 0 } } else { Place::Plain };
        Self { place, failed: 0 }
    }

    pub(super) fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Step { target, what, done, total } => {
                self.passing(&format!("{target}: {what} {done} of {total}"), true);
            }
            Event::Ceiling { of, per_second: Some(rate) } => {
                self.lasting(&format!("ceiling of the generator: {rate:.0}/s ({of})"));
            }
            Event::Ceiling { of, per_second: None } => {
                self.lasting(&format!("ceiling of the generator: not measured over TLS or HTTP/2 ({of})"));
            }
            Event::Begin { number, total, what } => {
                self.failed = 0;
                self.lasting(&format!("{number} of {total}: {what}"));
            }
            Event::Second(second) => {
                self.failed += second.failed;
                let failed = if self.failed > 0 { format!("   FAILED {}", self.failed) } else { String::new() };
                let line = format!("{}{failed}", figures(second));
                self.passing(&line, (second.index + 1).is_multiple_of(PLAIN_EVERY));
            }
            Event::End(visit) => {
                let (p50, p99) = (visit.latency.p50_ns / 1_000, visit.latency.p99_ns / 1_000);
                let mut line = format!("      {:.0}/s   p50 {p50} us   p99 {p99} us", visit.per_second);
                if visit.failed > 0 || visit.unanswered > 0 {
                    line.push_str(&format!("   FAILED {}, WITHOUT AN ANSWER {}", visit.failed, visit.unanswered));
                }
                self.lasting(&line);
            }
        }
    }

    /// Leaves the terminal on a line of its own.
    pub(super) fn end(&mut self) {
        self.clear();
    }

    /// A line that the next one replaces. Off a terminal it is written if it is `worth` a line.
    fn passing(&mut self, text: &str, worth: bool) {
        match self.place {
            Place::Terminal { shown } => {
                let line = format!("\r{text:<shown$}");
                // A closed terminal is no reason to stop measuring.
                let _ = io::stderr().write_all(line.as_bytes());
                self.place = Place::Terminal { shown: text.chars().count() };
            }
            Place::Plain if worth => self.line(text),
            Place::Plain => {}
        }
    }

    /// A line that stays.
    fn lasting(&mut self, text: &str) {
        self.clear();
        self.line(text);
    }

    fn clear(&mut self) {
        if let Place::Terminal { shown } = self.place {
            let _ = io::stderr().write_all(format!("\r{:shown$}\r", "").as_bytes());
            self.place = Place::Terminal { shown: 0 };
        }
    }

    fn line(&mut self, text: &str) {
        let _ = writeln!(io::stderr(), "{text}");
    }
}

fn figures(second: &Stretch) -> String {
    let (p50, p99) = (second.p50_ns / 1_000, second.p99_ns / 1_000);
    format!("      second {:>3}: {}/s   p50 {p50} us   p99 {p99} us", second.index + 1, second.answered)
}
