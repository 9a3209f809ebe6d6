//! Points that kill.

use rustix::process::{Signal, getpid, kill_process};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const VARIABLE: &str = "ZONEKMS_CRASH_AT";

/// Where the process ends.
struct End {
    point: String,
    /// How often the point is still passed.
    left: AtomicU64,
}

static END: OnceLock<Option<End>> = OnceLock::new();

/// The process has come to this point, and goes no further if it is the one to end at.
pub fn passed(point: &'static str) {
    let end = END.get_or_init(|| End::parse(&std::env::var(VARIABLE).ok()?));
    let Some(end) = end.as_ref().filter(|end| end.point == point) else { return };
    // Wraps after the end, which nothing comes after.
    if end.left.fetch_sub(1, Ordering::SeqCst) == 0 {
        // It cannot fail: a process may signal itself.
        let _ = kill_process(getpid(), Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

impl End {
    fn parse(text: &str) -> Option<Self> {
        let (point, left) = text.rsplit_once(':')?;
        Some(Self { point: point.to_owned(), left: AtomicU64::new(left.parse().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_and_a_count_are_read() {
        let end = End::parse("root-key:made:2").unwrap();
        assert_eq!((end.point.as_str(), end.left.into_inner()), ("root-key:made", 2));
        assert!(End::parse("made").is_none() && End::parse("made:soon").is_none());
    }
}
