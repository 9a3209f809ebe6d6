//! What is wanted, what was measured, and whether that is enough.

use kms_load::{Pauses, median};
use serde::Serialize;

/// What a figure should be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    what: String,
    goal: Goal,
    median: f64,
    verdict: Verdict,
    rounds: Vec<f64>,
    /// The same ratio taken from the servers' processor time for each request, which other work on the machine disturbs less.
    by_cpu_time: Option<f64>,
    /// How the machine paused just before, where that matters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pauses: Vec<Pauses>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Pass,
    Short,
}

impl Row {
    /// A figure that was measured several times.
    pub(crate) fn new(what: String, goal: Goal, rounds: Vec<f64>) -> Self {
        let median = median(&rounds);
        let reached = match goal {
            Goal::AtLeast(least) => median >= least,
            Goal::AtMost(most) => median <= most,
        };
        Self {
            what,
            goal,
            median,
            verdict: if reached { Verdict::Pass } else { Verdict::Short },
            rounds,
            by_cpu_time: None,
            pauses: Vec::new(),
        }
    }
}

impl Row {
    /// With the ratios of processor time in the same rounds.
    pub(crate) fn by_cpu_time(self, rounds: &[f64]) -> Self {
        Self { by_cpu_time: Some(median(rounds)), ..self }
    }

    /// With the machine's pauses just before it was measured.
    pub(crate) fn beside_pauses(self, pauses: Vec<Pauses>) -> Self {
        Self { pauses, ..self }
    }
}

/// All rows in columns.
pub(crate) fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.what.len()).max().unwrap_or(0);
    let mut text = format!(
        "{:width$}  {:>9}  {:>8}  {:>17}  {:>11}\n",
        "", "goal", "measured", "lowest to highest", "by CPU time"
    );
    for Row { what, goal, median, verdict, rounds, by_cpu_time, pauses } in rows {
        let by_cpu_time = by_cpu_time.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        let goal = match goal {
            Goal::AtLeast(least) => format!(">= {least}"),
            Goal::AtMost(most) => format!("<= {most}"),
        };
        let verdict = match verdict {
            Verdict::Pass => "pass",
            Verdict::Short => "SHORT",
        };
        let low = rounds.iter().copied().fold(f64::MAX, f64::min);
        let high = rounds.iter().copied().fold(0.0, f64::max);
        text.push_str(&format!(
            "{what:width$}  {goal:>9}  {median:>8.2}  {low:>8.2} {high:>8.2}  {by_cpu_time:>11}  {verdict}\n"
        ));
        for pauses in pauses {
            text.push_str(&format!("  {pauses}\n"));
        }
    }
    text
}
