//! One thread of load: a runtime of its own, and one task for each connection or stream.

use crate::clock::{Clock, Moment};
use crate::connection::{AnswerBuffer, Lane, Wire};
use crate::failure::{ExchangeFailure, FailureKind};
use crate::operation::Operation;
use crate::pacer::Pacer;
use crate::protocol::KeyHandle;
use crate::recorder::{Answered, Recorder, SecondSlice, Tally};
use crate::requests::{Pool, Ready, Requests, Slot};
use crate::schedule::{Pace, Schedule, Window};
use crate::stop::Stop;
use arc_swap::{ArcSwap, Cache};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// Of so many answers to one operation, one is looked at.
const CHECK_EVERY: usize = 64;

/// How long a connection rests after it broke, so that a server that is gone is not hammered.
const REST: Duration = Duration::from_millis(10);

/// How often a thread that sleeps looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What all threads of a visit share.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) window: Window,
    pub(crate) grace: Duration,
    pub(crate) pace: Pace,
    pub(crate) threads: usize,
    pub(crate) requests: Arc<Requests>,
    pub(crate) pool: ArcSwap<Pool>,
    /// Where the requests go: the server they are made for, or one that answers in its place.
    pub(crate) to: Arc<Wire>,
    pub(crate) check: Check,
    pub(crate) stop: Stop,
    /// Keys that the load itself has made.
    pub(crate) made: Mutex<Vec<KeyHandle>>,
}

/// Whether answers are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// On each connection the first one to each operation, and then one of 64 to it. Counted over all operations, a mix that
    /// comes round in a number that shares a factor with 64 would leave some of them out for ever.
    Some,
    /// Only the status: for servers whose answers mean nothing.
    StatusOnly,
}

/// What one thread was told to do.
pub(crate) struct Assignment {
    pub(crate) index: usize,
    pub(crate) connections: usize,
    pub(crate) streams: usize,
    pub(crate) cpu: Option<usize>,
    pub(crate) slices: Sender<SecondSlice>,
}

/// What one thread reports.
pub(crate) struct Report {
    pub(crate) tally: Tally,
    /// Processor time of the thread in the measured part.
    pub(crate) busy: Duration,
}

