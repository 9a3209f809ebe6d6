//! The results in columns.

use super::{Extent, PointResult, Report};
use std::fmt::Write as _;

/// A header and one row for each combination; then what must not be overlooked, and how the machine paused.
pub(super) fn table(report: &Report) -> String {
    let mut rows = vec![header()];
    rows.extend(report.results.iter().map(row));
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Words to the left, numbers to the right.
            let written = match column {
                0 | 1 | 5 => write!(line, "{cell:<width$}  "),
                _ => write!(line, "{cell:>width$}  "),
            };
            written.expect("writing to a String cannot fail");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for remark in remarks(report) {
        text.push('\n');
        text.push_str(&remark);
        text.push('\n');
    }
    text.push('\n');
    for pauses in &report.pauses {
        text.push_str(&pauses.to_string());
        text.push('\n');
    }
    text
}

fn header() -> Vec<String> {
    let columns = [
        "target",
        "operations",
        "bytes",
        "conns",
        "keys",
        "pace",
        "req/s",
        "spread",
        "p50",
        "p99",
        "p99.9",
        "max",
        "failed",
        "unanswered",
        "server us/req",
        "of ceiling",
    ];
    columns.map(str::to_owned).to_vec()
}

fn row(result: &PointResult) -> Vec<String> {
    let (low, high) = result.per_second_range;
    let spread =
        if result.visits.len() < 2 { "-".to_owned() } else { percent((high - low) / result.per_second.max(1e-9)) };
    let ceiling = result.ceiling_per_second.map(|ceiling| percent(result.per_second / ceiling.max(1e-9)));
    vec![
        result.target.clone(),
        result.mix.clone(),
        result.size.to_string(),
        result.connections.to_string(),
        result.keys.to_string(),
        result.asked.clone(),
        format!("{:.0}", result.per_second),
        spread,
        latency(result.latency.p50_ns),
        latency(result.latency.p99_ns),
        latency(result.latency.p999_ns),
        latency(result.latency.max_ns),
        result.failed.to_string(),
        result.unanswered.to_string(),
        result.server_cpu_us.map_or("-".to_owned(), |cpu| format!("{cpu:.2}")),
        ceiling.map_or("-".to_owned(), |share| format!("{share}{}", if result.near_ceiling() { " !" } else { "" })),
    ]
}

/// What the figures mean only together with.
pub(super) fn remarks(report: &Report) -> Vec<String> {
    let mut remarks = match report.extent {
        Extent::Whole => Vec::new(),
        Extent::Interrupted => vec!["INTERRUPTED: not everything was measured.".to_owned()],
    };
    for result in &report.results {
        let name = format!("{}, {}, {} B, {} connections", result.target, result.mix, result.size, result.connections);
        if result.failed > 0 || result.unanswered > 0 {
            let kinds = result.visits.iter().flat_map(|visit| &visit.failures);
            let mut kinds: Vec<String> =
                kinds.map(|(kind, count)| format!("{kind} {}x ({})", count.count, count.first)).collect();
            kinds.dedup();
            kinds.truncate(5);
            let (failed, unanswered) = (result.failed, result.unanswered);
            remarks
                .push(format!("FAILED: {name}: {failed} failed, {unanswered} without an answer. {}", kinds.join("; ")));
        }
        for soak in result.soaks() {
            let memory = match (soak.memory_is_flat(), soak.resident) {
                (Some(flat), Some((first, most))) => {
                    format!(
                        "memory {} ({} KiB, then at most {} KiB)",
                        if flat { "flat" } else { "GROWS" },
                        first >> 10,
                        most >> 10
                    )
                }
                (None, _) | (_, None) => "memory not watched".to_owned(),
            };
            remarks.push(format!(
                "soak: {name}: {memory}; p99 of the worst minute {:.2} x the first",
                soak.p99_worst_of_first
            ));
        }
    }
    if report.results.iter().any(PointResult::near_ceiling) {
        remarks.push(
            "!  above 70 % of what the generator reaches against a minimal responder: the server may be able to do more."
                .to_owned(),
        );
    }
    remarks
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// With a unit that leaves one to four digits before the point.
pub(super) fn latency(nanoseconds: u64) -> String {
    let microseconds = nanoseconds / 1_000;
    match nanoseconds {
        0 => "-".to_owned(),
        1..10_000_000 => format!("{microseconds} us"),
        10_000_000..10_000_000_000 => format!("{} ms", microseconds / 1_000),
        10_000_000_000.. => format!("{} s", microseconds / 1_000_000),
    }
}
