//! Random lives of a key, told twice: by the crate and by a small model of plain numbers.

use crate::keys::{day, delay, new_key, on_replica, period, zone};
use kms_lifecycle::{
    Command, Decision, DecryptRefusal, DueWork, Key, Kind, Made, Place, Reach, Schedule, Status, decide, decide_due,
    next_due, permit_decrypt, permit_encrypt, permit_reencrypt_destination, permit_reencrypt_source,
};
use kms_types::{MaterialVersion, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeMap;

const DAY: i64 = 86_400_000_000_000;
const LIVES: u32 = 2_000;

/// What may happen next.
#[derive(Clone, Debug)]
enum Step {
    Ask(Command),
    /// The scheduler comes by.
    Work,
    Forward(i64),
    /// The clock is set back.
    Back(i64),
    /// Time passes until the next due date, and that much more, or less.
    AroundDue(i64),
}

/// How often each outcome was met.
type Seen = BTreeMap<&'static str, u32>;

#[test]
fn random_lives_agree_with_the_model() {
    let seen = RefCell::new(Seen::new());
    let mut runner = TestRunner::new(Config { cases: LIVES, source_file: Some(file!()), ..Config::default() });
    let lives =
        (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.3), prop::collection::vec(step(), 1..120));
    let result = runner.run(&lives, |(multi, default, replica, steps)| live(multi, default, replica, &steps, &seen));
    result.unwrap_or_else(|failure| panic!("{failure}"));
    let seen = seen.into_inner();
    println!("{LIVES} lives: {seen:#?}");
    for outcome in [
        "changed",
        "same",
        "rotated",
        "deleted",
        "Key Not Found",
        "Not on Replica",
        "Not on Default",
        "Key is Pending Deletion",
        "Key is Disabled",
        "Not Pending Deletion",
        "Conflict",
        "Manual Rotation Limit",
        "Not Multizone",
        "Invalid Argument",
    ] {
        assert!(seen.contains_key(outcome), "no life met: {outcome}");
    }
}

fn step() -> impl Strategy<Value = Step> {
    let command = prop_oneof![
        4 => Just(Command::Enable),
        2 => Just(Command::Disable),
        8 => Just(Command::Rotate),
        3 => prop_oneof![Just(90), Just(365), 90_u32..=2560]
            .prop_map(|days| Command::EnableRotation { period: period(days) }),
        2 => Just(Command::DisableRotation),
        1 => (7_u32..=30).prop_map(|days| Command::ScheduleDeletion { delay: delay(days) }),
        2 => Just(Command::CancelDeletion),
        2 => prop_oneof![Just("ch-gva-2"), Just("de-fra-1"), Just("ch-dk-2")]
            .prop_map(|name| Command::Replicate { target: zone(name) }),
    ];
    prop_oneof![
        10 => command.prop_map(Step::Ask),
        2 => Just(Step::Work),
        1 => prop_oneof![Just(0), Just(1), 0..40 * DAY, 0..1_000 * DAY].prop_map(Step::Forward),
        1 => prop_oneof![Just(1), 0..3 * DAY].prop_map(Step::Back),
        1 => prop_oneof![Just(-1), Just(0), Just(1)].prop_map(Step::AroundDue),
    ]
}

fn live(multi: bool, default: bool, replica: bool, steps: &[Step], seen: &RefCell<Seen>) -> Result<(), TestCaseError> {
    let saw = |outcome| *seen.borrow_mut().entry(outcome).or_default() += 1;
    let replica = multi && replica;
    let origin = new_key(
        if multi { Reach::MultiZone } else { Reach::SingleZone },
        if default { Kind::Default } else { Kind::Ordinary },
    );
    let mut key = if replica { on_replica(&origin) } else { origin };
    let mut model = Model::new(multi, default, replica);
    let mut now = model.born;
    for step in steps {
        let before = key.clone();
        match step {
            Step::Forward(nanos) => now += nanos,
            Step::Back(nanos) => now -= nanos,
            Step::AroundDue(offset) => now = model.due().map_or(now, |due| now.max(due + offset)),
            Step::Ask(command) => {
                let expected = model.ask(command, now);
                saw(expected);
                match decide(&key, command, Timestamp::from_nanos(now)) {
                    Ok(Decision::Change(change)) => {
                        prop_assert_eq!("changed", expected);
                        key = key.apply(&change).unwrap();
                        prop_assert_eq!(change.new_version().is_some(), key.versions().len() > before.versions().len());
                    }
                    Ok(Decision::AlreadyApplied) => prop_assert_eq!("same", expected),
                    Err(rejection) => prop_assert_eq!(rejection.title(), expected),
                }
            }
            Step::Work => match (decide_due(&key, Timestamp::from_nanos(now)), model.work(now)) {
                (None, "nothing") => {}
                (Some(DueWork::Rotate(change)), "rotated") => {
                    saw("rotated");
                    prop_assert_eq!(change.new_version(), key.current_version().version.next());
                    key = key.apply(&change).unwrap();
                    prop_assert_eq!(decide_due(&key, Timestamp::from_nanos(now)), None, "rotated twice");
                }
                (Some(DueWork::Delete(deletion)), "deleted") => {
                    saw("deleted");
                    let tombstone = deletion.into_tombstone();
                    prop_assert_eq!(Some(tombstone.deleted_at.as_nanos()), model.doom);
                    prop_assert_eq!(tombstone.revision.seq.get(), model.seq + 1);
                    return Ok(());
                }
                (work, expected) => return Err(TestCaseError::fail(format!("{work:?}, expected {expected}"))),
            },
        }
        agree(&key, &model, now)?;
        never_back(&before, &key)?;
        due_on_time(&key)?;
        prop_assert_eq!(Key::restore(key.to_parts()), Ok(key.clone()));
    }
    Ok(())
}

