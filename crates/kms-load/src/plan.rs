//! What is to be measured: targets, and every combination of what is swept.

use crate::connection::Wire;
use crate::key_choice::Distribution;
use crate::operation::Mix;
use crate::protocol::{KeyHandle, Protocol};
use crate::schedule::Pace;
use crate::server_process::ServerProcess;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One server under load.
pub struct Target {
    /// What it is called in reports.
    pub label: String,
    /// What it speaks.
    pub protocol: Arc<dyn Protocol>,
    /// How it is connected to.
    pub wire: Wire,
    /// Keys to use before any are made.
    pub keys: Vec<KeyHandle>,
    /// Its process, if it is on this machine and to be watched.
    pub server: Option<ServerProcess>,
}

/// What varies. Every combination is measured.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Shares of operations.
    pub mixes: Vec<Mix>,
    /// Sizes of plaintexts, in bytes.
    pub sizes: Vec<usize>,
    /// Numbers of connections.
    pub connections: Vec<usize>,
    /// Numbers of keys.
    pub keys: Vec<usize>,
    /// Closed loop, or open loops.
    pub paces: Vec<PaceChoice>,
}

/// A pace that may depend on what the server can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PaceChoice {
    /// As given.
    Fixed(Pace),
    /// An open loop at this share (above 0) of the rate that a closed loop reaches just before.
    ShareOfPeak(f64),
}

/// What stays the same in all visits.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// How keys are chosen.
    pub distribution: Distribution,
    /// Requests at the same time on one HTTP/2 connection.
    pub streams: usize,
    /// Sending threads.
    pub threads: usize,
    /// The processors that they are kept on.
    pub cpus: Vec<usize>,
    /// Load before each measurement, in seconds.
    #[serde(serialize_with = "seconds")]
    pub warm_up: Duration,
    /// Length of each measurement, in seconds.
    #[serde(serialize_with = "seconds")]
    pub duration: Duration,
    /// How long answers are waited for after the end, in seconds.
    #[serde(serialize_with = "seconds")]
    pub grace: Duration,
    /// How often everything is measured, each time in another random order.
    pub repeats: usize,
    /// What random choices begin with.
    pub seed: u64,
    /// Whether the generator's own limit is measured first.
    pub ceiling: CeilingChoice,
    /// What becomes of the keys that were made.
    pub keys_afterwards: KeysAfterwards,
}

/// Whether the generator's own limit is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CeilingChoice {
    /// Before anything else.
    Measured,
    /// Not at all: then nothing is known about whether a result is the server's or the generator's.
    Skipped,
}

/// What becomes of the keys that a run has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeysAfterwards {
    /// They are taken out of use by the target's own API.
    Removed,
    /// They stay.
    Kept,
}

/// One combination.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// The index of the target.
    pub(crate) target: usize,
    pub(crate) mix: Mix,
    pub(crate) size: usize,
    pub(crate) connections: usize,
    pub(crate) keys: usize,
    pub(crate) pace: PaceChoice,
}

impl Sweep {
    /// All combinations for each target.
    pub(crate) fn points(&self, targets: usize) -> Vec<Point> {
        let mut points = Vec::new();
        for mix in &self.mixes {
            for &size in &self.sizes {
                for &keys in &self.keys {
                    for &connections in &self.connections {
                        for &pace in &self.paces {
                            let point = |target| Point { target, mix: mix.clone(), size, connections, keys, pace };
                            points.extend((0..targets).map(point));
                        }
                    }
                }
            }
        }
        points
    }
}

impl fmt::Display for PaceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(Pace::Closed) => f.write_str("closed"),
            Self::Fixed(Pace::Open { per_second }) => write!(f, "{per_second:.0}/s"),
            Self::ShareOfPeak(share) => write!(f, "{:.0} % of peak", share * 100.0),
        }
    }
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
