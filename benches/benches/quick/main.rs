//! The goals for speed, as ratios within one run: what a server can do beside one that does nothing, on the same processor.
//!
//! The servers are kept on processor 0 and the load on processor 1. What is compared is visited in turn, for a second at a time, and
//! each ratio is that of two visits that follow one another; the median of the rounds is shown. Absolute figures are this
//! machine's and this minute's.
//!
//! ```text
//! just bench-quick
//! ```

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints, and ends where a step fails")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

mod audit;
mod creating;
mod goals;
mod many_keys;
mod noop;
mod seals;
mod servers;
mod starting;

use goals::{Goal, Row, table};
use kms_load::{
    Distribution, LoadKind, Mix, Operation, Pace, Pauses, ServerProcess, Session, Stop, VisitSettings, median,
};
use servers::{CryptoCalls, Noop, Place, Processors, Serve};
use std::time::{Duration, Instant};

/// Rounds of each comparison.
const ROUNDS: usize = 7;
/// The processor of the servers, and that of the load.
const SERVER_CPU: usize = 0;
const LOAD_CPU: usize = 1;

fn main() {
    let place = Place::find();
    let began = Instant::now();
    let prepared = many_keys::prepare(&place);
    if began.elapsed() > Duration::from_secs(10) {
        println!("100,000 keys are made and kept for the next time: {:.0} s", began.elapsed().as_secs_f64());
    }

    let began = Instant::now();
    let mut rows = Vec::new();
    let directory = tempfile::Builder::new().prefix("bench-quick-").tempdir_in(place.target()).unwrap();
    let serve = Serve::start(&place, directory.path(), Processors::One(SERVER_CPU), CryptoCalls::Untold);
    let idle = serve.resident_bytes();
    let noop = Noop::start(&place, SERVER_CPU);
    let mut session = serve.session(Vec::new());

    let calls = [
        (Operation::Encrypt, 32, 0.95),
        (Operation::Decrypt, 32, 0.95),
        (Operation::Encrypt, 4_096, 0.62),
        (Operation::Encrypt, 65_536, 0.32),
    ];
    let mut peak = 0.0;
    for (operation, size, goal) in calls {
        let found = noop::beside(&mut session, &serve, &noop, &kind(operation, size, 1));
        if (operation, size) == (Operation::Encrypt, 32) {
            peak = median(&found.rates);
        }
        let row = Row::new(format!("{operation} {size} B, of the no-op"), Goal::AtLeast(goal), found.ratios);
        rows.push(row.by_cpu_time(&found.cpu_ratios));
    }
    rows.extend(seals::rows());
    rows.push(tail(&mut session, peak / 2.0));
    rows.push(audit::row(&mut session, &serve, &place));
    rows.push(creating::row(&mut session, &serve, &place));
    drop(session);
    serve.stop();

    rows.extend(many_keys::rows(&prepared, &place));
    rows.extend(starting::rows(&prepared, &place, idle));
    println!("{}", table(&rows));
    println!(
        "{:.0} s; server on processor {SERVER_CPU}, load on {LOAD_CPU}, {ROUNDS} rounds",
        began.elapsed().as_secs_f64()
    );
    let file = place.target().join("bench-quick.json");
    std::fs::write(&file, serde_json::to_string_pretty(&rows).unwrap()).unwrap();
    println!("{}", file.display());
}

/// One operation with plaintexts of one size on that many keys.
fn kind(operation: Operation, size: usize, keys: usize) -> LoadKind {
    LoadKind { mix: Mix::only(operation), size, keys, distribution: Distribution::Uniform, requests: 0, seed: 1 }
}

/// A visit of 32 connections that are kept.
fn visit(pace: Pace, duration: Duration, server: Option<ServerProcess>) -> VisitSettings {
    VisitSettings {
        connections: 32,
        streams: 1,
        threads: 1,
        cpus: vec![LOAD_CPU],
        pace,
        warm_up: Duration::from_millis(150),
        duration,
        grace: Duration::from_secs(2),
        server,
        stop: Stop::new(),
    }
}

/// What a visit of a closed loop found.
#[derive(Clone, Copy)]
struct Closed {
    /// Successes per second.
    per_second: f64,
    /// The server's processor time for each of them, in microseconds.
    cpu_us: f64,
}

/// A short closed loop. A failure ends the bench: it measures nothing then.
fn closed(session: &mut Session, kind: &LoadKind, server: ServerProcess) -> Closed {
    let settings = visit(Pace::Closed, Duration::from_millis(850), Some(server));
    let visit = session.visit(kind, &settings, &mut |_| {}).unwrap();
    assert!(visit.failed == 0 && visit.unanswered == 0, "{}: {:?}", session.label(), visit.failures);
    Closed { per_second: visit.per_second, cpu_us: visit.server.unwrap().cpu_us_per_request }
}

/// How far the slowest of a hundred are from the middle, at half the peak rate, and how the machine paused just before: a
/// processor that stands still for one hundredth of the time is what the row shows, and no server.
fn tail(session: &mut Session, per_second: f64) -> Row {
    let settings = visit(Pace::Open { per_second }, Duration::from_secs(2), None);
    let ratio = |_| {
        let visit = session.visit(&kind(Operation::Encrypt, 32, 1), &settings, &mut |_| {}).unwrap();
        assert!(visit.failed == 0, "{:?}", visit.failures);
        ratio(visit.latency.p99_ns, visit.latency.p50_ns)
    };
    let pauses = Pauses::watch(&[SERVER_CPU, LOAD_CPU], Duration::from_secs(1)).unwrap();
    Row::new("p99 of p50 at half the peak rate".to_owned(), Goal::AtMost(4.0), (0..5).map(ratio).collect())
        .beside_pauses(pauses)
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a latency are far below 2^53")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other.max(1) as f64
}
