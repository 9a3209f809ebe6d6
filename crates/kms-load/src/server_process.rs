//! What a server on this machine uses: processor time and memory, from `/proc`.

use serde::Serialize;
use std::collections::BTreeMap;
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of each thread that is there, in nanoseconds, by its id.
    threads: BTreeMap<u32, u64>,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
}

impl Usage {
    /// Processor time since `earlier`. What a thread that has ended in between used after `earlier` is not in it.
    #[must_use]
    pub fn cpu_since(&self, earlier: &Self) -> Duration {
        let used = |(thread, now): (&u32, &u64)| now.saturating_sub(earlier.threads.get(thread).copied().unwrap_or(0));
        Duration::from_nanos(self.threads.iter().map(used).sum())
    }
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
        Some(Usage { threads: self.threads()?, resident_bytes: kibibytes * 1_024 })
    }

    /// To the nanosecond, from the scheduler's figures. None if this kernel keeps none.
    fn threads(self) -> Option<BTreeMap<u32, u64>> {
        let time = |task: std::io::Result<fs::DirEntry>| {
            let task = task.ok()?;
            // A thread may end while the list is read.
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            Some((task.file_name().to_str()?.parse().ok()?, text.split_ascii_whitespace().next()?.parse().ok()?))
        };
        let threads: BTreeMap<u32, u64> = fs::read_dir(self.place("task")).ok()?.filter_map(time).collect();
        (!threads.is_empty()).then_some(threads)
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
        while own.usage().unwrap().cpu_since(&before) < Duration::from_millis(20) {
            sum = block.iter().fold(sum, |sum, byte| std::hint::black_box(sum.wrapping_add(u64::from(*byte))));
        }
        assert!(own.usage().unwrap().resident_bytes > before.resident_bytes + (60 << 20));
        assert_eq!(before.cpu_since(&before), Duration::ZERO);
    }

    #[test]
    fn threads_come_and_go() {
        let usage = |threads: &[(u32, u64)]| Usage { threads: threads.iter().copied().collect(), resident_bytes: 0 };
        let (before, after) = (usage(&[(1, 100), (2, 5_000)]), usage(&[(1, 150), (3, 7)]));
        assert_eq!(after.cpu_since(&before), Duration::from_nanos(57));
    }

    #[test]
    fn a_process_that_is_not_there() {
        // Beyond the kernel's largest process id.
        assert_eq!(ServerProcess::new(1 << 23), None);
    }
}
