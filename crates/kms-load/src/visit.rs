//! One visit: a stretch of one kind of load on one server, and what came of it.

use crate::clock::Clock;
use crate::connection::Wire;
use crate::failure::FailureKind;
use crate::latency::{LatencySummary, summary};
use crate::operation::Operation;
use crate::protocol::KeyHandle;
use crate::recorder::{FailureCount, Latencies, SecondSlice, Tally, latencies};
use crate::requests::Requests;
use crate::schedule::{Pace, Window};
use crate::server_process::{ServerProcess, Usage};
use crate::stop::Stop;
use crate::worker::{self, Assignment, Check, Shared};
use arc_swap::ArcSwap;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How a visit is made.
#[derive(Clone, Debug)]
pub struct VisitSettings {
    /// Connections at the same time, over all threads.
    pub connections: usize,
    /// Requests at the same time on each HTTP/2 connection.
    pub streams: usize,
    /// Threads that send; each is a processor's worth of load.
    pub threads: usize,
    /// The processors that threads are kept on, the first thread on the first; empty: wherever the system puts them.
    pub cpus: Vec<usize>,
    /// Closed or open loop.
    pub pace: Pace,
    /// Load before the measured part.
    pub warm_up: Duration,
    /// The measured part.
    pub duration: Duration,
    /// How long answers are waited for after the end.
    pub grace: Duration,
    /// The server's process, if it runs on this machine and is to be watched.
    pub server: Option<ServerProcess>,
    /// Ends the visit before its time.
    pub stop: Stop,
}

/// What a visit found. Failures are never part of latencies or rates.
#[derive(Clone, Debug, Serialize)]
pub struct Visit {
    /// Successes: answered in the measured part in a closed loop, due in it in an open one.
    pub answered: u64,
    /// Successes that were answered in the measured part, per second.
    pub per_second: f64,
    /// Failures in the measured part.
    pub failed: u64,
    /// Requests that no answer came to in time, or that should have been sent and were not.
    pub unanswered: u64,
    /// Failures by kind.
    pub failures: BTreeMap<FailureKind, FailureCount>,
    /// Latencies of all successes.
    pub latency: LatencySummary,
    /// Successes and latencies by operation.
    pub operations: BTreeMap<Operation, OperationFigures>,
    /// Mean size of an answer's body, in bytes.
    pub answer_bytes: f64,
    /// How much of their time the generator's threads computed: near 1, the generator may be the limit.
    pub generator_busy: f64,
    /// What the server used, if it was watched.
    pub server: Option<ServerFigures>,
    /// Second by second.
    pub seconds: Vec<Stretch>,
    /// Minute by minute, for visits of two minutes or more.
    pub minutes: Vec<Stretch>,
    /// All latencies, in nanoseconds.
    #[serde(skip)]
    pub latencies: Latencies,
}

/// One operation's part of a visit.
#[derive(Clone, Debug, Serialize)]
pub struct OperationFigures {
    /// Successes.
    pub answered: u64,
    /// Their latencies.
    pub latency: LatencySummary,
}

/// What the server used in the measured part.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ServerFigures {
    /// Processor time for each success, in microseconds.
    pub cpu_us_per_request: f64,
    /// Processors that were busy, on average.
    pub cpus_busy: f64,
    /// Resident memory at the beginning, in bytes.
    pub resident_first: u64,
    /// Resident memory at the end, in bytes.
    pub resident_last: u64,
    /// The most resident memory that was seen at the end of a second, in bytes.
    pub resident_most: u64,
}

/// A second or a minute of a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// Its number, from 0.
    pub index: usize,
    /// Successes.
    pub answered: u64,
    /// Failures.
    pub failed: u64,
    /// Median latency, in nanoseconds.
    pub p50_ns: u64,
    /// The latency that 99 of 100 were not above, in nanoseconds.
    pub p99_ns: u64,
    /// The server's resident memory, in bytes, if it was watched.
    pub resident_bytes: Option<u64>,
}

