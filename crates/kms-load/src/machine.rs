//! What the measurement ran on, from `/proc` and `/sys`.

use serde::Serialize;
use std::fs;

/// The machine, as far as it tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Processors that this process may run on.
    pub cores: usize,
    /// The kernel's name and version.
    pub kernel: String,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// What sets the processors' frequency, if the system tells.
    pub governor: Option<String>,
    /// Processes that wanted to run in the last minute, when the report was begun.
    pub load_average: String,
}

impl Machine {
    /// This machine now.
    #[must_use]
    pub fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
            line.map(|value| value.trim().to_owned())
        };
        let (cpus, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let kibibytes = field(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        let unknown = || "unknown".to_owned();
        let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
        Self {
            cpu: field(&cpus, "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: format!("{} {}", read("/proc/sys/kernel/ostype").trim(), read("/proc/sys/kernel/osrelease").trim()),
            memory_bytes: kibibytes.unwrap_or(0) * 1_024,
            governor: Some(governor.trim().to_owned()).filter(|governor| !governor.is_empty()),
            load_average: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}
