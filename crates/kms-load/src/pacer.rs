//! Waiting for a due time more exactly than a runtime's timer, which has a millisecond's grain.

use crate::clock::{Clock, Moment};
use crate::schedule::Schedule;
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use tokio::io::unix::AsyncFd;
use tokio::sync::Mutex;

/// Closer than this, waiting is not worth a system call and a wake-up: the thread looks again and again.
const SPIN_BELOW_NS: u64 = 60_000;

/// One thread's turnstile: connections that are free stand in line, the first one waits for the next due time.
pub(crate) struct Pacer {
    clock: Clock,
    line: Mutex<Turn>,
}

struct Turn {
    schedule: Schedule,
    timer: AsyncFd<OwnedFd>,
}

impl Pacer {
    /// Must be called inside a runtime.
    #[expect(
        deprecated,
        reason = "`register` is unsafe; an `OwnedFd` is one open descriptor as long as it lives, as that asks"
    )]
    pub(crate) fn new(clock: Clock, schedule: Schedule) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self { clock, line: Mutex::new(Turn { schedule, timer: AsyncFd::new(timer)? }) })
    }

    /// Waits for this connection's turn and for the next due time; gives it, or none when the window is over. When the
    /// schedule is behind, it does not wait.
    pub(crate) async fn next_due(&self) -> io::Result<Option<Moment>> {
        let mut turn = self.line.lock().await;
        let Some(due) = turn.schedule.take() else { return Ok(None) };
        loop {
            let left = due.since(self.clock.now());
            if left == 0 {
                return Ok(Some(due));
            }
            if left < SPIN_BELOW_NS {
                tokio::task::yield_now().await;
            } else {
                turn.sleep(left - SPIN_BELOW_NS / 2).await?;
            }
        }
    }

    /// What is left of the schedule.
    pub(crate) fn into_schedule(self) -> Schedule {
        self.line.into_inner().schedule
    }
}

impl Turn {
    async fn sleep(&self, nanoseconds: u64) -> io::Result<()> {
        let (seconds, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
        let value =
            Timespec { tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX), tv_nsec: i64::try_from(rest).unwrap_or(0) };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = self.timer.readable().await?;
            let fired = ready.try_io(|timer| {
                let mut count = [0_u8; 8];
                rustix::io::read(timer.get_ref(), &mut count).map_err(io::Error::from)
            });
            match fired {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                // Not yet: a readiness from before the timer was set.
                Err(_would_block) => {}
            }
        }
    }
}
