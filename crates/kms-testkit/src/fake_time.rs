//! A machine whose clocks the test sets.

use kms_service::TimeSource;
use kms_types::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Both clocks of a machine, moved by hand. Clones show the same clocks.
#[derive(Clone, Debug)]
pub struct FakeTime(Arc<Mutex<Clocks>>);

#[derive(Clone, Copy, Debug)]
struct Clocks {
    wall: Timestamp,
    elapsed: Duration,
}

impl FakeTime {
    /// Clocks that stand at `wall`, right after the machine was started.
    #[must_use]
    pub fn at(wall: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Clocks { wall, elapsed: Duration::ZERO })))
    }

    /// Lets both clocks run on by `time`.
    pub fn run(&self, time: Duration) {
        self.change(|clocks| {
            clocks.wall = clocks.wall.plus(time);
            clocks.elapsed += time;
        });
    }

    /// Sets the wall clock only, as an administrator or a fault would.
    pub fn set_wall(&self, wall: Timestamp) {
        self.change(|clocks| clocks.wall = wall);
    }

    fn change(&self, change: impl FnOnce(&mut Clocks)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn read(&self) -> Clocks {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TimeSource for FakeTime {
    fn wall(&self) -> Timestamp {
        self.read().wall
    }

    fn elapsed(&self) -> Duration {
        self.read().elapsed
    }
}
