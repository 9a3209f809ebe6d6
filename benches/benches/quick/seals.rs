//! What sealing costs beside plain AES-256-GCM with its key kept.

use crate::goals::{Goal, Row};
use zonekms_benches::seal_ratios::seal_ratios;

const ROUNDS: usize = 15;
/// In each round, the median of so many stretches.
const STRETCHES: usize = 41;

/// One row for each length.
pub(crate) fn rows() -> Vec<Row> {
    let rounds: Vec<_> = (0..ROUNDS).map(|_| seal_ratios(STRETCHES)).collect();
    let goals = [(32, 2.8), (4_096, 0.95), (65_536, 0.5)];
    goals
        .map(|(len, goal)| {
            let ratios = rounds.iter().flatten().filter(|round| round.len == len).map(|round| round.ratio()).collect();
            Row::new(format!("XAES seal {len} B, time of ring's"), Goal::AtMost(goal), ratios)
        })
        .into()
}
