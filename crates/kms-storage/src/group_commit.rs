//! The one thread that writes: it makes all commits that wait durable together, then answers them.
//!
//! While one group is on its way to the disk the next one gathers in the queue, so many concurrent changes share one round
//! of syncs and a lone one waits for nobody. The order of a round is: decide, write to the engine (power-safe), write the
//! manifest file, show the commits to readers and watchers, answer. An error or a panic on the way leaves the group
//! unknown and the store read-only until it is opened, and thereby checked, again.

use crate::commit::{Commit, CommitError, Durable, Fence, Role};
use crate::engine::Engine;
use crate::keeper::Keeper;
use crate::manifest::Accountant;
use crate::opening::Found;
use crate::published::Published;
use crate::room::Room;
use crate::store::{Health, StoreError};
use crate::view::{Decided, Group, History};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use tokio::sync::{mpsc, oneshot};

/// The most commits in one group.
const MAX_GROUP: usize = 256;

/// The most bytes in one group, give or take one commit.
const MAX_GROUP_BYTES: usize = 8 << 20;

/// How many requests may wait; further callers wait for a place.
const QUEUE: usize = 1024;

/// The way to the writing thread.
pub(crate) struct GroupCommit {
    requests: mpsc::Sender<Request>,
    condition: Arc<Condition>,
}

/// What the writing thread tells the others.
struct Condition {
    /// Why the store became read-only, once it did.
    failure: OnceLock<String>,
    room: Room,
    rounds: AtomicU64,
}

enum Request {
    Commit(Commit, Reply),
    Acquire(Role, oneshot::Sender<Fence>),
    Close(oneshot::Sender<()>),
}

type Reply = oneshot::Sender<Result<Durable, CommitError>>;

/// The writing thread's own.
struct Writer<E> {
    keeper: Keeper<E>,
    requests: mpsc::Receiver<Request>,
    published: Arc<Published>,
    condition: Arc<Condition>,
}

impl GroupCommit {
    /// Starts the writing thread on a store that was found right.
    ///
    /// # Errors
    /// The operating system's, when it starts no thread.
    pub(crate) fn start<E: Engine>(
        found: Found<E>,
        accountant: Accountant,
        room: Room,
        history: History,
    ) -> std::io::Result<(Self, Arc<Published>)> {
        let (keeper, view) = Keeper::take_over(found, accountant, history);
        let published = Published::new(view);
        let condition = Arc::new(Condition { failure: OnceLock::new(), room, rounds: AtomicU64::new(0) });
        let (requests, waiting) = mpsc::channel(QUEUE);
        let writer =
            Writer { keeper, requests: waiting, published: Arc::clone(&published), condition: Arc::clone(&condition) };
        thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.run())?;
        Ok((Self { requests, condition }, published))
    }

    pub(crate) async fn commit(&self, commit: Commit) -> Result<Durable, CommitError> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Commit(commit, reply)).await.is_err() {
            return Err(CommitError::ReadOnly(StoreError::Closed.to_string()));
        }
        answer.await.unwrap_or_else(|_| Err(CommitError::Unknown("the store was closed meanwhile".to_owned())))
    }

    pub(crate) async fn acquire(&self, role: Role) -> Result<Fence, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Acquire(role, reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)
    }

    /// Returns once the engine and the lock are released.
    pub(crate) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Close(reply)).await.is_ok() {
            // An answer that never comes says the same: the thread is gone and with it all it held.
            let _gone = answer.await;
        }
    }

    pub(crate) fn health(&self) -> Health {
        let reason = match self.condition.failure.get() {
            Some(failure) => Some(failure.clone()),
            None if self.requests.is_closed() => Some(StoreError::Closed.to_string()),
            None => self.condition.room.check().err(),
        };
        reason.map_or(Health::Ready, |reason| Health::ReadOnly { reason })
    }

    /// How many groups were made durable.
    pub(crate) fn rounds(&self) -> u64 {
        self.condition.rounds.load(Ordering::Relaxed)
    }
}