fn agree(key: &Key, model: &Model, now: i64) -> Result<(), TestCaseError> {
    let status = match *key.status() {
        Status::Enabled { since } => (true, None, since),
        Status::Disabled { since } => (false, None, since),
        Status::PendingDeletion { since, delete_at } => (false, Some(delete_at.as_nanos()), since),
    };
    prop_assert_eq!(status, (model.usable, model.doom, Timestamp::from_nanos(model.since)));
    let rotation = key.rotation();
    prop_assert_eq!(rotation.schedule() == Schedule::On, model.automatic);
    prop_assert_eq!(i64::from(rotation.period().days()) * DAY, model.every);
    prop_assert_eq!(rotation.next_at().as_nanos(), model.next);
    prop_assert_eq!(u32::from(rotation.manual_count().get()), model.by_hand);
    let revision = key.revision();
    prop_assert_eq!((revision.seq.get(), revision.at.as_nanos()), (model.seq, model.last));
    prop_assert_eq!(next_due(key).map(Timestamp::as_nanos), model.due());
    let zones = match key.place() {
        Place::Origin { replicas } => replicas.iter().map(|name| name.as_str().to_owned()).collect(),
        Place::SingleZone | Place::Replica { .. } => Vec::new(),
    };
    let mut expected = model.zones.clone();
    expected.sort();
    prop_assert_eq!(zones, expected);

    let history: String = key
        .versions()
        .iter()
        .map(|info| match info.made {
            Made::Created => 'c',
            Made::Manually => 'm',
            Made::Automatically => 'a',
        })
        .collect();
    prop_assert_eq!(&history, &model.history);
    for (index, info) in (1..).zip(key.versions()) {
        prop_assert_eq!(info.version.get(), index, "versions have a gap");
    }

    let time = Timestamp::from_nanos(now);
    let gone = model.gone(now);
    prop_assert_eq!(key.is_gone(time), gone);
    let may_use = model.usable && !gone;
    let newest = u32::try_from(model.history.len()).unwrap();
    prop_assert_eq!(permit_encrypt(key, time).ok().map(|permit| permit.version().get()), may_use.then_some(newest));
    prop_assert_eq!(permit_reencrypt_destination(key, time).is_ok(), may_use && !model.default);
    for number in 1..=newest + 1 {
        let version = MaterialVersion::new(number).unwrap();
        let decrypt = permit_decrypt(key, version, time);
        prop_assert_eq!(decrypt.is_ok(), may_use && number <= newest);
        prop_assert_eq!(
            matches!(decrypt, Err(DecryptRefusal::UnknownVersion)),
            may_use && number > newest,
            "version {}",
            number
        );
        let source = permit_reencrypt_source(key, version, time);
        prop_assert_eq!(source.is_ok(), may_use && number <= newest && !model.default);
    }
    if gone {
        for later in [0, 1, DAY, 10_000 * DAY] {
            let cancel = decide(key, &Command::CancelDeletion, Timestamp::from_nanos(now + later));
            prop_assert_eq!(cancel.unwrap_err().title(), "Key Not Found", "came back");
        }
    }
    Ok(())
}

fn never_back(before: &Key, after: &Key) -> Result<(), TestCaseError> {
    prop_assert_eq!(before.created_at(), after.created_at());
    prop_assert_eq!(after == before, after.revision().seq == before.revision().seq);
    prop_assert!(after.revision().seq >= before.revision().seq);
    prop_assert!(after.revision().at >= before.revision().at);
    prop_assert!(after.status().since() >= before.status().since());
    prop_assert!(after.versions().starts_with(before.versions()));
    prop_assert!(after.current_version().created_at >= before.current_version().created_at);
    Ok(())
}

