//! What a connection is waiting for: when it has waited too long, and whether it may be closed in favour of another.

use crate::head::Framing;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What a connection is waiting for, shared by its stream, its requests, the task that ends it when it waits too long and the register
/// of places.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Since when it is in this phase. `None` as long as its task runs: the clock is read only when there is something to wait for.
    since: Option<Instant>,
    framing: Framing,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// For the first byte ever, or for a TLS handshake.
    Opened,
    /// For the first byte of a further request.
    Idle,
    /// For the rest of a head.
    Head,
    /// For a body, which has its own deadline. Nothing of the request is done before all of it is there.
    Body,
    /// For an answer; what happens until then has its own deadline.
    InFlight,
    /// For the client to take the answer, of which hyper may not have all yet.
    Answering { handed_over: bool },
    /// For nothing: it closes, and no request begins on it any more.
    MakingWay,
}

impl Progress {
    /// Of a connection that was just opened.
    pub(crate) fn new() -> Self {
        let (phase, since) = (Phase::Opened, Some(Instant::now()));
        Self(Arc::new(Mutex::new(State { phase, since, framing: Framing::Length(0) })))
    }

    /// The TLS handshake is over: the time for the first byte begins anew.
    pub(crate) fn handshake_complete(&self) {
        self.step(|phase| match phase {
            Phase::Opened => Some(Phase::Opened),
            Phase::Idle | Phase::Head | Phase::Body | Phase::InFlight | Phase::Answering { .. } | Phase::MakingWay => {
                None
            }
        });
    }

    /// Bytes of a head have come, and with `framing` its end: how its body is delimited.
    pub(crate) fn head_arrives(&self, framing: Option<Framing>) {
        let mut state = self.state();
        if let Some(framing) = framing {
            state.framing = framing;
        }
        match state.phase {
            Phase::Opened | Phase::Idle | Phase::Answering { .. } => state.enter(Phase::Head),
            Phase::Head | Phase::Body | Phase::InFlight | Phase::MakingWay => {}
        }
    }

    /// A head has been parsed and its request begins: how its body is delimited. `None` when the connection is making way: the request
    /// must not begin.
    ///
    /// The stream lets no further head through before, so it is this request's.
    pub(crate) fn begin_request(&self) -> Option<Framing> {
        let mut state = self.state();
        if let Phase::MakingWay = state.phase {
            return None;
        }
        state.enter(Phase::Body);
        Some(state.framing)
    }

    /// All of the request's body has come, or nobody reads it further. `false` when the connection is making way: the request must not
    /// go on.
    pub(crate) fn body_complete(&self) -> bool {
        let mut state = self.state();
        match state.phase {
            Phase::MakingWay => return false,
            Phase::Body => state.enter(Phase::InFlight),
            Phase::Opened | Phase::Idle | Phase::Head | Phase::InFlight | Phase::Answering { .. } => {}
        }
        true
    }

    /// A request has come whole, head and body at once. `false` when the connection is making way: it must not begin.
    pub(crate) fn begin_whole_request(&self) -> bool {
        let mut state = self.state();
        if let Phase::MakingWay = state.phase {
            return false;
        }
        state.enter(Phase::InFlight);
        true
    }

    /// The client has not taken all of the answer, which is written in one go.
    pub(crate) fn answer_waits(&self) {
        self.step(|phase| match phase {
            Phase::InFlight => Some(Phase::Answering { handed_over: true }),
            Phase::Opened | Phase::Idle | Phase::Head | Phase::Body | Phase::Answering { .. } | Phase::MakingWay => {
                None
            }
        });
    }

    /// The operating system has all of an answer that was written in one go.
    pub(crate) fn answered(&self) {
        self.step(|phase| match phase {
            Phase::InFlight | Phase::Answering { .. } => Some(Phase::Idle),
            Phase::Opened | Phase::Idle | Phase::Head | Phase::Body | Phase::MakingWay => None,
        });
    }

    /// The request has its answer, which is now written.
    pub(crate) fn end_request(&self) {
        self.step(|phase| match phase {
            Phase::Body | Phase::InFlight => Some(Phase::Answering { handed_over: false }),
            Phase::Opened | Phase::Idle | Phase::Head | Phase::Answering { .. } | Phase::MakingWay => None,
        });
    }

    /// hyper has all of the answer.
    pub(crate) fn answer_handed_over(&self) {
        if let Phase::Answering { handed_over } = &mut self.state().phase {
            *handed_over = true;
        }
    }

    /// The operating system has all that was written.
    pub(crate) fn flushed(&self) {
        self.step(|phase| match phase {
            Phase::Answering { handed_over: true } => Some(Phase::Idle),
            Phase::Answering { handed_over: false }
            | Phase::Opened
            | Phase::Idle
            | Phase::Head
            | Phase::Body
            | Phase::InFlight
            | Phase::MakingWay => None,
        });
    }