impl<E: Engine> Writer<E> {
    fn run(mut self) {
        let mut next = self.requests.blocking_recv();
        let closing = loop {
            next = match next {
                Some(Request::Commit(commit, reply)) => self.serve_group(commit, reply),
                Some(Request::Acquire(role, reply)) => {
                    let _caller_left = reply.send(self.published.acquire(role));
                    self.requests.blocking_recv()
                }
                Some(Request::Close(reply)) => break Some(reply),
                None => break None,
            };
        };
        self.published.close();
        self.requests.close();
        while let Ok(request) = self.requests.try_recv() {
            refuse(request);
        }
        let Self { keeper, requests, .. } = self;
        if catch_unwind(AssertUnwindSafe(|| drop(keeper))).is_err() {
            tracing::error!("the store's engine panicked while it was closed");
        }
        drop(requests);
        if let Some(reply) = closing {
            let _caller_left = reply.send(());
        }
    }

    /// Serves a commit and those that wait behind it, and returns the request after them.
    fn serve_group(&mut self, commit: Commit, reply: Reply) -> Option<Request> {
        let mut bytes = commit.bytes();
        let mut waiting = vec![(commit, reply)];
        let mut next = None;
        while waiting.len() < MAX_GROUP && bytes < MAX_GROUP_BYTES {
            match self.requests.try_recv() {
                Ok(Request::Commit(commit, reply)) => {
                    bytes += commit.bytes();
                    waiting.push((commit, reply));
                }
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        for (reply, answer) in self.make_durable(waiting) {
            let _caller_left = reply.send(answer);
        }
        match next {
            Some(next) => Some(next),
            None => self.requests.blocking_recv(),
        }
    }

    fn make_durable(&mut self, waiting: Vec<(Commit, Reply)>) -> Vec<(Reply, Result<Durable, CommitError>)> {
        if let Err(reason) = self.condition.takes_changes() {
            return waiting.into_iter().map(|(_, reply)| (reply, Err(CommitError::ReadOnly(reason.clone())))).collect();
        }
        let view = self.published.read();
        let mut group = Group::new(&view);
        let decisions: Vec<(Reply, Result<Decided, CommitError>)> =
            waiting.into_iter().map(|(commit, reply)| (reply, group.decide(commit))).collect();
        let staged = group.finish();
        drop(view);
        let kept = if staged.is_empty() {
            Ok(())
        } else {
            // After a failure the group stays under way: readers go on to be shown what was durable before it.
            self.published.begin(&staged);
            self.keeper.keep(&staged)
        };
        if let Err(failure) = kept {
            tracing::error!(failure, "a write failed; the store takes no further changes");
            let reason = format!("a write failed ({failure}): check the disk, then start again");
            let reason = self.condition.failure.get_or_init(|| reason);
            return decisions
                .into_iter()
                .map(|(reply, decision)| (reply, Err(unkept(decision, &failure, reason))))
                .collect();
        }
        if !staged.is_empty() {
            self.condition.rounds.fetch_add(1, Ordering::Relaxed);
        }
        let mut made = Vec::with_capacity(decisions.len());
        let mut answers = Vec::with_capacity(decisions.len());
        for (reply, decision) in decisions {
            answers.push((
                reply,
                decision.map(|decided| {
                    let revision = decided.revision;
                    made.push(decided);
                    Durable { revision }
                }),
            ));
        }
        self.published.publish(made);
        answers
    }
}

impl Condition {
    fn takes_changes(&self) -> Result<(), String> {
        match self.failure.get() {
            Some(failure) => Err(failure.clone()),
            None => self.room.check(),
        }
    }
}

/// What becomes of a decision whose group failed.
fn unkept(decision: Result<Decided, CommitError>, failure: &str, reason: &str) -> CommitError {
    match decision {
        Ok(_) => CommitError::Unknown(failure.to_owned()),
        // It may have met a write of its own group, of which nobody knows whether it is there.
        Err(CommitError::Conflict { .. }) => CommitError::ReadOnly(reason.to_owned()),
        Err(
            refused @ (CommitError::Fenced
            | CommitError::Unknown(_)
            | CommitError::ReadOnly(_)
            | CommitError::TooLarge(_)
            | CommitError::Malformed(_)),
        ) => refused,
    }
}

/// Answers a request that came too late.
fn refuse(request: Request) {
    match request {
        Request::Commit(_, reply) => {
            let _caller_left = reply.send(Err(CommitError::ReadOnly(StoreError::Closed.to_string())));
        }
        Request::Acquire(_, reply) => drop(reply),
        Request::Close(reply) => drop(reply),
    }
}

#[cfg(test)]
mod tests;
