//! Where entries wait for the writer. Crypto calls put theirs into one of several buffers, so that they hardly ever meet.

use crate::keys::LogKeys;
use crate::line::write_body;
use crate::settings::{AuditSettings, CryptoCalls, WhenFull};
use crate::stamp::StampWriter;
use kms_service::{Actor, AuditEntry, NotRecorded, Settled};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// The most bytes that wait.
const ROOM: i64 = 32 * 1024 * 1024;

/// The writer is called early when one buffer has this many bytes.
const EARLY: usize = 64 * 1024;

/// How many buffers there are.
const STRIPES: usize = 16;

/// Where the time ends that a body begins with: a name, a quote, and the 30 characters of a time.
const TIME_END: usize = "\"time\":\"".len() + 30;

/// Entries of requests without a known caller, per second. More are told in sum: anyone can cause them.
const ANONYMOUS_PER_SECOND: u32 = 100;

/// What the writer and everyone else share.
pub(crate) struct Buffer {
    pub(crate) keys: Arc<LogKeys>,
    crypto_calls: CryptoCalls,
    when_full: WhenFull,
    stripes: [Mutex<Stripe>; STRIPES],
    /// Bytes taken and not durable yet; less than none for an instant, when they are written before they are counted.
    pub(crate) waiting: AtomicI64,
    /// Something is in a stripe, and the writer was told.
    pub(crate) told: AtomicBool,
    queue: Mutex<Queue>,
    pub(crate) called: Condvar,
    anonymous: Mutex<Anonymous>,
    /// Refusals that are told in sum.
    pub(crate) summed: AtomicU64,
    /// Entries for which there was no room.
    pub(crate) lost: AtomicU64,
    trouble: Mutex<Option<String>>,
    pub(crate) is_broken: AtomicBool,
}

#[derive(Default)]
struct Stripe {
    bodies: Vec<u8>,
    stamps: StampWriter,
    calls: u32,
}

#[derive(Default)]
struct Anonymous {
    second: i64,
    entries: u32,
}

/// What waits for an answer of the writer.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) changes: Vec<Change>,
    pub(crate) barriers: Vec<oneshot::Sender<Result<(), NotRecorded>>>,
    pub(crate) early: bool,
    pub(crate) stop: bool,
    /// Nobody answers any more.
    pub(crate) ended: bool,
}

/// The entry of a change.
pub(crate) struct Change {
    pub(crate) body: Vec<u8>,
    pub(crate) settled: Option<Settled>,
    pub(crate) durable: oneshot::Sender<Result<(), NotRecorded>>,
}

impl Buffer {
    pub(crate) fn new(keys: Arc<LogKeys>, settings: &AuditSettings) -> Self {
        Self {
            keys,
            crypto_calls: settings.crypto_calls,
            when_full: settings.when_full,
            stripes: Default::default(),
            waiting: AtomicI64::new(0),
            told: AtomicBool::new(false),
            queue: Mutex::default(),
            called: Condvar::new(),
            anonymous: Mutex::default(),
            summed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            trouble: Mutex::default(),
            is_broken: AtomicBool::new(false),
        }
    }

