//! One change of a key at a time.
//!
//! Few keys are being changed at any moment, so the locks are those of these keys only and go when nobody waits for them.

use kms_types::KeyId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OwnedMutexGuard;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// The keys that are being changed.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<KeyId, Lock>>);

/// The right to change one key, until it is dropped.
#[must_use = "the turn ends when it is dropped"]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    id: KeyId,
    lock: Lock,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until nobody else changes the key `id`.
    pub(crate) async fn take(&self, id: KeyId) -> Turn<'_> {
        let lock = Arc::clone(self.locks().entry(id).or_default());
        // The turn is there before it is held, so that a caller who stops waiting leaves no lock behind.
        let mut turn = Turn { turns: self, id, lock, held: None };
        turn.held = Some(Arc::clone(&turn.lock).lock_owned().await);
        turn
    }

    fn locks(&self) -> MutexGuard<'_, HashMap<KeyId, Lock>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut locks = self.turns.locks();
        // This turn and the map: nobody else holds the lock or waits for it, and nobody can come to it now.
        if Arc::strong_count(&self.lock) == 2 {
            locks.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const A_MOMENT: Duration = Duration::from_millis(5);

    fn id(last: u8) -> KeyId {
        format!("019eef19-73ef-7ce3-9ea1-fcaa367ebd{last:02x}").parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_has_one_turn_at_a_time_and_leaves_nothing_behind() {
        let turns = Turns::default();
        let first = turns.take(id(1)).await;
        let _other_key = turns.take(id(2)).await;
        assert!(timeout(A_MOMENT, turns.take(id(1))).await.is_err(), "it is another's turn");
        assert_eq!(turns.locks().len(), 2, "who stopped waiting leaves the holder's lock alone");
        drop(first);
        assert_eq!(turns.locks().len(), 1);
        let second = turns.take(id(1)).await;
        let (third, ()) = tokio::join!(turns.take(id(1)), async { drop(second) });
        assert!(timeout(A_MOMENT, turns.take(id(1))).await.is_err(), "the turn was handed on");
        drop(third);
        assert!(!turns.locks().contains_key(&id(1)));
    }
}