/// Makes a visit. Blocks until it is over; `on_second` is told every second as soon as it is complete. Gives the keys that
/// the load itself made as well.
pub(crate) fn visit(
    requests: &Arc<Requests>,
    to: &Arc<Wire>,
    check: Check,
    settings: &VisitSettings,
    on_second: &mut dyn FnMut(&Stretch),
) -> io::Result<(Visit, Vec<KeyHandle>)> {
    let clock = Clock::new();
    let pool = requests.pool(clock.unix_seconds());
    let threads = settings.threads.clamp(1, settings.connections.max(1));
    // Time for the threads to start.
    let start = clock.now().after(Duration::from_millis(20));
    let shared = Arc::new(Shared {
        clock,
        window: Window::new(start, settings.warm_up, settings.duration),
        grace: settings.grace,
        pace: settings.pace,
        threads,
        requests: Arc::clone(requests),
        pool: ArcSwap::from_pointee(pool),
        to: Arc::clone(to),
        check,
        stop: settings.stop.clone(),
        made: Mutex::new(Vec::new()),
    });
    let (sender, receiver) = channel();
    let handles: Vec<_> = (0..threads)
        .map(|index| {
            let assignment = Assignment {
                index,
                connections: settings.connections / threads + usize::from(index < settings.connections % threads),
                streams: settings.streams,
                cpu: (!settings.cpus.is_empty()).then(|| settings.cpus[index % settings.cpus.len()]),
                slices: sender.clone(),
            };
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("load-{index}")).spawn(move || worker::run(&shared, assignment))
        })
        .collect::<io::Result<_>>()?;
    drop(sender);
    let collected = Collector::new(&shared, settings.server).collect(&receiver, on_second);

    let (mut tally, mut busy) = (Tally::default(), Duration::ZERO);
    for handle in handles {
        let report = handle.join().map_err(|_| io::Error::other("a load thread panicked"))??;
        tally.merge(report.tally);
        busy += report.busy;
    }
    let made = std::mem::take(&mut *shared.made.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((figures(tally, collected, busy, threads, settings.duration), made))
}

/// What the collector has seen while the threads worked.
struct Collected {
    seconds: Vec<Stretch>,
    minutes: Vec<Stretch>,
    first: Option<Usage>,
    last: Option<Usage>,
}

/// A second that not all threads have told of.
struct OpenSecond {
    latencies: Latencies,
    failed: u64,
    threads: usize,
}

impl OpenSecond {
    fn new() -> Self {
        Self { latencies: latencies(), failed: 0, threads: 0 }
    }
}

/// Puts the threads' seconds together, watches the server, and renews signatures before they are too old.
struct Collector<'a> {
    shared: &'a Shared,
    server: Option<ServerProcess>,
    open: BTreeMap<usize, OpenSecond>,
    closed: Option<usize>,
    minute: (Latencies, u64),
    memory: BTreeMap<usize, u64>,
    collected: Collected,
}

impl<'a> Collector<'a> {
    fn new(shared: &'a Shared, server: Option<ServerProcess>) -> Self {
        let collected = Collected { seconds: Vec::new(), minutes: Vec::new(), first: None, last: None };
        let (open, memory) = (BTreeMap::new(), BTreeMap::new());
        Self { shared, server, open, closed: None, minute: (latencies(), 0), memory, collected }
    }

