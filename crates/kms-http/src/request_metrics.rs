//! How many requests there were, how they ended and how long they took: counted by operation.
//!
//! Each thread counts in a shard of its own as long as there are enough, so that cores do not wait for each other's cache lines. Reading adds the
//! shards up, and may see one of a request's three figures before the others.

use crate::route::Operation;
use http::StatusCode;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Shards per front door. More threads than this share them, which costs time and nothing else.
const SHARDS: usize = 8;

/// Upper ends of the histogram's buckets in microseconds. A crypto call takes tens of them, a change some thousands.
const BOUNDS: [u64; 15] =
    [20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000];

/// The figures of one front door.
pub struct RequestMetrics {
    shards: [Shard; SHARDS],
}

/// Aligned to two cache lines, which processors fetch together.
#[derive(Default)]
#[repr(align(128))]
struct Shard([Counts; Operation::COUNT]);

#[derive(Default)]
struct Counts {
    outcomes: [AtomicU64; 3],
    /// The last is for what took longer than any bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// It was answered with a status below 400.
    Success,
    /// Refused: a status of 400 to 499.
    Refused,
    /// Failed: a status from 500 up.
    Failed,
}

/// The figures of one operation since the process began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationFigures {
    /// The API's operation id; `none` for requests that name no operation or whose signature was refused.
    pub operation: &'static str,
    /// How many requests had each outcome.
    pub outcomes: [(RequestOutcome, u64); 3],
    /// For each bound, how many requests took at most that long.
    pub at_most: Vec<(Duration, u64)>,
    /// How many requests there were, however long they took: never less than the last of `at_most`.
    pub count: u64,
    /// How long all of them took together.
    pub total: Duration,
}

impl RequestMetrics {
    pub(crate) fn new() -> Self {
        Self { shards: Default::default() }
    }

    /// Counts a request from its head to its answer, the time that the client needs for both not included.
    pub(crate) fn count(&self, operation: Operation, status: StatusCode, took: Duration) {
        let counts = &self.shards[shard_of_this_thread()].0[operation.index()];
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| nanos <= bound * 1000).unwrap_or(BOUNDS.len());
        counts.outcomes[RequestOutcome::of(status).index()].fetch_add(1, Ordering::Relaxed);
        counts.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        counts.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// The figures of every operation that was called.
    #[must_use]
    pub fn figures(&self) -> Vec<OperationFigures> {
        Operation::all().map(|operation| self.of(operation)).filter(|figures| figures.count > 0).collect()
    }

    fn of(&self, operation: Operation) -> OperationFigures {
        let sum = |figure: &dyn Fn(&Counts) -> &AtomicU64| {
            self.shards.iter().map(|shard| figure(&shard.0[operation.index()]).load(Ordering::Relaxed)).sum::<u64>()
        };
        let outcomes = RequestOutcome::ALL.map(|outcome| (outcome, sum(&|counts| &counts.outcomes[outcome.index()])));
        let mut so_far = 0;
        let mut with_bucket = |at: usize| {
            so_far += sum(&|counts| &counts.buckets[at]);
            so_far
        };
        let bounds = BOUNDS.iter().enumerate();
        let at_most = bounds.map(|(at, bound)| (Duration::from_micros(*bound), with_bucket(at))).collect();
        let count = with_bucket(BOUNDS.len());
        OperationFigures {
            operation: operation.name(),
            outcomes,
            at_most,
            count,
            total: Duration::from_nanos(sum(&|counts| &counts.nanos)),
        }
    }
}

impl RequestOutcome {
    const ALL: [Self; 3] = [Self::Success, Self::Refused, Self::Failed];

    fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            ..400 => Self::Success,
            400..500 => Self::Refused,
            500.. => Self::Failed,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Success => 0,
            Self::Refused => 1,
            Self::Failed => 2,
        }
    }
}

fn shard_of_this_thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: Cell<Option<usize>> = const { Cell::new(None) };
    }
    SHARD.with(|shard| match shard.get() {
        Some(shard) => shard,
        None => {
            let next = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
            shard.set(Some(next));
            next
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::KeyOperation;
    use std::thread;

    #[test]
    fn every_thread_counts_and_all_are_added_up() {
        let metrics = RequestMetrics::new();
        let encrypt = Operation::OnKey(KeyOperation::Encrypt);
        thread::scope(|scope| {
            for _ in 0..SHARDS + 3 {
                scope.spawn(|| {
                    metrics.count(encrypt, StatusCode::OK, Duration::from_micros(20));
                    metrics.count(encrypt, StatusCode::BAD_REQUEST, Duration::from_nanos(20_001));
                    metrics.count(encrypt, StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(11));
                });
            }
        });
        metrics.count(Operation::None, StatusCode::FORBIDDEN, Duration::ZERO);
        let figures = metrics.figures();
        assert_eq!(figures.iter().map(|figures| figures.operation).collect::<Vec<_>>(), ["none", "encrypt"]);
        let encrypt = &figures[1];
        let threads = SHARDS as u64 + 3;
        assert!(encrypt.outcomes.iter().all(|(_, count)| *count == threads));
        assert_eq!(encrypt.count, 3 * threads);
        assert_eq!(encrypt.at_most[0], (Duration::from_micros(20), threads));
        assert_eq!(encrypt.at_most[1], (Duration::from_micros(50), 2 * threads));
        assert_eq!(encrypt.at_most.last(), Some(&(Duration::from_secs(10), 2 * threads)));
        let micros = u128::from(threads) * 11_000_040;
        assert_eq!(encrypt.total.as_micros(), micros);
    }
}