    /// Takes the entry of a crypto call.
    pub(crate) fn take_use(&self, entry: &AuditEntry<'_>) -> Result<(), NotRecorded> {
        let every = match self.crypto_calls {
            CryptoCalls::On => 1,
            CryptoCalls::Sampled(every) => every.get(),
            CryptoCalls::Off => return Ok(()),
        };
        if self.put(entry, every) {
            return Ok(());
        }
        match self.when_full {
            WhenFull::Refuse => Err(NotRecorded::Full),
            WhenFull::Count => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// Takes the entry of a refusal, or counts it.
    pub(crate) fn take_refusal(&self, entry: &AuditEntry<'_>) {
        let counted = match entry.actor {
            Actor::Anonymous(_) | Actor::Stranger(_) => self.is_one_too_many(entry),
            Actor::Caller(_) | Actor::Scheduler | Actor::Peer(_) | Actor::Server | Actor::Operator => false,
        };
        if counted {
            self.summed.fetch_add(1, Ordering::Relaxed);
            self.tell();
        } else if !self.put(entry, 1) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands the entry of a change to the writer.
    pub(crate) fn take_change(&self, entry: &AuditEntry<'_>) -> oneshot::Receiver<Result<(), NotRecorded>> {
        let mut body = Vec::with_capacity(512);
        self.write(&mut body, entry, &mut StampWriter::default());
        let (durable, answer) = oneshot::channel();
        let mut queue = self.queue();
        if !queue.ended {
            queue.changes.push(Change { body, settled: entry.settled, durable });
        }
        drop(queue);
        self.called.notify_one();
        answer
    }

    /// The answer, once everything taken so far is durable.
    pub(crate) fn take_barrier(&self) -> oneshot::Receiver<Result<(), NotRecorded>> {
        let (done, answer) = oneshot::channel();
        let mut queue = self.queue();
        if !queue.ended {
            queue.barriers.push(done);
        }
        drop(queue);
        self.called.notify_one();
        answer
    }

    /// Takes nothing any more; gives what waits.
    pub(crate) fn end(&self) -> Queue {
        std::mem::replace(&mut *self.queue(), Queue { ended: true, ..Queue::default() })
    }

    /// Puts everything in the stripes to the end of `out`, in the order of its times.
    pub(crate) fn drain(&self, out: &mut Vec<u8>) {
        self.told.store(false, Ordering::SeqCst);
        let begin = out.len();
        let mut filled = 0;
        for stripe in &self.stripes {
            let mut stripe = locked(stripe);
            filled += usize::from(!stripe.bodies.is_empty());
            out.extend_from_slice(&stripe.bodies);
            stripe.bodies.clear();
        }
        if filled > 1 {
            let taken = out.split_off(begin);
            let mut bodies: Vec<&[u8]> = taken.split_inclusive(|byte| *byte == b'\n').collect();
            // Each begins with its time, whose text has one length; the sort finds that each stripe is in order already.
            bodies.sort_by_key(|body| body.get(..TIME_END));
            bodies.into_iter().for_each(|body| out.extend_from_slice(body));
        }
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        locked(&self.queue)
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        locked(&self.trouble).clone()
    }

    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        self.is_broken.store(trouble.is_some(), Ordering::SeqCst);
        *locked(&self.trouble) = trouble;
    }

    /// Whether there was room. Of every so many entries, one is put.
    fn put(&self, entry: &AuditEntry<'_>, every: u32) -> bool {
        let mut stripe = locked(&self.stripes[own_stripe()]);
        if every > 1 {
            stripe.calls = stripe.calls.wrapping_add(1);
            if !stripe.calls.is_multiple_of(every) {
                return true;
            }
        }
        if self.waiting.load(Ordering::Relaxed) > ROOM {
            return false;
        }
        let Stripe { bodies, stamps, .. } = &mut *stripe;
        let before = bodies.len();
        self.write(bodies, entry, stamps);
        let after = bodies.len();
        drop(stripe);
        self.waiting.fetch_add(bytes(after - before), Ordering::Relaxed);
        if before < EARLY && after >= EARLY {
            self.queue().early = true;
            self.called.notify_one();
        } else {
            self.tell();
        }
        true
    }

    /// Lets the writer know that something is there, once.
    fn tell(&self) {
        if !self.told.load(Ordering::SeqCst) && !self.told.swap(true, Ordering::SeqCst) {
            // Under the lock, so that it is not missed by a writer about to wait.
            let _queue = self.queue();
            self.called.notify_one();
        }
    }

    fn write(&self, out: &mut Vec<u8>, entry: &AuditEntry<'_>, stamps: &mut StampWriter) {
        write_body(out, entry, self.keys.zone().as_str(), self.keys.contexts(), stamps);
    }

    fn is_one_too_many(&self, entry: &AuditEntry<'_>) -> bool {
        let mut anonymous = locked(&self.anonymous);
        let second = entry.time.as_seconds();
        if anonymous.second != second {
            *anonymous = Anonymous { second, entries: 0 };
        }
        anonymous.entries = anonymous.entries.saturating_add(1);
        anonymous.entries > ANONYMOUS_PER_SECOND
    }
}

/// A length as what is counted.
pub(crate) fn bytes(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// The stripe of this thread.
fn own_stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    }
    OWN.with(|own| *own)
}

/// Nothing here is left half done by a panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
