//! What one thread has seen: latencies of successes, failures by kind, second by second.

use crate::clock::Moment;
use crate::failure::{ExchangeFailure, FailureKind};
use crate::operation::Operation;
use crate::schedule::Window;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

/// Latencies in nanoseconds.
pub(crate) type Latencies = Histogram<u64>;

const LOWEST_NS: u64 = 1_000;
const HIGHEST_NS: u64 = 60_000_000_000;

/// A histogram from 1 µs to 60 s with three significant digits. What lies outside counts as the nearest bound.
pub(crate) fn latencies() -> Latencies {
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, 3).expect("the bounds are in order and the digits at most 5")
}

/// What happened in one second of the measured part, on one thread.
pub(crate) struct SecondSlice {
    pub(crate) second: usize,
    pub(crate) latencies: Latencies,
    pub(crate) failed: u64,
}

/// All that one thread has to tell at the end.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) latencies: BTreeMap<Operation, Latencies>,
    pub(crate) failures: BTreeMap<FailureKind, FailureCount>,
    pub(crate) unanswered: u64,
    /// Successes whose answer was there before the end.
    pub(crate) in_time: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
}

/// How often a kind of failure happened, and what the first one said.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FailureCount {
    /// How often.
    pub count: u64,
    /// The reason of the first one.
    pub first: String,
}

impl Tally {
    pub(crate) fn merge(&mut self, other: Self) {
        for (operation, latencies) in other.latencies {
            match self.latencies.entry(operation) {
                std::collections::btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(latencies);
                }
                std::collections::btree_map::Entry::Occupied(mut own) => {
                    own.get_mut().add(&latencies).expect("all histograms have the same bounds");
                }
            }
        }
        for (kind, other) in other.failures {
            let own = self.failures.entry(kind).or_insert(FailureCount { count: 0, first: other.first });
            own.count += other.count;
        }
        self.unanswered += other.unanswered;
        self.in_time += other.in_time;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
    }
}

/// A successful exchange.
pub(crate) struct Answered {
    /// What decides whether it is part of the measurement: when it was due in an open loop, when it was answered in a closed one.
    pub(crate) counted: Moment,
    /// When the answer was there: its place in the series of seconds.
    pub(crate) at: Moment,
    pub(crate) latency_ns: u64,
    pub(crate) sent: usize,
    pub(crate) received: usize,
}

/// One thread's recorder.
pub(crate) struct Recorder {
    window: Window,
    tally: Tally,
    slice: SecondSlice,
    slices: Sender<SecondSlice>,
}

impl Recorder {
    pub(crate) fn new(window: Window, slices: Sender<SecondSlice>) -> Self {
        let slice = SecondSlice { second: 0, latencies: latencies(), failed: 0 };
        Self { window, tally: Tally::default(), slice, slices }
    }

    /// An answer.
    pub(crate) fn success(&mut self, operation: Operation, answered: &Answered) {
        if self.window.second(answered.counted).is_none() {
            return;
        }
        let latency_ns = answered.latency_ns;
        self.tally.latencies.entry(operation).or_insert_with(latencies).saturating_record(latency_ns);
        self.tally.sent_bytes += answered.sent as u64;
        self.tally.received_bytes += answered.received as u64;
        if self.turn_to(answered.at) {
            self.tally.in_time += 1;
            self.slice.latencies.saturating_record(latency_ns);
        }
    }

    /// A failure that was seen `at` and counts as one of the moment `counted`.
    pub(crate) fn failure(&mut self, counted: Moment, at: Moment, failure: &ExchangeFailure) {
        if self.window.second(counted).is_none() {
            return;
        }
        let entry = self.tally.failures.entry(failure.kind);
        entry.or_insert_with(|| FailureCount { count: 0, first: failure.reason.clone() }).count += 1;
        if self.turn_to(at) {
            self.slice.failed += 1;
        }
    }

    /// Requests of the measured part that no answer came to.
    pub(crate) fn unanswered(&mut self, count: u64) {
        self.tally.unanswered += count;
    }

    /// Gives the last second to the collector, and all that was seen to the caller.
    pub(crate) fn finish(mut self) -> Tally {
        self.flush(0);
        self.tally
    }

    /// Makes the slice that of `at`; false if that lies outside the measured part. Moments come in their order.
    fn turn_to(&mut self, at: Moment) -> bool {
        let Some(second) = self.window.second(at) else { return false };
        if second != self.slice.second {
            self.flush(second);
        }
        true
    }

    fn flush(&mut self, second: usize) {
        if self.slice.latencies.is_empty() && self.slice.failed == 0 {
            self.slice.second = second;
            return;
        }
        let next = SecondSlice { second, latencies: latencies(), failed: 0 };
        // Nobody listens when the visit was given up: then nobody needs it.
        let _ = self.slices.send(std::mem::replace(&mut self.slice, next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn successes_and_failures_are_kept_apart_and_by_second() {
        let window = Window::new(Moment::from_nanoseconds(0), Duration::from_secs(1), Duration::from_secs(2));
        let (sender, slices) = channel();
        let mut recorder = Recorder::new(window, sender);
        let at = Moment::from_nanoseconds;
        let answered = |nanoseconds, latency_ns| Answered {
            counted: at(nanoseconds),
            at: at(nanoseconds),
            latency_ns,
            sent: 10,
            received: 20,
        };
        recorder.success(Operation::Encrypt, &answered(SECOND / 2, 1_000));
        for _ in 0..99 {
            recorder.success(Operation::Encrypt, &answered(SECOND, 100_000));
        }
        recorder.success(Operation::Decrypt, &answered(2 * SECOND, 5_000_000));
        let slow = ExchangeFailure::new(FailureKind::Status(429), "slow down");
        recorder.failure(at(2 * SECOND), at(2 * SECOND), &slow);
        recorder.failure(at(3 * SECOND), at(3 * SECOND), &slow);
        // Due in time, answered after the end: measured, but in no second.
        let late = Answered { counted: at(3 * SECOND - 1), ..answered(3 * SECOND, 7_000) };
        recorder.success(Operation::Decrypt, &late);
        let tally = recorder.finish();
        assert_eq!(tally.latencies[&Operation::Encrypt].len(), 99);
        assert!((100_000..=100_512).contains(&tally.latencies[&Operation::Encrypt].max()));
        assert_eq!(tally.failures.len(), 1);
        assert_eq!(tally.failures[&FailureKind::Status(429)], FailureCount { count: 1, first: "slow down".to_owned() });
        assert_eq!(tally.latencies[&Operation::Decrypt].len(), 2);
        assert_eq!(tally.in_time, 100);
        assert_eq!((tally.sent_bytes, tally.received_bytes), (1_010, 2_020));
        let seen: Vec<(usize, u64, u64)> =
            slices.iter().map(|slice| (slice.second, slice.latencies.len(), slice.failed)).collect();
        assert_eq!(seen, [(0, 99, 0), (1, 1, 1)]);
    }

    #[test]
    fn latencies_beyond_the_bounds_count_as_the_bounds() {
        let mut latencies = latencies();
        latencies.saturating_record(1);
        latencies.saturating_record(100 * 60 * SECOND);
        assert_eq!(latencies.len(), 2);
        assert!(latencies.max() <= 61 * SECOND);
        assert!(latencies.min() <= 1_000);
    }
}
