//! The clock that key lifecycles run on: it never moves backward, and a sudden jump ahead does not move it at once.
//!
//! Deleting a key is the one thing that cannot be undone, so time is trusted only as far as two clocks agree: the wall clock
//! and the time elapsed since boot. While they agree to within an hour a day, the wall clock is the time. A wall clock that
//! jumps ahead by more is *held*: time goes on at the pace of the elapsed clock, until the new wall time has kept that pace
//! for a day or an operator confirms it. A wall clock that jumps back makes time stand still until it is past again.

use arc_swap::ArcSwap;
use kms_types::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// How far the wall clock may run ahead of the elapsed time, per [`PROOF`], before it is held.
const TOLERANCE: Duration = Duration::from_secs(3_600);

/// How long a wall clock that jumped ahead has to keep pace with the elapsed time before it is believed.
const PROOF: Duration = Duration::from_secs(86_400);

/// The two clocks of the machine.
pub trait TimeSource: Send + Sync {
    /// The wall clock, which an administrator, NTP or a fault may set to anything.
    fn wall(&self) -> Timestamp;
    /// Time since some fixed point, which nobody can set. It counts while the machine sleeps.
    fn elapsed(&self) -> Duration;
}

/// The operating system's clocks: the real-time clock and the boot-time clock.
#[derive(Debug, Default)]
pub struct SystemTimeSource;

impl TimeSource for SystemTimeSource {
    #[expect(clippy::disallowed_methods, reason = "this is the clock seam")]
    fn wall(&self) -> Timestamp {
        // Before 1970 or after 2262 there is no usable clock: the epoch makes time stand still, which delays and never hastens.
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::EPOCH.plus(since_epoch)
    }

    fn elapsed(&self) -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
        Duration::new(seconds, nanos)
    }
}

/// A moment at which the wall clock was believed, and since when a different one is waiting to be.
#[derive(Clone, Copy)]
struct Anchor {
    wall: Timestamp,
    elapsed: Duration,
    jump: Option<Jump>,
}

/// A wall clock that is ahead of what the elapsed time allows.
#[derive(Clone, Copy)]
struct Jump {
    wall: Timestamp,
    elapsed: Duration,
}

/// The time that all lifecycle decisions of a zone are made at. Reading it takes no lock.
pub struct ServiceClock {
    source: Box<dyn TimeSource>,
    anchor: ArcSwap<Anchor>,
    /// Nanoseconds by which a lab has moved time forward.
    offset: AtomicI64,
    /// The latest time given, in nanoseconds since 1970.
    latest: AtomicI64,
}

