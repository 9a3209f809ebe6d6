//! Pauses of the machine: how often, and for how long, a thread that only reads the clock is kept from reading it.
//!
//! The host of a virtual machine stops its processors for milliseconds at a time, and neighbours on the same processor take their
//! turns. What waits meanwhile shows in the slowest percentiles, and is no server's doing.

use crate::clock::{Clock, Moment};
use crate::worker::pin_to;
use rustix::thread::{CpuSet, Pid, sched_getaffinity};
use serde::Serialize;
use std::fmt;
use std::io;
use std::iter;
use std::thread;
use std::time::Duration;

/// Two readings this far apart, in nanoseconds, have a pause between them. A reading takes tens of nanoseconds, an interrupt some
/// microseconds.
const SHORTEST: u64 = 300_000;

/// The pauses seen while one processor was watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pauses {
    /// The processor; none if the thread could run on any.
    pub processor: Option<usize>,
    /// How long was watched, in nanoseconds.
    pub watched_ns: u64,
    /// How many pauses there were.
    pub count: u64,
    /// The longest, in nanoseconds.
    pub longest_ns: u64,
    /// All together, in nanoseconds.
    pub total_ns: u64,
}

impl Pauses {
    /// Watches each of `processors` for that long, all at once; one thread anywhere if none is given.
    ///
    /// # Errors
    /// When a thread cannot be started, or cannot be kept on its processor.
    pub fn watch(processors: &[usize], duration: Duration) -> io::Result<Vec<Self>> {
        let places: Vec<Option<usize>> = match processors {
            [] => vec![None],
            some => some.iter().copied().map(Some).collect(),
        };
        thread::scope(|scope| {
            let watchers: Vec<_> = places
                .into_iter()
                .map(|processor| thread::Builder::new().spawn_scoped(scope, move || watch_one(processor, duration)))
                .collect::<io::Result<_>>()?;
            watchers.into_iter().map(|watcher| watcher.join().unwrap_or_else(|_| Err(ended_early()))).collect()
        })
    }

    /// The pauses between `readings` of a clock, which come as fast as they can be taken.
    fn between(processor: Option<usize>, readings: impl IntoIterator<Item = Moment>) -> Self {
        let mut pauses = Self { processor, watched_ns: 0, count: 0, longest_ns: 0, total_ns: 0 };
        let mut last = None;
        for reading in readings {
            let gap = last.map_or(0, |last| reading.since(last));
            last = Some(reading);
            pauses.watched_ns += gap;
            if gap > SHORTEST {
                pauses.count += 1;
                pauses.longest_ns = pauses.longest_ns.max(gap);
                pauses.total_ns += gap;
            }
        }
        pauses
    }
}

/// `pauses of the machine: 3.0 per second, longest 5.1 ms, 0.70 % of the time (processor 1)`.
impl fmt::Display for Pauses {
    #[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds of some seconds are far below 2^53")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let watched = self.watched_ns.max(1) as f64;
        let per_second = self.count as f64 / watched * 1e9;
        let (longest, share) = (self.longest_ns as f64 / 1e6, self.total_ns as f64 / watched * 100.0);
        write!(
            f,
            "pauses of the machine: {per_second:.1} per second, longest {longest:.1} ms, {share:.2} % of the time"
        )?;
        match self.processor {
            Some(processor) => write!(f, " (processor {processor})"),
            None => Ok(()),
        }
    }
}

/// The processors on which a run's pauses are watched: the generator's first, and the first of another that a server is kept on.
/// More would keep each other from running where the processors are few.
pub(crate) fn watched(generators: &[usize], servers: impl IntoIterator<Item = u32>) -> Vec<usize> {
    let Some(own) = generators.first() else { return Vec::new() };
    let kept_on = |pid: u32| {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        let allowed = sched_getaffinity(Some(pid)).ok()?;
        (0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu) && !generators.contains(cpu))
    };
    iter::once(*own).chain(servers.into_iter().find_map(kept_on)).collect()
}

