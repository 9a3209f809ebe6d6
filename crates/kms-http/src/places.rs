//! The places that a listener has for connections, and who makes way when all are taken.
//!
//! Whoever can reach the port can open connections and say nothing. So a place is kept only by a request in flight: when all are taken,
//! a connection that waits for its client is closed for the next one. The first to go is one of the address that holds most places,
//! and of those the one that waits longest: who holds few places keeps them, whatever another address does.

use crate::limits::ConnectionLimits;
use crate::progress::Progress;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

/// For this long a connection need not make way: a client that was just accepted or just answered has a chance to send its request.
const SPARED: Duration = Duration::from_millis(250);

/// A full house is told to the log no more often than this.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The places of one listener.
pub(crate) struct Places {
    limit: usize,
    patience: Duration,
    register: Mutex<Register>,
    freed: Notify,
}

#[derive(Default)]
struct Register {
    taken: HashMap<u64, Taken>,
    by_peer: HashMap<Peer, usize>,
    next: u64,
    told: Option<Instant>,
}

struct Taken {
    peer: Peer,
    progress: Progress,
    /// Ends the connection's task; `None` before it was spawned.
    task: Option<AbortHandle>,
}

/// One connection's place, given back when dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    progress: Progress,
}

/// No place before this, unless one is given back.
struct Full {
    until: Instant,
}

impl Places {
    /// As many as `limits` allow.
    pub(crate) fn new(limits: &ConnectionLimits) -> Self {
        let (limit, patience) = (limits.connections, limits.header_timeout);
        Self { limit, patience, register: Mutex::default(), freed: Notify::new() }
    }

    /// A place for a connection from `address`, as soon as there is one or another connection makes way.
    pub(crate) async fn take(self: &Arc<Self>, address: IpAddr) -> Place {
        let peer = Peer::from(address);
        loop {
            match self.try_take(peer) {
                Ok(place) => return place,
                // Both ways to wake up mean the same: look again.
                Err(Full { until }) => drop(timeout_at(until, self.freed.notified()).await),
            }
        }
    }

    fn try_take(self: &Arc<Self>, peer: Peer) -> Result<Place, Full> {
        let mut register = self.register();
        if register.taken.len() >= self.limit {
            let now = Instant::now();
            register.tell(now);
            register.close_one(self.patience, now)?;
        }
        let number = register.next;
        register.next += 1;
        let progress = Progress::new();
        *register.by_peer.entry(peer).or_default() += 1;
        register.taken.insert(number, Taken { peer, progress: progress.clone(), task: None });
        drop(register);
        Ok(Place { places: Arc::clone(self), number, progress })
    }

    /// Ends the task of every connection, whatever it does.
    pub(crate) fn clear(&self) {
        self.register().taken.values().filter_map(|taken| taken.task.as_ref()).for_each(AbortHandle::abort);
    }

    /// Lets `task` be ended when the connection with that number has to make way. It may have been chosen already, or have ended.
    fn occupy(&self, number: u64, task: AbortHandle) {
        match self.register().taken.get_mut(&number) {
            Some(taken) => taken.task = Some(task),
            None => task.abort(),
        }
    }