    /// When the connection has waited too long; `None` while others keep the time. Its task asks whenever it is about to wait.
    pub(crate) fn deadline(&self, header_timeout: Duration, idle_timeout: Duration) -> Option<Instant> {
        let mut state = self.state();
        let since = *state.since.get_or_insert_with(Instant::now);
        match state.phase {
            Phase::Opened | Phase::Head => Some(since + header_timeout),
            Phase::Idle | Phase::Answering { .. } => Some(since + idle_timeout),
            Phase::Body | Phase::InFlight | Phase::MakingWay => None,
        }
    }

    /// Since when the connection has kept its place for nothing but waiting for its client. `None` while a request is in flight.
    ///
    /// That a client takes its answer is part of the request, for as long as `patience`.
    pub(crate) fn waiting_since(&self, patience: Duration) -> Option<Instant> {
        self.state().waiting_since(patience)
    }

    /// Makes way for another connection, if it is still waiting since `before` or longer: from now on no request begins. Whether it does.
    pub(crate) fn make_way(&self, patience: Duration, before: Instant) -> bool {
        let mut state = self.state();
        let waits = state.waiting_since(patience).is_some_and(|since| since <= before);
        if waits {
            state.enter(Phase::MakingWay);
        }
        waits
    }

    fn step(&self, next: impl FnOnce(Phase) -> Option<Phase>) {
        let mut state = self.state();
        if let Some(phase) = next(state.phase) {
            state.enter(phase);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding the lock, and each field is whole by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    const fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = None;
    }

    fn waiting_since(&self, patience: Duration) -> Option<Instant> {
        // One whose task runs has not waited yet.
        let since = || self.since.unwrap_or_else(Instant::now);
        match self.phase {
            Phase::Opened | Phase::Idle | Phase::Head | Phase::Body => Some(since()),
            Phase::Answering { .. } => Some(since() + patience),
            Phase::InFlight | Phase::MakingWay => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn may_make_way(progress: &Progress) -> bool {
        // As its task does before it waits.
        progress.deadline(PATIENCE, PATIENCE);
        let State { phase, since, framing } = *progress.state();
        Progress(Arc::new(Mutex::new(State { phase, since, framing }))).make_way(PATIENCE, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_makes_way_unless_a_request_is_in_flight() {
        let progress = Progress::new();
        assert!(may_make_way(&progress), "opened");
        progress.head_arrives(None);
        assert!(may_make_way(&progress), "half a head");
        assert_eq!(progress.begin_request(), Some(Framing::Length(0)));
        assert!(may_make_way(&progress), "half a body");
        assert!(progress.body_complete());
        assert!(!may_make_way(&progress), "in flight");
        progress.flushed();
        progress.end_request();
        assert!(!may_make_way(&progress), "answered");
        progress.flushed();
        assert!(!may_make_way(&progress), "a part of the answer flushed");
        progress.answer_handed_over();
        assert!(!may_make_way(&progress), "not flushed");
        tokio::time::advance(PATIENCE).await;
        assert!(may_make_way(&progress), "an answer that is not taken");
        progress.flushed();
        assert!(may_make_way(&progress), "idle");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_begins_when_the_task_rests() {
        let (header, idle) = (Duration::from_secs(10), Duration::from_secs(75));
        let progress = Progress::new();
        tokio::time::advance(Duration::from_secs(5)).await;
        progress.head_arrives(None);
        let looked = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!progress.make_way(PATIENCE, looked), "it was not waiting when it was looked at");
        let rested = Instant::now();
        assert_eq!(progress.deadline(header, idle), Some(rested + header));
        tokio::time::advance(Duration::from_secs(1)).await;
        progress.head_arrives(None);
        assert_eq!(progress.deadline(header, idle), Some(rested + header), "more of the same head");
        assert_eq!(progress.waiting_since(PATIENCE), Some(rested));
    }

    #[tokio::test(start_paused = true)]
    async fn no_request_begins_or_goes_on_once_a_connection_makes_way() {
        let before_head = Progress::new();
        assert!(before_head.make_way(PATIENCE, Instant::now()));
        before_head.head_arrives(None);
        assert_eq!(before_head.begin_request(), None);
        let before_body = Progress::new();
        assert!(before_body.begin_request().is_some());
        assert!(before_body.make_way(PATIENCE, Instant::now()));
        assert!(!before_body.body_complete());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_byte_has_the_deadline_of_heads() {
        let (header, idle) = (Duration::from_secs(10), Duration::from_secs(75));
        let progress = Progress::new();
        let begun = Instant::now();
        assert_eq!(progress.deadline(header, idle), Some(begun + header));
        tokio::time::advance(Duration::from_secs(1)).await;
        progress.handshake_complete();
        assert_eq!(progress.deadline(header, idle), Some(Instant::now() + header));
        assert!(progress.begin_request().is_some() && progress.body_complete());
        assert_eq!(progress.deadline(header, idle), None);
        progress.end_request();
        progress.answer_handed_over();
        progress.flushed();
        assert_eq!(progress.deadline(header, idle), Some(Instant::now() + idle));
    }
}
