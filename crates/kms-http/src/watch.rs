//! Who watches over a connection while it is served: the deadlines of what it waits for, and the end of all connections.

use crate::limits::ConnectionLimits;
use crate::progress::Progress;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Whether connections are to end, which each asks at every step: so it is an atomic that nobody writes until then. The token wakes those
/// that wait; to look at it, or to be told by it anew, takes a lock.
#[derive(Clone, Default)]
pub(crate) struct Ending {
    begun: Arc<AtomicBool>,
    told: CancellationToken,
}

impl Ending {
    pub(crate) fn begin(&self) {
        // First, so that whoever is woken sees it.
        self.begun.store(true, Ordering::Release);
        self.told.cancel();
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }
}

/// Polls `step` to its end, or until the connection that `progress` is about has waited too long: then `None`. `step` is polled anew
/// when `ending` begins, and has to look at it.
pub(crate) async fn watched<T>(
    progress: &Progress,
    limits: &ConnectionLimits,
    ending: &Ending,
    mut step: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    let mut told_to_end = pin!(ending.told.cancelled());
    let mut alarm = pin!(sleep(limits.header_timeout));
    // Who is told of the end, and when the alarm rings. Looking at these again costs more than the whole rest of this, so they are left
    // alone until then.
    let (mut told_of_end, mut told): (Option<Waker>, Option<Waker>) = (None, None);
    poll_fn(|cx| {
        if !ending.has_begun() && !told_of_end.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            told_of_end = Some(cx.waker().clone());
            // Ready or not: it is the atomic that tells.
            let _told = told_to_end.as_mut().poll(cx);
        }
        if let Poll::Ready(result) = step(cx) {
            return Poll::Ready(Some(result));
        }
        // The alarm may ring too early, after which it is set anew, but never too late.
        loop {
            let deadline = progress.deadline(limits.header_timeout, limits.idle_timeout);
            if let Some(deadline) = deadline.filter(|deadline| *deadline < alarm.deadline()) {
                alarm.as_mut().reset(deadline);
                told = None;
            }
            if !alarm.is_elapsed() && told.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            told = None;
            if alarm.as_mut().poll(cx).is_pending() {
                told = Some(cx.waker().clone());
                return Poll::Pending;
            }
            match deadline {
                Some(deadline) if deadline <= Instant::now() => return Poll::Ready(None),
                Some(deadline) => alarm.as_mut().reset(deadline),
                None => alarm.as_mut().reset(Instant::now() + limits.header_timeout),
            }
        }
    })
    .await
}
