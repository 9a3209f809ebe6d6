//! A bounded number of connections, of which the newest stay.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// Places for connections. One who comes when all are taken gets that of the oldest: who holds connections open without using
/// them can then not keep others out, and a zone that comes back does not wait for its old connection to be noticed as dead.
#[derive(Clone)]
pub(crate) struct Crowd {
    limit: usize,
    members: Arc<Mutex<VecDeque<Member>>>,
}

struct Member {
    evicted: CancellationToken,
    place: Arc<()>,
}

/// One place, given back when dropped.
pub(crate) struct Place {
    evicted: CancellationToken,
    place: Arc<()>,
    members: Arc<Mutex<VecDeque<Member>>>,
}

impl Crowd {
    /// At least one place.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), members: Arc::default() }
    }

    pub(crate) fn enter(&self) -> Place {
        let evicted = CancellationToken::new();
        let place = Arc::new(());
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.push_back(Member { evicted: evicted.clone(), place: Arc::clone(&place) });
        while members.len() > self.limit {
            if let Some(oldest) = members.pop_front() {
                oldest.evicted.cancel();
            }
        }
        Place { evicted, place, members: Arc::clone(&self.members) }
    }
}

impl Place {
    /// Ends when a newer connection took the place.
    pub(crate) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|member| !Arc::ptr_eq(&member.place, &self.place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_one_too_many_comes() {
        let crowd = Crowd::new(2);
        let places: Vec<_> = (0..5).map(|_| crowd.enter()).collect();
        let evicted: Vec<_> = places.iter().map(|place| place.evicted.is_cancelled()).collect();
        assert_eq!(evicted, [true, true, true, false, false]);
    }

    #[test]
    fn who_leaves_makes_room() {
        let crowd = Crowd::new(2);
        let first = crowd.enter();
        drop(crowd.enter());
        let _third = crowd.enter();
        assert!(!first.evicted.is_cancelled());
        drop((0..5).map(|_| crowd.enter()).collect::<Vec<_>>());
        assert_eq!(crowd.members.lock().unwrap().len(), 0, "all that are left were evicted");
    }
}