fn due_on_time(key: &Key) -> Result<(), TestCaseError> {
    match next_due(key) {
        Some(due) => {
            let early = Timestamp::from_nanos(due.as_nanos() - 1);
            prop_assert!(decide_due(key, early).is_none(), "work is done early");
            prop_assert!(decide_due(key, due).is_some(), "work is done late");
        }
        None => prop_assert!(decide_due(key, day(50_000)).is_none(), "work that was not announced"),
    }
    Ok(())
}

/// A key as plain numbers, in nanoseconds.
struct Model {
    born: i64,
    multi: bool,
    default: bool,
    replica: bool,
    usable: bool,
    doom: Option<i64>,
    since: i64,
    automatic: bool,
    every: i64,
    next: i64,
    by_hand: u32,
    history: String,
    zones: Vec<String>,
    seq: u64,
    last: i64,
}

impl Model {
    fn new(multi: bool, default: bool, replica: bool) -> Self {
        let born = day(0).as_nanos();
        Self {
            born,
            multi,
            default,
            replica,
            usable: true,
            doom: None,
            since: born,
            automatic: true,
            every: 365 * DAY,
            next: born + 365 * DAY,
            by_hand: 0,
            history: "c".into(),
            zones: Vec::new(),
            seq: 1,
            last: born,
        }
    }

    fn gone(&self, now: i64) -> bool {
        self.doom.is_some_and(|doom| now >= doom)
    }

    fn due(&self) -> Option<i64> {
        if self.replica {
            None
        } else if self.doom.is_some() {
            self.doom
        } else {
            (self.usable && self.automatic).then_some(self.next)
        }
    }

    fn work(&mut self, now: i64) -> &'static str {
        if self.due().is_none_or(|due| now < due) {
            return "nothing";
        }
        if self.doom.is_some() {
            return "deleted";
        }
        self.stamp(now);
        while self.next <= self.last {
            self.next += self.every;
        }
        self.history.push('a');
        "rotated"
    }

    /// Does what is asked; the title of the refusal, `same` or `changed`.
    fn ask(&mut self, command: &Command, now: i64) -> &'static str {
        use Command::{
            CancelDeletion, Disable, DisableRotation, Enable, EnableRotation, Replicate, Rotate, ScheduleDeletion,
        };
        let target = if let Replicate { target } = command { target.as_str() } else { "" };
        let refusals = [
            (self.gone(now), "Key Not Found"),
            (self.replica && !matches!(command, Enable | Disable), "Not on Replica"),
            (self.default && !matches!(command, Enable | Rotate | CancelDeletion), "Not on Default"),
            (
                self.doom.is_some() && !matches!(command, ScheduleDeletion { .. } | CancelDeletion),
                "Key is Pending Deletion",
            ),
            (!self.usable && matches!(command, Rotate | EnableRotation { .. } | DisableRotation), "Key is Disabled"),
            (self.doom.is_none() && *command == CancelDeletion, "Not Pending Deletion"),
            (self.by_hand == 10 && *command == Rotate, "Manual Rotation Limit"),
            (self.automatic && matches!(command, EnableRotation { .. }), "Conflict"),
            (!self.automatic && *command == DisableRotation, "Conflict"),
            (!self.multi && !target.is_empty(), "Not Multizone"),
            (target == "ch-gva-2", "Invalid Argument"),
            (self.zones.iter().any(|zone| zone == target), "Conflict"),
        ];
        if let Some((_, title)) = refusals.iter().find(|(applies, _)| *applies) {
            return title;
        }
        if (*command == Enable && self.usable) || (*command == Disable && !self.usable) {
            return "same";
        }
        self.stamp(now);
        match command {
            Enable => (self.usable, self.since) = (true, self.last),
            Disable => (self.usable, self.since) = (false, self.last),
            CancelDeletion => (self.doom, self.since) = (None, self.last),
            Rotate => {
                self.by_hand += 1;
                self.history.push('m');
            }
            EnableRotation { period } => {
                self.automatic = true;
                self.every = i64::from(period.days()) * DAY;
                self.next = self.last + self.every;
            }
            DisableRotation => self.automatic = false,
            ScheduleDeletion { delay } => {
                if self.doom.is_none() {
                    self.since = self.last;
                }
                self.usable = false;
                self.doom = Some(self.last + i64::from(delay.days()) * DAY);
            }
            Replicate { .. } => self.zones.push(target.to_owned()),
        }
        "changed"
    }

    fn stamp(&mut self, now: i64) {
        self.seq += 1;
        self.last = self.last.max(now);
    }
}
