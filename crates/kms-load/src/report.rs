//! What a run found: as a table, as JSON, and as a page with drawings.

mod charts;
mod drawing;
mod html;
mod table;

use crate::call::KeepAlive;
use crate::connection::HttpVersion;
use crate::latency::{CurvePoint, LatencySummary, curve, summary};
use crate::machine::Machine;
use crate::pauses::Pauses;
use crate::plan::{Point, Settings, Target};
use crate::recorder::{Latencies, latencies};
use crate::schedule::Pace;
use crate::visit::{Stretch, Visit};
use serde::Serialize;

/// Above this share of the ceiling, a rate may be the generator's and not the server's.
const NEAR_CEILING: f64 = 0.7;

/// The results of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The generator's version.
    pub version: &'static str,
    /// Whether everything was measured.
    pub extent: Extent,
    /// What it ran on.
    pub machine: Machine,
    /// How it paused just before the visits, on each processor that was watched. Latencies of such lengths may be its own.
    pub pauses: Vec<Pauses>,
    /// The command line, without secrets.
    pub command: String,
    /// The servers.
    pub targets: Vec<TargetFacts>,
    /// What was the same in all visits.
    pub settings: Settings,
    /// One for each combination.
    pub results: Vec<PointResult>,
}

/// How much of a run took place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extent {
    /// All of it.
    Whole,
    /// It was ended early: visits, or whole combinations, are missing.
    Interrupted,
}

/// A server as the report names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetFacts {
    /// What it is called.
    pub label: String,
    /// What it speaks, such as `exoscale`.
    pub protocol: &'static str,
    /// Its address.
    pub endpoint: String,
    /// The version of HTTP.
    pub http: HttpVersion,
    /// Whether connections were used again.
    pub keep_alive: KeepAlive,
    /// The process that was watched.
    pub server_pid: Option<u32>,
}

/// One combination and all its visits.
#[derive(Clone, Debug, Serialize)]
pub struct PointResult {
    /// The target's label.
    pub target: String,
    /// The operations.
    pub mix: String,
    /// The size of plaintexts, in bytes.
    pub size: usize,
    /// Connections.
    pub connections: usize,
    /// Keys.
    pub keys: usize,
    /// The pace as asked for.
    pub asked: String,
    /// The pace as it was.
    #[serde(flatten)]
    pace: Pace,
    /// The peak that the pace is a share of, in requests per second.
    pub peak_per_second: Option<f64>,
    /// What the generator reaches without a server, in requests per second, if it was measured.
    pub ceiling_per_second: Option<f64>,
    /// The median of the visits' rates, in successes per second.
    pub per_second: f64,
    /// Lowest and highest rate of a visit.
    pub per_second_range: (f64, f64),
    /// Latencies of all visits together.
    pub latency: LatencySummary,
    /// Their curve.
    pub curve: Vec<CurvePoint>,
    /// Failures of all visits.
    pub failed: u64,
    /// Requests without an answer, of all visits.
    pub unanswered: u64,
    /// The median of the server's processor time for each success, in microseconds.
    pub server_cpu_us: Option<f64>,
    /// Each visit.
    pub visits: Vec<Visit>,
}

impl TargetFacts {
    pub(crate) fn of(target: &Target) -> Self {
        Self {
            label: target.label.clone(),
            protocol: target.protocol.name(),
            endpoint: target.wire.endpoint().to_string(),
            http: target.wire.version(),
            keep_alive: target.wire.keep_alive(),
            server_pid: target.server.map(crate::server_process::ServerProcess::pid),
        }
    }
}

impl Report {
    /// The results in columns, for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        table::table(self)
    }

    /// Everything, for programs.
    ///
    /// # Errors
    /// When a number cannot be in JSON; none of a report's can.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// Everything on one page that needs nothing else: no script, no font, no other file.
    #[must_use]
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// The drawings alone: a name for a file, without its ending, and an SVG document.
    #[must_use]
    pub fn drawings(&self) -> Vec<(String, String)> {
        charts::all(self).into_iter().map(|chart| (chart.name, drawing::standalone(&chart.svg))).collect()
    }
}