/// Runs on a thread of its own until the window is over.
pub(crate) fn run(shared: &Arc<Shared>, assignment: Assignment) -> io::Result<Report> {
    if let Some(cpu) = assignment.cpu {
        pin_to(&[cpu])?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(drive_all(shared, assignment))
}

/// Keeps the calling thread on these processors.
pub(crate) fn pin_to(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        if *cpu >= CpuSet::MAX_CPU {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no processor {cpu}")));
        }
        set.set(*cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

async fn drive_all(shared: &Arc<Shared>, assignment: Assignment) -> io::Result<Report> {
    let window = shared.window;
    let recorder = Arc::new(Mutex::new(Recorder::new(window, assignment.slices)));
    let pacer = match shared.pace {
        Pace::Closed => None,
        Pace::Open { per_second } => {
            let schedule = Schedule::new(&window, per_second, assignment.index, shared.threads);
            Some(Arc::new(Pacer::new(shared.clock, schedule)?))
        }
    };
    sleep_until(shared, window.start()).await;
    let mut tasks = JoinSet::new();
    for connection in 0..assignment.connections {
        for (stream, lane) in shared.to.lanes(assignment.streams).into_iter().enumerate() {
            // Connections begin at different places, so that they do not send the same requests at the same time.
            let place = (assignment.index * 31 + connection) * 7_919 + stream * 104_729;
            let driver = Driver {
                shared: Arc::clone(shared),
                recorder: Arc::clone(&recorder),
                pacer: pacer.clone(),
                lane,
                turn: place % shared.requests.len().max(1),
            };
            tasks.spawn(driver.drive());
        }
    }
    sleep_until(shared, window.measured_from()).await;
    let before = thread_time();
    sleep_until(shared, window.end()).await;
    let busy = thread_time().saturating_sub(before);
    let grace = tokio::time::sleep(if shared.stop.is_wished() { Duration::ZERO } else { shared.grace });
    tokio::pin!(grace);
    loop {
        tokio::select! {
            ended = tasks.join_next() => if ended.is_none() { break },
            () = &mut grace => break,
        }
    }
    let in_flight = tasks.len() as u64;
    tasks.shutdown().await;
    let schedule = pacer.and_then(Arc::into_inner).map(Pacer::into_schedule);
    let unsent = schedule.map_or(0, |schedule| schedule.untaken_since(window.measured_from()));
    let recorder = Arc::into_inner(recorder).expect("all tasks have ended");
    let mut recorder = recorder.into_inner().unwrap_or_else(PoisonError::into_inner);
    recorder.unanswered(in_flight + unsent);
    Ok(Report { tally: recorder.finish(), busy })
}

/// One connection's loop.
struct Driver {
    shared: Arc<Shared>,
    recorder: Arc<Mutex<Recorder>>,
    pacer: Option<Arc<Pacer>>,
    lane: Lane,
    turn: usize,
}

impl Driver {
    async fn drive(mut self) {
        let shared = Arc::clone(&self.shared);
        let clock = shared.clock;
        let mut buffer = AnswerBuffer::default();
        let mut pools = Cache::new(&shared.pool);
        let mut answers: BTreeMap<Operation, usize> = BTreeMap::new();
        loop {
            let from = match &self.pacer {
                None => Some(clock.now()).filter(|now| *now < shared.window.end() && !shared.stop.is_wished()),
                // A timer that fails ends this connection; what it leaves unsent is counted.
                Some(pacer) => pacer.next_due().await.unwrap_or(None),
            };
            let Some(from) = from else { return };
            let slot = pools.load().slot(self.turn);
            self.turn += 1;
            let fresh;
            let (request, name) = match slot {
                Slot::Ready(ready) => (ready, None),
                Slot::CreateKey => match shared.requests.create_key(clock.unix_seconds()) {
                    Some((ready, name)) => {
                        fresh = ready;
                        (&fresh, Some(name))
                    }
                    None => return,
                },
            };
            let good = answers.entry(request.operation).or_default();
            let exchanged = self.lane.exchange(&request.encoded, &mut buffer).await;
            let now = clock.now();
            let outcome = exchanged.and_then(|answer| {
                let look = shared.check == Check::Some && good.is_multiple_of(CHECK_EVERY);
                judge(request, answer.status, answer.body, look)?;
                if let Some(name) = &name {
                    let key = shared.requests.protocol().key_of(name, answer.body);
                    let key = key.map_err(|error| ExchangeFailure::new(FailureKind::WrongAnswer, error))?;
                    shared.made.lock().unwrap_or_else(PoisonError::into_inner).push(key);
                }
                Ok(answer.body.len())
            });
            // A closed loop counts what was answered in time; an open loop what was due in time.
            let counted = if self.pacer.is_some() { from } else { now };
            let mut rest = false;
            {
                let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
                match outcome {
                    Ok(received) => {
                        *good += 1;
                        let latency_ns = now.since(from);
                        let answered = Answered { counted, at: now, latency_ns, sent: request.length, received };
                        recorder.success(request.operation, &answered);
                    }
                    Err(failure) => {
                        recorder.failure(counted, now, &failure);
                        rest = match failure.kind {
                            FailureKind::Connect | FailureKind::Tls | FailureKind::Closed => true,
                            FailureKind::Malformed | FailureKind::Status(_) | FailureKind::WrongAnswer => false,
                        };
                    }
                }
            }
            if rest {
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// Whether an answer is a success: its status, and if it is looked at, what it holds.
fn judge(request: &Ready, status: u16, body: &[u8], look: bool) -> Result<(), ExchangeFailure> {
    let excerpt = || String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    if !(200..300).contains(&status) {
        return Err(ExchangeFailure::new(FailureKind::Status(status), excerpt()));
    }
    if let Some(mark) = request.mark.as_deref().filter(|_| look) {
        // A new key's name is not in the answer's mark; its id is read instead.
        let holds = request.operation == Operation::CreateKey || String::from_utf8_lossy(body).contains(mark);
        if !holds {
            return Err(ExchangeFailure::new(FailureKind::WrongAnswer, excerpt()));
        }
    }
    Ok(())
}

/// Sleeps until `moment`, or until the end is wished for.
async fn sleep_until(shared: &Shared, moment: Moment) {
    loop {
        let left = Duration::from_nanos(moment.since(shared.clock.now()));
        if left.is_zero() || shared.stop.is_wished() {
            return;
        }
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
    }
}

/// Processor time of the calling thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