    fn register(&self) -> MutexGuard<'_, Register> {
        // Nothing panics while holding the lock.
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Register {
    /// Closes the connection that is the first to make way. Looks at all of them, which happens only in a full house.
    fn close_one(&mut self, patience: Duration, now: Instant) -> Result<(), Full> {
        let waiting = self.taken.iter().filter_map(|(number, taken)| {
            let since = taken.progress.waiting_since(patience).filter(|since| *since <= now)?;
            Some((self.by_peer.get(&taken.peer).copied(), Reverse(since), *number))
        });
        let Some((_, Reverse(since), number)) = waiting.max() else { return Err(Full { until: now + SPARED }) };
        // Waited for, not passed over: else an address that fills the house fast enough would be spared at others' expense.
        if since + SPARED > now {
            return Err(Full { until: since + SPARED });
        }
        // A request may have begun on it since it was looked at.
        if !self.taken.get(&number).is_some_and(|taken| taken.progress.make_way(patience, since)) {
            return Err(Full { until: now });
        }
        if let Some(task) = self.remove(number).and_then(|taken| taken.task) {
            task.abort();
            tracing::debug!("connection closed: it makes way for another");
        }
        Ok(())
    }

    fn remove(&mut self, number: u64) -> Option<Taken> {
        let taken = self.taken.remove(&number)?;
        if let Some(count) = self.by_peer.get_mut(&taken.peer) {
            *count -= 1;
            if *count == 0 {
                self.by_peer.remove(&taken.peer);
            }
        }
        Some(taken)
    }

    fn tell(&mut self, now: Instant) {
        if self.told.is_none_or(|told| told + TOLD_EVERY <= now) {
            self.told = Some(now);
            let connections = self.taken.len();
            tracing::warn!(connections, "all places for connections are taken: waiting ones are closed for new ones");
        }
    }
}

impl Place {
    /// What the connection at this place is waiting for.
    pub(crate) const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Runs a connection at this place as a task of `connections`. It is ended when it must close at once, for another.
    pub(crate) fn run(self, connections: &TaskTracker, connection: impl Future<Output = ()> + Send + 'static) {
        let (places, number) = (Arc::clone(&self.places), self.number);
        let task = connections.spawn(async move {
            connection.await;
            drop(self);
        });
        places.occupy(number, task.abort_handle());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A place that was taken from its connection has another's number by now.
        if self.places.register().remove(self.number).is_some() {
            self.places.freed.notify_one();
        }
    }
}

/// Who holds places: an IPv4 address, or a network of 2^64 IPv6 addresses, which is what one subscriber is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Peer(IpAddr);

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, timeout};

    fn places(connections: usize) -> Arc<Places> {
        Arc::new(Places::new(&ConnectionLimits { connections, ..ConnectionLimits::default() }))
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// Whether the place was taken from its connection.
    fn left(place: &Place) -> bool {
        !place.places.register().taken.contains_key(&place.number)
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_with_most_places_gives_way_first_and_there_the_longest_waiting() {
        let places = places(4);
        let few = places.take(address(1)).await;
        advance(SPARED).await;
        let busy = places.take(address(2)).await;
        assert!(busy.progress().begin_request().is_some() && busy.progress().body_complete());
        let older = places.take(address(2)).await;
        advance(SPARED).await;
        let newer = places.take(address(2)).await;
        advance(SPARED).await;
        let fifth = places.take(address(3)).await;
        assert_eq!([&few, &busy, &older, &newer, &fifth].map(left), [false, false, true, false, false]);
        let sixth = places.take(address(2)).await;
        assert_eq!([&few, &busy, &newer, &fifth, &sixth].map(left), [false, false, true, false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_spared_at_first_and_while_its_request_is_in_flight() {
        let places = places(1);
        let begun = Instant::now();
        let first = places.take(address(1)).await;
        let second = places.take(address(1)).await;
        assert!(left(&first));
        assert_eq!(begun.elapsed(), SPARED);
        assert!(second.progress().begin_request().is_some() && second.progress().body_complete());
        assert!(timeout(Duration::from_secs(3600), places.take(address(1))).await.is_err());
        assert!(!left(&second));
        let (_third, ()) = tokio::join!(places.take(address(1)), async { drop(second) });
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_is_not_spared_at_the_expense_of_another() {
        let places = places(3);
        let few = places.take(address(1)).await;
        advance(SPARED).await;
        let _one = places.take(address(2)).await;
        let _other = places.take(address(2)).await;
        let mut guests = Vec::new();
        for _ in 0..10 {
            guests.push(places.take(address(2)).await);
            assert!(!left(&few));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_counted_once() {
        let places = places(2);
        for round in 0..50 {
            let (evicted, given_back) = (places.take(address(round)).await, places.take(address(round)).await);
            drop(given_back);
            advance(SPARED).await;
            let _one = places.take(address(9)).await;
            let _other = places.take(address(9)).await;
            assert!(left(&evicted), "{round}");
        }
        let register = places.register();
        assert!(register.taken.is_empty() && register.by_peer.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_makes_way_is_ended_whenever_its_task_began() {
        let (places, connections) = (places(1), TaskTracker::new());
        let running = places.take(address(1)).await;
        running.run(&connections, std::future::pending());
        let chosen_before_it_ran = places.take(address(2)).await;
        let cleared = places.take(address(3)).await;
        assert!(left(&chosen_before_it_ran));
        chosen_before_it_ran.run(&connections, std::future::pending());
        cleared.run(&connections, std::future::pending());
        places.clear();
        connections.close();
        timeout(Duration::from_secs(1), connections.wait()).await.expect("a connection goes on");
        assert!(places.register().taken.is_empty());
    }

    #[test]
    fn a_peer_is_an_address_or_a_network() {
        let peer = |text: &str| Peer::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
    }
}