impl ServiceClock {
    /// The clock of this machine.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Box::new(SystemTimeSource))
    }

    /// A clock over `source`, whose wall clock is believed at this moment.
    #[must_use]
    pub fn new(source: Box<dyn TimeSource>) -> Self {
        let anchor = Anchor { wall: source.wall(), elapsed: source.elapsed(), jump: None };
        Self {
            source,
            anchor: ArcSwap::from_pointee(anchor),
            offset: AtomicI64::new(0),
            latest: AtomicI64::new(i64::MIN),
        }
    }

    /// The time for lifecycle decisions. It never goes back.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let trusted = self.trusted(&self.anchor.load());
        let shifted = trusted.as_nanos().saturating_add(self.offset.load(Ordering::Acquire));
        Timestamp::from_nanos(self.latest.fetch_max(shifted, Ordering::AcqRel).max(shifted))
    }

    /// Time since some fixed point, which nobody can set: for deadlines.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.source.elapsed()
    }

    /// The wall clock as it is: for what is agreed with the outside world, such as the expiry of a signature.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        self.source.wall()
    }

    /// Sees to it that [`ServiceClock::now`] is never before `floor`, the latest time found in the store.
    pub fn not_before(&self, floor: Timestamp) {
        self.latest.fetch_max(floor.as_nanos(), Ordering::AcqRel);
    }

    /// Moves lifecycle time forward, as the lab of `zonekms dev` does.
    pub fn advance(&self, by: Duration) {
        let nanos = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        self.offset.fetch_add(nanos, Ordering::AcqRel);
    }

    /// How far [`ServiceClock::advance`] has moved time in all.
    #[must_use]
    pub fn offset(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.offset.load(Ordering::Acquire)).unwrap_or_default())
    }

    /// Whether the wall clock has jumped ahead and is not believed yet; how far ahead it is.
    #[must_use]
    pub fn held(&self) -> Option<Duration> {
        let anchor = self.anchor.load();
        let ahead = self.source.wall().since(self.expected(&anchor));
        (ahead > TOLERANCE).then_some(ahead)
    }

    /// Believes the wall clock from now on: an operator has looked at it.
    pub fn confirm_jump(&self) {
        self.believe_wall();
    }

    /// Compares the two clocks. To be called at least every few minutes.
    pub(crate) fn tick(&self) {
        let seen = self.anchor.load();
        let anchor = **seen;
        // What was seen may be out of date by now, if an operator has confirmed the clock: then that stands.
        let replace = |anchor: Anchor| drop(self.anchor.compare_and_swap(&seen, Arc::new(anchor)));
        let (wall, elapsed) = (self.source.wall(), self.source.elapsed());
        let ahead = wall.since(self.expected(&anchor));
        match anchor.jump {
            None if ahead > TOLERANCE => {
                tracing::error!(
                    ahead_seconds = ahead.as_secs(),
                    "the wall clock jumped ahead; automatic rotations and deletions go on at the old pace until it has proved itself for a day or is confirmed"
                );
                replace(Anchor { jump: Some(Jump { wall, elapsed }), ..anchor });
            }
            None if elapsed.saturating_sub(anchor.elapsed) > PROOF => self.believe_wall(),
            None => {}
            Some(_) if ahead <= TOLERANCE => {
                tracing::warn!("the wall clock is back in step");
                replace(Anchor { jump: None, ..anchor });
            }
            Some(jump) => {
                let kept = elapsed.saturating_sub(jump.elapsed);
                let expected = jump.wall.plus(kept);
                let in_step = wall.since(expected).max(expected.since(wall)) <= TOLERANCE;
                if !in_step {
                    replace(Anchor { jump: Some(Jump { wall, elapsed }), ..anchor });
                } else if kept >= PROOF {
                    tracing::warn!("the wall clock has kept pace for a day and is believed again");
                    self.believe_wall();
                }
            }
        }
    }

    fn believe_wall(&self) {
        let anchor = Anchor { wall: self.source.wall(), elapsed: self.source.elapsed(), jump: None };
        self.anchor.store(Arc::new(anchor));
    }

    /// The wall clock if the elapsed time bears it out, else the pace of the elapsed time.
    fn trusted(&self, anchor: &Anchor) -> Timestamp {
        let wall = self.source.wall();
        let expected = self.expected(anchor);
        if anchor.jump.is_some() || wall.since(expected) > TOLERANCE { wall.min(expected) } else { wall }
    }

    fn expected(&self, anchor: &Anchor) -> Timestamp {
        anchor.wall.plus(self.source.elapsed().saturating_sub(anchor.elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    const HOUR: Duration = Duration::from_secs(3_600);
    const DAY: Duration = Duration::from_secs(86_400);
    const START: Timestamp = Timestamp::from_nanos(1_780_000_000_000_000_000);

    /// A machine whose clocks the test sets.
    #[derive(Clone)]
    struct Machine(Arc<Mutex<(Timestamp, Duration)>>);

    impl Machine {
        fn new() -> Self {
            Self(Arc::new(Mutex::new((START, Duration::ZERO))))
        }

        fn run(&self, time: Duration) {
            let mut clocks = self.0.lock().unwrap();
            *clocks = (clocks.0.plus(time), clocks.1 + time);
        }

        fn set_wall(&self, wall: Timestamp) {
            self.0.lock().unwrap().0 = wall;
        }

        fn clock(&self) -> ServiceClock {
            ServiceClock::new(Box::new(self.clone()))
        }
    }

    impl TimeSource for Machine {
        fn wall(&self) -> Timestamp {
            self.0.lock().unwrap().0
        }

        fn elapsed(&self) -> Duration {
            self.0.lock().unwrap().1
        }
    }

    fn run_ticking(machine: &Machine, clock: &ServiceClock, time: Duration) {
        let step = Duration::from_secs(60);
        for _ in 0..time.as_secs() / step.as_secs() {
            machine.run(step);
            clock.tick();
        }
    }

    #[test]
    fn it_follows_a_good_wall_clock() {
        let machine = Machine::new();
        let clock = machine.clock();
        run_ticking(&machine, &clock, 3 * DAY);
        machine.set_wall(START.plus(3 * DAY + HOUR / 2));
        assert_eq!(clock.now(), START.plus(3 * DAY + HOUR / 2));
    }

    #[test]
    fn a_jump_back_makes_time_stand_still() {
        let machine = Machine::new();
        let clock = machine.clock();
        machine.run(DAY / 2);
        let before = clock.now();
        machine.set_wall(START);
        assert_eq!(clock.now(), before);
        machine.run(DAY / 2);
        assert_eq!(clock.now(), before);
        machine.run(HOUR);
        assert_eq!(clock.now(), before.plus(HOUR));
    }

    #[test]
    fn a_jump_ahead_is_held_for_a_day() {
        let machine = Machine::new();
        let clock = machine.clock();
        machine.set_wall(START.plus(31 * DAY));
        assert_eq!(clock.now(), START, "at once, before any tick");
        run_ticking(&machine, &clock, DAY - HOUR);
        assert_eq!(clock.now(), START.plus(DAY - HOUR));
        assert!(clock.held().is_some());
        run_ticking(&machine, &clock, HOUR + Duration::from_secs(120));
        assert_eq!(clock.now(), START.plus(32 * DAY + Duration::from_secs(120)));
        assert!(clock.held().is_none());
    }

    #[test]
    fn a_second_jump_starts_the_proof_again() {
        let machine = Machine::new();
        let clock = machine.clock();
        machine.set_wall(START.plus(31 * DAY));
        run_ticking(&machine, &clock, DAY - HOUR);
        machine.set_wall(START.plus(90 * DAY));
        run_ticking(&machine, &clock, 2 * HOUR);
        assert_eq!(clock.now(), START.plus(DAY + HOUR));
    }

    #[test]
    fn steps_of_just_under_the_tolerance_gain_an_hour_a_day_at_most() {
        let machine = Machine::new();
        let clock = machine.clock();
        for _ in 0..48 {
            run_ticking(&machine, &clock, HOUR);
            let wall = machine.wall();
            machine.set_wall(wall.plus(HOUR - Duration::from_secs(1)));
            clock.tick();
        }
        assert!(clock.now() <= START.plus(2 * DAY + 3 * HOUR), "{}", clock.now());
    }

    #[test]
    fn an_operator_can_confirm_a_jump() {
        let machine = Machine::new();
        let clock = machine.clock();
        machine.set_wall(START.plus(31 * DAY));
        clock.tick();
        clock.confirm_jump();
        assert_eq!(clock.now(), START.plus(31 * DAY));
    }

    #[test]
    fn a_jump_taken_back_is_forgotten() {
        let machine = Machine::new();
        let clock = machine.clock();
        machine.set_wall(START.plus(31 * DAY));
        clock.tick();
        machine.set_wall(START);
        clock.tick();
        assert!(clock.held().is_none());
        assert_eq!(clock.now(), START);
    }

    #[test]
    fn a_lab_moves_time_and_the_store_sets_a_floor() {
        let machine = Machine::new();
        let clock = machine.clock();
        clock.advance(90 * DAY);
        assert_eq!(clock.now(), START.plus(90 * DAY));
        assert_eq!(clock.offset(), 90 * DAY);
        clock.not_before(START.plus(100 * DAY));
        assert_eq!(clock.now(), START.plus(100 * DAY));
        assert_eq!(clock.wall(), START);
    }
}
