//! A whole run: set-up, ceilings, every combination visited in random order as often as asked, clean-up.

use crate::ceiling::ceiling;
use crate::machine::Machine;
use crate::operation::Operation;
use crate::pauses::{self, Pauses};
use crate::plan::{CeilingChoice, KeysAfterwards, PaceChoice, Point, Settings, Sweep, Target};
use crate::report::{Extent, PointResult, Report, TargetFacts};
use crate::schedule::Pace;
use crate::server_process::ServerProcess;
use crate::session::{LoadKind, Session, SessionError};
use crate::stop::Stop;
use crate::visit::{Stretch, Visit, VisitSettings};
use fastrand::Rng;
use std::time::Duration;

/// The machine's pauses are watched for this long at most, and no longer than one visit takes.
const WATCH: Duration = Duration::from_secs(1);

/// What a run tells while it goes on.
#[derive(Debug)]
pub enum Event<'a> {
    /// Set-up or clean-up: `done` of `total`.
    Step {
        /// The target's label.
        target: &'a str,
        /// What is being done.
        what: &'a str,
        /// How many are done.
        done: usize,
        /// Of how many.
        total: usize,
    },
    /// A ceiling was measured.
    Ceiling {
        /// What it is the ceiling of.
        of: &'a str,
        /// Requests per second; none if it cannot be measured for this kind of connection.
        per_second: Option<f64>,
    },
    /// A visit begins.
    Begin {
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        total: usize,
        /// What is measured.
        what: &'a str,
    },
    /// A second of a visit.
    Second(&'a Stretch),
    /// A visit is over.
    End(&'a Visit),
}

/// Makes all visits. Blocks until everything is done and cleaned up. `command` is for the report and must hold no secret;
/// keys that are made have names that begin with `name_prefix`. `stop` ends it early, in order.
///
/// # Errors
/// When a target refuses set-up or clean-up, or the machine does not give what measuring needs. Keys that were made until
/// then are taken out of use, if that works.
pub fn run(
    targets: Vec<Target>,
    sweep: &Sweep,
    settings: &Settings,
    command: String,
    name_prefix: &str,
    stop: &Stop,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Report, SessionError> {
    let machine = Machine::this();
    let servers = targets.iter().filter_map(|target| target.server.map(ServerProcess::pid));
    let pauses = Pauses::watch(&pauses::watched(&settings.cpus, servers), settings.duration.min(WATCH))?;
    let facts: Vec<TargetFacts> = targets.iter().map(TargetFacts::of).collect();
    let points = sweep.points(targets.len());
    let mut sessions: Vec<(Session, Option<ServerProcess>)> = targets
        .into_iter()
        .map(|target| {
            let Target { label, protocol, wire, keys, server } = target;
            (Session::new(label, protocol, wire, keys, name_prefix.to_owned()), server)
        })
        .collect();
    let measured = measure(&mut sessions, &points, settings, stop, on_event);
    let cleaned = match settings.keys_afterwards {
        KeysAfterwards::Kept => Ok(()),
        KeysAfterwards::Removed => clean_up(&mut sessions, on_event),
    };
    let results = measured?;
    cleaned?;
    let extent = if stop.is_wished() { Extent::Interrupted } else { Extent::Whole };
    Ok(Report {
        extent,
        version: env!("CARGO_PKG_VERSION"),
        machine,
        pauses,
        command,
        targets: facts,
        settings: settings.clone(),
        results,
    })
}

fn clean_up(
    sessions: &mut [(Session, Option<ServerProcess>)],
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<(), SessionError> {
    let mut first = Ok(());
    for (session, _) in sessions {
        let target = session.label().to_owned();
        let result = session.clean_up(&mut |what, done, total| {
            on_event(Event::Step { target: &target, what, done, total });
        });
        if first.is_ok() {
            first = result.map(drop);
        }
    }
    first
}

fn measure(
    sessions: &mut [(Session, Option<ServerProcess>)],
    points: &[Point],
    settings: &Settings,
    stop: &Stop,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Vec<PointResult>, SessionError> {
    let mut results = Vec::with_capacity(points.len());
    for point in points {
        if stop.is_wished() {
            return Ok(Vec::new());
        }
        let (session, server) = &mut sessions[point.target];
        let kind = kind(point, points, settings);
        let target = session.label().to_owned();
        session
            .prepare(&kind, &mut |what, done, total| on_event(Event::Step { target: &target, what, done, total }))?;
        let what = point.describe(&target);
        let visit = |pace| visit_settings(point, settings, pace, *server, stop);
        let ceiling = match settings.ceiling {
            CeilingChoice::Skipped => None,
            // Keys cannot be made without the server.
            CeilingChoice::Measured if point.mix.has(Operation::CreateKey) => None,
            CeilingChoice::Measured => {
                let requests = session.requests(&LoadKind { keys: 1, ..kind.clone() });
                let per_second = ceiling(&requests, session.answer_size(&requests)?, &visit(Pace::Closed))?;
                on_event(Event::Ceiling { of: &what, per_second });
                per_second
            }
        };
        let (pace, peak) = match point.pace {
            PaceChoice::Fixed(pace) => (pace, None),
            PaceChoice::ShareOfPeak(share) => {
                let peak = peak(session, &kind, &visit(Pace::Closed), &what, on_event)?;
                (Pace::Open { per_second: (peak * share).max(1.0) }, Some(peak))
            }
        };
        results.push(PointResult::new(point, target, pace, peak, ceiling));
    }
    let mut random = Rng::with_seed(settings.seed);
    let mut number = 0;
    for _ in 0..settings.repeats {
        let mut order: Vec<usize> = (0..points.len()).collect();
        random.shuffle(&mut order);
        for at in order {
            number += 1;
            let (point, result) = (&points[at], &mut results[at]);
            let (session, server) = &mut sessions[point.target];
            let what = point.describe(session.label());
            on_event(Event::Begin { number, total: points.len() * settings.repeats, what: &what });
            let mut kind = kind(point, points, settings);
            kind.seed = random.u64(..);
            let visit_settings = visit_settings(point, settings, result.pace(), *server, stop);
            let visit = session.visit(&kind, &visit_settings, &mut |second| on_event(Event::Second(second)))?;
            if stop.is_wished() {
                results.retain(|result| !result.visits.is_empty());
                return Ok(results);
            }
            on_event(Event::End(&visit));
            result.add(visit);
        }
    }
    Ok(results)
}

/// The median of three short closed loops.
fn peak(
    session: &mut Session,
    kind: &LoadKind,
    settings: &VisitSettings,
    what: &str,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<f64, SessionError> {
    let settings = VisitSettings { duration: settings.duration.min(Duration::from_secs(3)), ..settings.clone() };
    let mut rates = Vec::new();
    for number in 1..=3 {
        on_event(Event::Begin { number, total: 3, what: &format!("{what}: the peak first") });
        let visit = session.visit(kind, &settings, &mut |second| on_event(Event::Second(second)))?;
        on_event(Event::End(&visit));
        rates.push(visit.per_second);
    }
    Ok(crate::report::median(&rates))
}

/// The load at one of `all` points, which differ in nothing but what they say.
fn kind(point: &Point, all: &[Point], settings: &Settings) -> LoadKind {
    let requests = all.iter().map(|point| point.keys * point.mix.shares().len()).max().unwrap_or_default();
    LoadKind {
        requests,
        mix: point.mix.clone(),
        size: point.size,
        keys: point.keys,
        distribution: settings.distribution,
        seed: settings.seed,
    }
}

fn visit_settings(
    point: &Point,
    settings: &Settings,
    pace: Pace,
    server: Option<ServerProcess>,
    stop: &Stop,
) -> VisitSettings {
    VisitSettings {
        connections: point.connections,
        streams: settings.streams,
        threads: settings.threads,
        cpus: settings.cpus.clone(),
        pace,
        warm_up: settings.warm_up,
        duration: settings.duration,
        grace: settings.grace,
        server,
        stop: stop.clone(),
    }
}

impl Point {
    /// One line for people.
    pub(crate) fn describe(&self, target: &str) -> String {
        let Self { mix, size, connections, keys, pace, .. } = self;
        format!("{target}: {mix}, {size} B, {}, {}, {pace}", count(*connections, "connection"), count(*keys, "key"))
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
