//! Which plots a report has.

use super::drawing::{Axis, Bar, Line, Scale, bars, lines, thousands};
use super::{PointResult, Report};
use std::collections::BTreeSet;

/// A plot.
pub(super) struct Chart {
    /// For a file: letters, digits and dashes.
    pub(super) name: String,
    pub(super) svg: String,
}

/// More lines in one plot cannot be told apart.
const MOST_LINES: usize = 8;

/// Something that may have been swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dimension {
    Connections,
    Size,
    Keys,
}

impl Dimension {
    const ALL: [Self; 3] = [Self::Connections, Self::Size, Self::Keys];

    fn of(self, result: &PointResult) -> usize {
        match self {
            Self::Connections => result.connections,
            Self::Size => result.size,
            Self::Keys => result.keys,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Size => "plaintext, bytes",
            Self::Keys => "keys",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Size => "size",
            Self::Keys => "keys",
        }
    }
}

/// All plots of a report.
pub(super) fn all(report: &Report) -> Vec<Chart> {
    let mut charts = vec![rates(report)];
    for dimension in Dimension::ALL {
        if distinct(report, |result| dimension.of(result).to_string()) > 1 {
            charts.push(sweep(report, dimension, "throughput", "rate", &RATE, |result| result.per_second));
            charts.push(sweep(report, dimension, "99th percentile of latency", "p99", &LATENCY, |result| {
                microseconds(result.latency.p99_ns)
            }));
        }
    }
    for (part, results) in report.results.chunks(MOST_LINES).enumerate() {
        let suffix = if report.results.len() > MOST_LINES { format!("-{}", part + 1) } else { String::new() };
        let line = |result: &PointResult, points| Line { label: label(report, result), points };
        let percentiles = |result: &PointResult| {
            result.curve.iter().map(|point| (point.share, microseconds(point.latency_ns))).collect()
        };
        let curves: Vec<Line> = results.iter().map(|result| line(result, percentiles(result))).collect();
        charts.push(Chart {
            name: format!("latency{suffix}"),
            svg: lines("Latency by percentile", &PERCENTILE, &LATENCY, &curves),
        });
        for series in [Series::Rate, Series::P99, Series::Memory] {
            let over_time: Vec<Line> = results
                .iter()
                .map(|result| line(result, series.points(result)))
                .filter(|line| !line.points.is_empty())
                .collect();
            if !over_time.is_empty() {
                let (name, title, axis) = series.texts();
                charts.push(Chart { name: format!("{name}{suffix}"), svg: lines(title, &TIME, axis, &over_time) });
            }
        }
    }
    charts
}

const RATE: Axis = Axis { label: "requests per second", scale: Scale::Linear, show: thousands };
const LATENCY: Axis = Axis { label: "latency", scale: Scale::Log, show: duration };
const PERCENTILE: Axis =
    Axis { label: "percentile (each nine has the same room)", scale: Scale::Nines, show: percentile };
const TIME: Axis = Axis { label: "seconds of the first visit", scale: Scale::Linear, show: thousands };
const MEMORY: Axis = Axis { label: "resident memory, MiB", scale: Scale::Linear, show: thousands };

/// What is shown over time, of the first visit of each combination.
#[derive(Clone, Copy)]
enum Series {
    Rate,
    P99,
    Memory,
}

impl Series {
    fn texts(self) -> (&'static str, &'static str, &'static Axis) {
        match self {
            Self::Rate => ("rate-over-time", "Throughput, second by second", &RATE),
            Self::P99 => ("p99-over-time", "99th percentile of latency, second by second", &LATENCY),
            Self::Memory => ("memory-over-time", "Memory of the server, second by second", &MEMORY),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds, requests and bytes are far below 2^53")]
    fn points(self, result: &PointResult) -> Vec<(f64, f64)> {
        let seconds = result.visits.first().map_or(&[][..], |visit| &visit.seconds[..]);
        let value = |second: &crate::visit::Stretch| match self {
            Self::Rate => Some(second.answered as f64),
            Self::P99 => (second.answered > 0).then(|| microseconds(second.p99_ns)),
            Self::Memory => second.resident_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20)),
        };
        seconds.iter().filter_map(|second| Some((second.index as f64 + 1.0, value(second)?))).collect()
    }
}

fn rates(report: &Report) -> Chart {
    let bar = |result: &PointResult| Bar {
        label: label(report, result),
        value: result.per_second,
        range: result.per_second_range,
    };
    let all: Vec<Bar> = report.results.iter().map(bar).collect();
    Chart { name: "rates".to_owned(), svg: bars("Throughput: median and range of the repeats", "/s", &all) }
}

fn sweep(
    report: &Report,
    dimension: Dimension,
    what: &str,
    name: &str,
    y: &Axis,
    value: fn(&PointResult) -> f64,
) -> Chart {
    let mut all: Vec<Line> = Vec::new();
    for result in &report.results {
        let label = label_without(report, result, Some(dimension));
        let point = (as_f64(dimension.of(result)), value(result));
        match all.iter_mut().find(|line| line.label == label) {
            Some(line) => line.points.push(point),
            None => all.push(Line { label, points: vec![point] }),
        }
    }
    for line in &mut all {
        line.points.sort_by(|one, other| one.0.total_cmp(&other.0));
    }
    let values = || report.results.iter().map(|result| dimension.of(result));
    let wide = values().max().unwrap_or(1) > 8 * values().min().unwrap_or(1).max(1);
    let scale = if wide { Scale::Log } else { Scale::Linear };
    let x = Axis { label: dimension.label(), scale, show: thousands };
    let title = format!("{what} over {}", dimension.name());
    Chart { name: format!("{name}-over-{}", dimension.name()), svg: lines(&capitalised(&title), &x, y, &all) }
}

/// What tells `result` from the others of the report.
fn label(report: &Report, result: &PointResult) -> String {
    label_without(report, result, None)
}

fn label_without(report: &Report, result: &PointResult, without: Option<Dimension>) -> String {
    let mut parts = vec![result.target.clone()];
    if distinct(report, |result| result.mix.clone()) > 1 {
        parts.push(result.mix.clone());
    }
    for (dimension, unit) in [(Dimension::Size, "B"), (Dimension::Connections, "connection"), (Dimension::Keys, "key")]
    {
        if Some(dimension) != without && distinct(report, |result| dimension.of(result).to_string()) > 1 {
            let number = dimension.of(result);
            parts.push(format!("{number} {unit}{}", if number == 1 || unit == "B" { "" } else { "s" }));
        }
    }
    if distinct(report, |result| result.asked.clone()) > 1 {
        parts.push(result.asked.clone());
    }
    parts.join(", ")
}

fn distinct(report: &Report, part: impl Fn(&PointResult) -> String) -> usize {
    report.results.iter().map(part).collect::<BTreeSet<_>>().len()
}

fn percentile(share: f64) -> String {
    let text = format!("{:.6}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Of microseconds.
fn duration(microseconds: f64) -> String {
    match microseconds {
        below if below < 1_000.0 => format!("{} us", thousands(below)),
        below if below < 1_000_000.0 => format!("{} ms", thousands(below / 1_000.0)),
        seconds => format!("{} s", thousands(seconds / 1_000_000.0)),
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^53 ns")]
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "sizes and numbers of keys are far below 2^53")]
fn as_f64(number: usize) -> f64 {
    number as f64
}