fn watch_one(processor: Option<usize>, duration: Duration) -> io::Result<Pauses> {
    if let Some(processor) = processor {
        pin_to(&[processor])?;
    }
    let clock = Clock::new();
    let begin = clock.now();
    let wanted = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let mut now = begin;
    let readings = iter::from_fn(|| {
        (now.since(begin) < wanted).then(|| {
            now = clock.now();
            now
        })
    });
    Ok(Pauses::between(processor, iter::once(begin).chain(readings)))
}

fn ended_early() -> io::Error {
    io::Error::other("a thread that watched the machine's pauses ended early")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(microseconds: &[u64]) -> Pauses {
        Pauses::between(Some(1), microseconds.iter().map(|at| Moment::from_nanoseconds(at * 1_000)))
    }

    #[test]
    fn gaps_longer_than_a_reading_explains_are_pauses() {
        let pauses = between(&[0, 1, 301, 602, 603, 5_703, 1_000_000]);
        let Pauses { watched_ns, count, longest_ns, total_ns, .. } = pauses;
        assert_eq!(watched_ns, 1_000_000_000);
        // 301 and 602 µs lie 301 µs apart, 1 and 301 only 300.
        assert_eq!((count, longest_ns, total_ns), (3, 994_297_000, (301 + 5_100 + 994_297) * 1_000));
    }

    #[test]
    fn the_pause_at_the_end_is_seen_and_nothing_is_no_pause() {
        assert_eq!(between(&[0, 8_000]).count, 1);
        for readings in [&[][..], &[7], &[0, 300], &[0, 100, 200, 300, 400]] {
            assert_eq!((between(readings).count, between(readings).total_ns), (0, 0), "{readings:?}");
        }
    }

    #[test]
    fn pauses_are_told_per_second_and_as_a_share() {
        let pauses = Pauses {
            processor: Some(1),
            watched_ns: 2_000_000_000,
            count: 5,
            longest_ns: 7_940_000,
            total_ns: 14_000_000,
        };
        let told = "pauses of the machine: 2.5 per second, longest 7.9 ms, 0.70 % of the time";
        assert_eq!(pauses.to_string(), format!("{told} (processor 1)"));
        assert_eq!(Pauses { processor: None, ..pauses }.to_string(), told);
        let never = Pauses { processor: None, watched_ns: 0, count: 0, longest_ns: 0, total_ns: 0 };
        assert_eq!(never.to_string(), "pauses of the machine: 0.0 per second, longest 0.0 ms, 0.00 % of the time");
    }

    #[test]
    fn each_processor_is_watched_as_long_as_asked() {
        let allowed = sched_getaffinity(None).unwrap();
        let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).take(2).collect();
        let wanted = Duration::from_millis(5);
        let watched_on = |cpus: &[usize]| Pauses::watch(cpus, wanted).unwrap();
        let found = watched_on(&cpus);
        assert_eq!(
            found.iter().map(|pauses| pauses.processor).collect::<Vec<_>>(),
            cpus.iter().copied().map(Some).collect::<Vec<_>>()
        );
        assert!(found.iter().all(|pauses| pauses.watched_ns >= 5_000_000), "{found:?}");
        assert_eq!(watched_on(&[]).len(), 1);
        assert!(Pauses::watch(&[CpuSet::MAX_CPU], wanted).is_err());
    }

    #[test]
    fn the_generators_processor_is_watched_and_one_that_is_left_to_a_server() {
        let allowed = sched_getaffinity(None).unwrap();
        let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).take(2).collect();
        let this = std::process::id();
        assert_eq!(watched(&[], [this]), [0_usize; 0], "a generator that may run anywhere");
        assert_eq!(watched(&cpus[..1], []), cpus[..1]);
        assert_eq!(watched(&cpus[..1], [this]), cpus, "both, or the only one there is");
        assert_eq!(watched(&cpus[..1], [u32::MAX]), cpus[..1], "no such process");
    }
}
