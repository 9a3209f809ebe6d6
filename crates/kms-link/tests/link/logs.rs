//! What the product logs, for all tests together: each looks for something that only it causes.

use std::io::Write;
use std::sync::{Mutex, Once};
use std::time::Duration;
use tokio::time::sleep;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static BEGIN: Once = Once::new();

/// Begins to record, if nobody did.
pub(crate) fn record() {
    BEGIN.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Sink).init());
}

/// Waits until there is a line with all of `parts`.
pub(crate) async fn expect_line(parts: &[&str]) {
    for _ in 0..2400 {
        if text().lines().any(|line| parts.iter().all(|part| line.contains(part))) {
            return;
        }
        sleep(Duration::from_millis(25)).await;
    }
    let text = text();
    panic!("no line with {parts:?} in\n{text}");
}

fn text() -> String {
    String::from_utf8_lossy(&LINES.lock().unwrap()).into_owned()
}

struct Sink;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