impl PointResult {
    pub(crate) fn new(point: &Point, target: String, pace: Pace, peak: Option<f64>, ceiling: Option<f64>) -> Self {
        Self {
            target,
            mix: point.mix.to_string(),
            size: point.size,
            connections: point.connections,
            keys: point.keys,
            asked: point.pace.to_string(),
            pace,
            peak_per_second: peak,
            ceiling_per_second: ceiling,
            per_second: 0.0,
            per_second_range: (0.0, 0.0),
            latency: LatencySummary::default(),
            curve: Vec::new(),
            failed: 0,
            unanswered: 0,
            server_cpu_us: None,
            visits: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, visit: Visit) {
        self.failed += visit.failed;
        self.unanswered += visit.unanswered;
        self.visits.push(visit);
        let rates: Vec<f64> = self.visits.iter().map(|visit| visit.per_second).collect();
        self.per_second = median(&rates);
        self.per_second_range =
            rates.iter().fold((f64::MAX, 0.0), |(low, high), rate| (low.min(*rate), high.max(*rate)));
        let cpu: Vec<f64> = self.visits.iter().filter_map(|visit| Some(visit.server?.cpu_us_per_request)).collect();
        self.server_cpu_us = (!cpu.is_empty()).then(|| median(&cpu));
        let all = self.merged();
        self.latency = summary(&all);
        self.curve = curve(&all);
    }

    /// The pace of all visits.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Whether the rate is so near to the generator's own limit that it says little about the server.
    #[must_use]
    pub fn near_ceiling(&self) -> bool {
        self.ceiling_per_second.is_some_and(|ceiling| self.per_second > NEAR_CEILING * ceiling)
    }

    /// What long visits say about memory and latency over time, one line each.
    #[must_use]
    pub fn soaks(&self) -> Vec<Soak> {
        self.visits.iter().filter_map(|visit| Soak::of(&visit.minutes)).collect()
    }

    fn merged(&self) -> Latencies {
        let mut all = latencies();
        for visit in &self.visits {
            all.add(&visit.latencies).expect("all histograms have the same bounds");
        }
        all
    }
}

/// What the minutes of a long visit say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Soak {
    /// The worst minute's 99th percentile, as a multiple of the first minute's.
    pub p99_worst_of_first: f64,
    /// Resident memory at the end of the first minute and the most at the end of a later one, in bytes, if it was watched.
    pub resident: Option<(u64, u64)>,
}

impl Soak {
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a latency are far below 2^53")]
    fn of(minutes: &[Stretch]) -> Option<Self> {
        let (first, later) = minutes.split_first()?;
        let worst = later.iter().filter(|minute| minute.answered > 0).map(|minute| minute.p99_ns).max()?;
        let most = later.iter().filter_map(|minute| minute.resident_bytes).max();
        Some(Self {
            p99_worst_of_first: worst as f64 / first.p99_ns.max(1) as f64,
            resident: first.resident_bytes.zip(most),
        })
    }

    /// Whether memory stayed within 5 % and 1 MiB of what it was after the first minute; none if it was not watched.
    #[must_use]
    pub fn memory_is_flat(&self) -> Option<bool> {
        self.resident.map(|(first, most)| most <= first + first / 20 + (1 << 20))
    }
}

/// The middle of `values`; the mean of the two in the middle if there is none; 0 for nothing.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count.is_multiple_of(2) => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
        count => sorted[count / 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        for (values, expected) in [(&[][..], 0.0), (&[3.0], 3.0), (&[3.0, 1.0], 2.0), (&[9.0, 1.0, 2.0], 2.0)] {
            assert!((median(values) - expected).abs() < 1e-9, "{values:?}");
        }
    }

    fn minute(index: usize, p99_ns: u64, mebibytes: u64) -> Stretch {
        Stretch { index, answered: 1, failed: 0, p50_ns: 1, p99_ns, resident_bytes: Some(mebibytes << 20) }
    }

    #[test]
    fn a_soak_is_judged_against_its_first_minute() {
        let soak = Soak::of(&[minute(0, 100, 20), minute(1, 140, 21), minute(2, 90, 22)]).unwrap();
        assert!((soak.p99_worst_of_first - 1.4).abs() < 1e-9);
        assert_eq!(soak.memory_is_flat(), Some(true));
        let growing = Soak::of(&[minute(0, 100, 20), minute(1, 140, 21), minute(2, 90, 23)]).unwrap();
        assert_eq!(growing.memory_is_flat(), Some(false));
        assert_eq!(Soak::of(&[]), None);
    }
}
