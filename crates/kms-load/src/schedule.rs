//! When requests are due, and which of them count. Pure: times are arguments.

use crate::clock::Moment;
use serde::Serialize;
use std::time::Duration;

/// What decides when the next request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "pace", rename_all = "kebab-case")]
pub enum Pace {
    /// Closed loop: each connection sends as soon as it was answered. Finds the most a server can do.
    Closed,
    /// Open loop: requests are due at a fixed rate whatever the server does, and latency counts from when they were due.
    Open {
        /// Requests per second, over all connections.
        per_second: f64,
    },
}

/// A stretch of load: a warm-up that does not count, and a measured part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    start: Moment,
    measured_from: Moment,
    end: Moment,
}

impl Window {
    /// Begins at `start` with `warm_up`, then measures for `duration`.
    pub(crate) fn new(start: Moment, warm_up: Duration, duration: Duration) -> Self {
        let measured_from = start.after(warm_up);
        Self { start, measured_from, end: measured_from.after(duration) }
    }

    /// When it begins.
    pub(crate) fn start(&self) -> Moment {
        self.start
    }

    /// When it ends: nothing is sent from then on.
    pub(crate) fn end(&self) -> Moment {
        self.end
    }

    /// When the measured part begins.
    pub(crate) fn measured_from(&self) -> Moment {
        self.measured_from
    }

    /// The second of the measured part that `moment` lies in, from 0; none before and after.
    pub(crate) fn second(&self, moment: Moment) -> Option<usize> {
        if moment < self.measured_from || moment >= self.end {
            return None;
        }
        usize::try_from(moment.since(self.measured_from) / 1_000_000_000).ok()
    }
}

/// The due times of one thread's share of an open loop.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    start: Moment,
    end: Moment,
    interval_ns: f64,
    /// So that the threads' requests do not come together.
    phase: f64,
    next: u64,
}

impl Schedule {
    /// `per_second` requests per second from the window's start to its end; thread `index` of `threads` has each
    /// `threads`-th of them.
    pub(crate) fn new(window: &Window, per_second: f64, index: usize, threads: usize) -> Self {
        let (index, threads) = (as_f64(index), as_f64(threads.max(1)));
        let interval_ns = 1e9 * threads / per_second;
        Self { start: window.start, end: window.end, interval_ns, phase: index / threads, next: 0 }
    }

    /// The next due time; none when the window is over. Each is given once.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "fewer than 2^53 requests, at offsets of less than 2^63 ns"
    )]
    pub(crate) fn take(&mut self) -> Option<Moment> {
        let offset = (self.next as f64 + self.phase) * self.interval_ns;
        let due = self.start.after(Duration::from_nanos(offset as u64));
        if due >= self.end {
            return None;
        }
        self.next += 1;
        Some(due)
    }

    /// How many due times of the measured part were never taken: requests that should have been sent.
    pub(crate) fn untaken_since(mut self, measured_from: Moment) -> u64 {
        let mut left = 0;
        while let Some(due) = self.take() {
            left += u64::from(due >= measured_from);
        }
        left
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of threads and connections are small")]
fn as_f64(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn window() -> Window {
        Window::new(Moment::from_nanoseconds(5 * SECOND), Duration::from_secs(1), Duration::from_secs(2))
    }

    #[test]
    fn only_the_measured_part_counts() {
        let at = |nanoseconds| window().second(Moment::from_nanoseconds(nanoseconds));
        assert_eq!(at(5 * SECOND), None);
        assert_eq!(at(6 * SECOND - 1), None);
        assert_eq!(at(6 * SECOND), Some(0));
        assert_eq!(at(7 * SECOND), Some(1));
        assert_eq!(at(8 * SECOND - 1), Some(1));
        assert_eq!(at(8 * SECOND), None);
    }

    #[test]
    fn due_times_are_even_and_shared_by_the_threads() {
        let mut all: Vec<u64> = Vec::new();
        for index in 0..3 {
            let mut schedule = Schedule::new(&window(), 1_000.0, index, 3);
            all.extend(std::iter::from_fn(|| schedule.take()).map(|due| due.since(Moment::from_nanoseconds(0))));
        }
        all.sort_unstable();
        assert_eq!(all.len(), 3_000);
        for (at, due) in all.iter().enumerate() {
            let expected = 5 * SECOND + u64::try_from(at).unwrap() * 1_000_000;
            assert!(due.abs_diff(expected) <= 1, "{at}: {due}");
        }
    }

    /// A server that stalls does not thin out the schedule: what was due stays due.
    #[test]
    fn a_late_request_keeps_its_due_time() {
        let mut schedule = Schedule::new(&window(), 1_000.0, 0, 1);
        let first = schedule.take().unwrap();
        let second = schedule.take().unwrap();
        // The connection was busy for half a second after the first one.
        let answered = first.after(Duration::from_millis(500));
        assert_eq!(answered.since(second), 499_000_000);
        // Of 2000 in the measured part none was taken; 998 of the warm-up do not count.
        assert_eq!(schedule.untaken_since(window().measured_from()), 2_000);
    }
}
