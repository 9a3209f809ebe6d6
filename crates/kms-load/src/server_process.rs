//! What a server on this machine uses: processor time and memory, from `/proc`.

use serde::Serialize;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// A process on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ServerProcess {
    pid: u32,
}

/// What a process has used up to a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of all its threads.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
}

impl ServerProcess {
    /// The process with this id; none if there is none that can be looked at.
    #[must_use]
    pub fn new(pid: u32) -> Option<Self> {
        let process = Self { pid };
        process.usage().map(|_| process)
    }

    /// The one process of this machine that is `zonekms serve` or `zonekms dev`; none if there are none or several.
    #[must_use]
    pub fn find_zonekms() -> Option<Self> {
        let entries = fs::read_dir("/proc").ok()?;
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let mut found = pids.filter(|pid| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut arguments = arguments.split(|byte| *byte == 0);
            let program =
                arguments.next().is_some_and(|program| program.rsplit(|byte| *byte == b'/').next() == Some(b"zonekms"));
            program && matches!(arguments.next(), Some(b"serve" | b"dev"))
        });
        match (found.next(), found.next()) {
            (Some(pid), None) => Self::new(pid),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }

    /// Its id.
    #[must_use]
    pub fn pid(self) -> u32 {
        self.pid
    }

    /// What it has used so far; none when it has ended.
    #[must_use]
    pub fn usage(self) -> Option<Usage> {
        let status = fs::read_to_string(self.place("status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(Usage { cpu: self.scheduled().or_else(|| self.ticks())?, resident_bytes: kibibytes * 1_024 })
    }

    /// To the nanosecond, from the scheduler's figures of each thread that is still there.
    fn scheduled(self) -> Option<Duration> {
        let tasks = fs::read_dir(self.place("task")).ok()?;
        let mut sum = 0;
        for task in tasks {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            sum += text.split_ascii_whitespace().next()?.parse::<u64>().ok()?;
        }
        Some(Duration::from_nanos(sum))
    }

    /// In clock ticks, ended threads included.
    fn ticks(self) -> Option<Duration> {
        let stat = fs::read_to_string(self.place("stat")).ok()?;
        // The name, in parentheses, may hold blanks: fields are counted after it. The first of these is number 3.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let per_second = rustix::param::clock_ticks_per_second();
        Some(Duration::from_micros((user + system).saturating_mul(1_000_000) / per_second.max(1)))
    }

    fn place(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_and_memory() {
        let own = ServerProcess::new(std::process::id()).unwrap();
        let before = own.usage().unwrap();
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        let mut sum = 0_u64;
        while own.usage().unwrap().cpu < before.cpu + Duration::from_millis(20) {
            sum = block.iter().fold(sum, |sum, byte| std::hint::black_box(sum.wrapping_add(u64::from(*byte))));
        }
        assert!(own.usage().unwrap().resident_bytes > before.resident_bytes + (60 << 20));
        let (scheduled, ticks) = (own.scheduled().unwrap(), own.ticks().unwrap());
        assert!(scheduled.abs_diff(ticks) < Duration::from_secs(2), "{scheduled:?} {ticks:?}");
    }

    #[test]
    fn a_process_that_is_not_there() {
        // Beyond the kernel's largest process id.
        assert_eq!(ServerProcess::new(1 << 23), None);
    }
}