    fn collect(mut self, slices: &Receiver<SecondSlice>, on_second: &mut dyn FnMut(&Stretch)) -> Collected {
        let window = self.shared.window;
        let life = self.shared.requests.protocol().signature_life();
        let mut signed_at = self.shared.clock.now();
        // The server is looked at when the measured part begins, after each second, and when it ends.
        let mut next = Some(window.measured_from());
        let mut looks = 0;
        loop {
            let until_next = next.map_or(u64::MAX, |next| next.since(self.shared.clock.now()));
            match slices.recv_timeout(Duration::from_nanos(until_next.min(500_000_000))) {
                Ok(slice) => self.take(&slice, on_second),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = self.shared.clock.now();
            while let Some(due) = next.filter(|due| *due <= now) {
                self.look(looks);
                looks += 1;
                next = (due < window.end()).then(|| due.after(Duration::from_secs(1)).min(window.end()));
            }
            if life.is_some_and(|life| now.since(signed_at) > u64::try_from(life.as_nanos()).unwrap_or(u64::MAX) / 2) {
                let pool = self.shared.requests.pool(self.shared.clock.unix_seconds());
                self.shared.pool.store(Arc::new(pool));
                signed_at = self.shared.clock.now();
            }
        }
        if next.is_some() {
            // The threads were done before the last look.
            self.look(looks);
        }
        while let Some((second, _)) = self.open.first_key_value() {
            let second = *second;
            self.close(second, on_second);
        }
        self.close_minute();
        if self.collected.minutes.len() < 2 {
            self.collected.minutes.clear();
        }
        self.collected
    }

    fn take(&mut self, slice: &SecondSlice, on_second: &mut dyn FnMut(&Stretch)) {
        if self.closed.is_some_and(|closed| slice.second <= closed) {
            // From a thread that was silent for seconds: too late for the series, but part of the visit's sums.
            return;
        }
        let second = self.open.entry(slice.second).or_insert_with(OpenSecond::new);
        second.latencies.add(&slice.latencies).expect("all histograms have the same bounds");
        second.failed += slice.failed;
        second.threads += 1;
        let newest = slice.second;
        while let Some(first) = self.open.first_entry() {
            let second = *first.key();
            // A thread without a single answer in a second says nothing about it.
            if first.get().threads < self.shared.threads && second + 3 > newest {
                break;
            }
            self.close(second, on_second);
        }
    }

    fn close(&mut self, second: usize, on_second: &mut dyn FnMut(&Stretch)) {
        let Some(OpenSecond { latencies, failed, .. }) = self.open.remove(&second) else { return };
        self.closed = Some(second);
        let stretch = stretch(second, &latencies, failed, self.memory.get(&(second + 1)).copied());
        while self.collected.minutes.len() < second / 60 {
            self.close_minute();
        }
        self.minute.0.add(&latencies).expect("all histograms have the same bounds");
        self.minute.1 += failed;
        on_second(&stretch);
        self.collected.seconds.push(stretch);
    }

    fn close_minute(&mut self) {
        let (latencies, failed) = std::mem::replace(&mut self.minute, (latencies(), 0));
        let index = self.collected.minutes.len();
        let memory = self.memory.range(..=index * 60 + 60).next_back().map(|(_, bytes)| *bytes);
        self.collected.minutes.push(stretch(index, &latencies, failed, memory));
    }

    fn look(&mut self, second: usize) {
        let Some(usage) = self.server.and_then(ServerProcess::usage) else { return };
        self.memory.insert(second, usage.resident_bytes);
        if self.collected.first.is_none() {
            self.collected.first = Some(usage.clone());
        }
        self.collected.last = Some(usage);
    }
}

fn stretch(index: usize, latencies: &Latencies, failed: u64, resident_bytes: Option<u64>) -> Stretch {
    let (p50_ns, p99_ns) = (latencies.value_at_quantile(0.5), latencies.value_at_quantile(0.99));
    Stretch { index, answered: latencies.len(), failed, p50_ns, p99_ns, resident_bytes }
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
fn figures(tally: Tally, collected: Collected, busy: Duration, threads: usize, duration: Duration) -> Visit {
    let mut all = latencies();
    for own in tally.latencies.values() {
        all.add(own).expect("all histograms have the same bounds");
    }
    let answered = all.len();
    let operations = tally.latencies.iter();
    let operations = operations
        .map(|(operation, own)| (*operation, OperationFigures { answered: own.len(), latency: summary(own) }));
    let seconds = duration.as_secs_f64();
    let server = match (collected.first, collected.last) {
        (Some(first), Some(last)) => {
            let cpu = last.cpu_since(&first).as_secs_f64();
            let most = collected.seconds.iter().filter_map(|second| second.resident_bytes).max().unwrap_or(0);
            Some(ServerFigures {
                cpu_us_per_request: cpu * 1e6 / tally.in_time.max(1) as f64,
                cpus_busy: cpu / seconds,
                resident_first: first.resident_bytes,
                resident_last: last.resident_bytes,
                resident_most: most.max(first.resident_bytes).max(last.resident_bytes),
            })
        }
        (None, _) | (_, None) => None,
    };
    Visit {
        answered,
        per_second: tally.in_time as f64 / seconds,
        failed: tally.failures.values().map(|failure| failure.count).sum(),
        unanswered: tally.unanswered,
        failures: tally.failures,
        latency: summary(&all),
        operations: operations.collect(),
        answer_bytes: tally.received_bytes as f64 / answered.max(1) as f64,
        generator_busy: busy.as_secs_f64() / (seconds * threads as f64),
        server,
        seconds: collected.seconds,
        minutes: collected.minutes,
        latencies: all,
    }
}
