//! How long a start takes with 100,000 keys, and what they cost in memory.

use crate::goals::{Goal, Row};
use crate::many_keys::{KEYS, Prepared};
use crate::servers::{CryptoCalls, Place, Processors, Serve};

/// `idle` is the resident memory of a server without keys, in bytes.
#[expect(clippy::cast_precision_loss, reason = "sizes of memory are far below 2^53")]
pub(crate) fn rows(prepared: &Prepared, place: &Place, idle: u64) -> Vec<Row> {
    let (mut times, mut per_key) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let serve = Serve::start(place, &prepared.directory, Processors::All, CryptoCalls::Untold);
        times.push(serve.ready_after().as_secs_f64());
        per_key.push(serve.resident_bytes().saturating_sub(idle) as f64 / KEYS as f64);
        serve.stop();
    }
    vec![
        Row::new("start with 100,000 keys, s until ready".to_owned(), Goal::AtMost(0.5), times),
        Row::new("resident memory for each key, bytes".to_owned(), Goal::AtMost(600.0), per_key),
        Row::new(
            "resident memory when idle, MiB".to_owned(),
            Goal::AtMost(15.0),
            vec![idle as f64 / f64::from(1 << 20)],
        ),
    ]
}
