//! Latencies in figures and as a curve.

use crate::recorder::Latencies;
use serde::Serialize;

/// The usual figures of many latencies, in nanoseconds. All are 0 if there were none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LatencySummary {
    /// The mean.
    pub mean_ns: f64,
    /// The median.
    pub p50_ns: u64,
    /// What 90 % were not above.
    pub p90_ns: u64,
    /// What 99 % were not above.
    pub p99_ns: u64,
    /// What 99.9 % were not above.
    pub p999_ns: u64,
    /// The largest.
    pub max_ns: u64,
}

/// A point of the latency curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// The share of requests, from 0 to below 1.
    pub share: f64,
    /// What that share of requests was not above, in nanoseconds.
    pub latency_ns: u64,
}

pub(crate) fn summary(latencies: &Latencies) -> LatencySummary {
    if latencies.is_empty() {
        return LatencySummary::default();
    }
    let at = |quantile| latencies.value_at_quantile(quantile);
    LatencySummary {
        mean_ns: latencies.mean(),
        p50_ns: at(0.5),
        p90_ns: at(0.9),
        p99_ns: at(0.99),
        p999_ns: at(0.999),
        max_ns: latencies.max(),
    }
}

/// The curve with eight points for each nine of the percentile, as far as there are at least two requests beyond a point.
#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
pub(crate) fn curve(latencies: &Latencies) -> Vec<CurvePoint> {
    if latencies.is_empty() {
        return Vec::new();
    }
    let nines = (latencies.len() as f64 / 2.0).log10().max(0.3);
    let steps = (0..).map(|step| f64::from(step) / 8.0).take_while(|step| *step <= nines);
    let point = |step: f64| {
        let share = 1.0 - 10_f64.powf(-step);
        CurvePoint { share, latency_ns: latencies.value_at_quantile(share) }
    };
    steps.map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::latencies;

    #[test]
    fn the_curve_goes_as_far_as_there_are_requests() {
        let mut own = latencies();
        for microseconds in 1..=10_000 {
            own.record(microseconds * 1_000).unwrap();
        }
        let curve = curve(&own);
        let last = curve.last().unwrap();
        assert!((0.999..0.9998).contains(&last.share), "{last:?}");
        assert!(curve.is_sorted_by_key(|point| point.latency_ns));
        let summary = summary(&own);
        // Three digits: within a thousandth.
        for (figure, expected) in
            [(summary.p50_ns, 5_000_000), (summary.p99_ns, 9_900_000), (summary.max_ns, 10_000_000)]
        {
            assert!(figure.abs_diff(expected) <= expected / 500, "{figure} {expected}");
        }
    }

    #[test]
    fn nothing_measured_is_nothing_shown() {
        assert_eq!(summary(&latencies()), LatencySummary::default());
        assert_eq!(curve(&latencies()), []);
    }
}
