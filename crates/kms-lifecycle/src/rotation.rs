//! When a key's material is replaced.

use kms_types::{RotationPeriod, Timestamp};

/// Whether a key rotates by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// New material is made at [`Rotation::next_at`].
    On,
    /// New material is made on request only. Period and date are kept, and shown.
    Off,
}

/// How often a key was rotated by hand: 0 to 10, for its whole life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManualCount(u8);

/// A count of manual rotations above [`ManualCount::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be between 0 and {} manual rotations", ManualCount::MAX)]
pub struct ManualCountOutOfRange;

impl ManualCount {
    /// How often a key can be rotated by hand.
    pub const MAX: u8 = 10;
    /// Never rotated by hand.
    pub const ZERO: Self = Self(0);

    /// The number, 0 to 10.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// One more, or `None` at the limit.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        if self.0 < Self::MAX { Some(Self(self.0 + 1)) } else { None }
    }
}

impl TryFrom<u8> for ManualCount {
    type Error = ManualCountOutOfRange;

    fn try_from(count: u8) -> Result<Self, ManualCountOutOfRange> {
        if count <= Self::MAX { Ok(Self(count)) } else { Err(ManualCountOutOfRange) }
    }
}

/// When a key's material is replaced, and how often that was done by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    schedule: Schedule,
    period: RotationPeriod,
    next_at: Timestamp,
    manual_count: ManualCount,
}

impl Rotation {
    /// The rotation of those parts; every combination is meaningful.
    #[must_use]
    pub const fn new(
        schedule: Schedule,
        period: RotationPeriod,
        next_at: Timestamp,
        manual_count: ManualCount,
    ) -> Self {
        Self { schedule, period, next_at, manual_count }
    }

    /// The rotation of a key created at `now`: on, with the default period of 365 days.
    #[must_use]
    pub(crate) const fn of_new_key(now: Timestamp) -> Self {
        let period = RotationPeriod::DEFAULT;
        Self::new(Schedule::On, period, now.plus_days(period.days()), ManualCount::ZERO)
    }

    /// Whether the key rotates by itself.
    #[must_use]
    pub const fn schedule(&self) -> Schedule {
        self.schedule
    }

    /// Days between two automatic rotations.
    #[must_use]
    pub const fn period(&self) -> RotationPeriod {
        self.period
    }

    /// When the next automatic rotation is, or would be while the schedule is off.
    #[must_use]
    pub const fn next_at(&self) -> Timestamp {
        self.next_at
    }

    /// How often the key was rotated by hand.
    #[must_use]
    pub const fn manual_count(&self) -> ManualCount {
        self.manual_count
    }

    /// The same with the schedule on: the first rotation is one `period` after `now`.
    #[must_use]
    pub(crate) const fn switched_on(self, period: RotationPeriod, now: Timestamp) -> Self {
        Self { schedule: Schedule::On, period, next_at: now.plus_days(period.days()), ..self }
    }

    /// The same with the schedule off.
    #[must_use]
    pub(crate) const fn switched_off(self) -> Self {
        Self { schedule: Schedule::Off, ..self }
    }

    /// The same after a rotation by hand; `None` when the limit is reached.
    #[must_use]
    pub(crate) fn turned_by_hand(self) -> Option<Self> {
        self.manual_count.next().map(|manual_count| Self { manual_count, ..self })
    }

    /// The same after an automatic rotation done at `now`: the next is the first date of the old rhythm later than `now`,
    /// so that dates missed while the server was down give one rotation, not many.
    #[must_use]
    pub(crate) fn turned_automatically(self, now: Timestamp) -> Self {
        const NANOS_PER_DAY: i128 = 86_400_000_000_000;
        let period = i128::from(self.period.days()) * NANOS_PER_DAY;
        let next_at = i128::from(self.next_at.as_nanos());
        let late_by = i128::from(now.as_nanos()) - next_at;
        let next_at = next_at + (late_by / period + 1) * period;
        Self { next_at: i64::try_from(next_at).map_or(END_OF_TIME, Timestamp::from_nanos), ..self }
    }

    /// When the next automatic rotation falls due; `None` while the schedule is off. A date at the very end of the range
    /// (in the year 2262) stands for every date beyond it, so it never falls due.
    #[must_use]
    pub(crate) fn due_at(&self) -> Option<Timestamp> {
        match self.schedule {
            Schedule::On if self.next_at < END_OF_TIME => Some(self.next_at),
            Schedule::On | Schedule::Off => None,
        }
    }
}

const END_OF_TIME: Timestamp = Timestamp::from_nanos(i64::MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_rotations_by_hand_and_no_more() {
        let mut counts = vec![ManualCount::ZERO];
        while let Some(next) = counts.last().copied().and_then(ManualCount::next) {
            counts.push(next);
        }
        assert_eq!(counts.iter().map(|count| count.get()).collect::<Vec<_>>(), (0..=10).collect::<Vec<_>>());
        assert_eq!(ManualCount::try_from(10).map(ManualCount::get), Ok(10));
        assert_eq!(ManualCount::try_from(11), Err(ManualCountOutOfRange));
    }

    #[test]
    fn missed_dates_are_skipped_and_the_rhythm_is_kept() {
        let first = Timestamp::EPOCH.plus_days(365);
        let rotation = Rotation::of_new_key(Timestamp::EPOCH);
        let a_moment = std::time::Duration::from_nanos(1);
        for (now, next_day) in [
            (first, 730),
            (first.plus(a_moment), 730),
            (Timestamp::EPOCH.plus_days(729), 730),
            (Timestamp::EPOCH.plus_days(730), 1095),
            (Timestamp::EPOCH.plus_days(3_000), 3_285),
        ] {
            assert_eq!(rotation.turned_automatically(now).next_at(), Timestamp::EPOCH.plus_days(next_day), "at {now}");
        }
    }

    #[test]
    fn rotation_ends_with_the_range_of_time() {
        let last = Rotation::of_new_key(Timestamp::EPOCH).turned_automatically(Timestamp::from_nanos(i64::MAX - 1));
        assert_eq!(last.next_at(), END_OF_TIME);
        assert_eq!(last.due_at(), None);
        let before = Rotation { next_at: Timestamp::from_nanos(i64::MAX - 1), ..last };
        assert_eq!(before.due_at(), Some(before.next_at()));
    }
}
