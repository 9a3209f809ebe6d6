//! Where keys lie: slots in pages that are kept out of swap and core dumps (ADR 0022).
//!
//! A slot is wiped when it is given back, and used again. Pages are never returned to the operating system: what a process once
//! needed for its keys it keeps.

use crate::secret::wipe;
use kms_pages::{Locking, Pages};
use std::sync::{Mutex, PoisonError};

/// Bytes of one slot: one cache line, so that a call reads one. An AES-256 key and a CMAC subkey take 48 of them.
pub(crate) const SLOT_LEN: usize = 64;

/// How much memory is set aside for keys, and whether the process may keep it out of swap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockedMemory {
    /// Bytes locked in memory.
    pub locked_bytes: usize,
    /// Bytes that the operating system would not lock, because of `RLIMIT_MEMLOCK` as a rule: they may reach a swap device.
    pub unlocked_bytes: usize,
}

/// How much memory is set aside for keys. It grows with the number of keys, and never shrinks.
#[must_use]
pub fn locked_memory() -> LockedMemory {
    ARENA.lock().unwrap_or_else(PoisonError::into_inner).memory
}

/// One slot, its owner's alone until it is dropped. Zeros at first.
pub(crate) struct Slot(Option<&'static mut [u8; SLOT_LEN]>);

impl Slot {
    pub(crate) fn new() -> Self {
        let mut arena = ARENA.lock().unwrap_or_else(PoisonError::into_inner);
        if arena.free.is_empty() {
            arena.grow();
        }
        Self(arena.free.pop())
    }

    pub(crate) fn bytes(&self) -> &[u8; SLOT_LEN] {
        self.0.as_deref().expect(OWNED)
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8; SLOT_LEN] {
        self.0.as_deref_mut().expect(OWNED)
    }
}

const OWNED: &str = "an arena that has grown has a free slot, and a slot is given back only when it is dropped";

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(bytes) = self.0.take() {
            wipe(bytes);
            ARENA.lock().unwrap_or_else(PoisonError::into_inner).free.push(bytes);
        }
    }
}

static ARENA: Mutex<Arena> =
    Mutex::new(Arena { free: Vec::new(), memory: LockedMemory { locked_bytes: 0, unlocked_bytes: 0 } });

struct Arena {
    free: Vec<&'static mut [u8; SLOT_LEN]>,
    memory: LockedMemory,
}

impl Arena {
    fn grow(&mut self) {
        let bytes = match Pages::for_secrets(SLAB_LEN) {
            Ok((pages, locking)) => {
                match locking {
                    Locking::Locked => self.memory.locked_bytes += SLAB_LEN,
                    Locking::Refused => self.memory.unlocked_bytes += SLAB_LEN,
                }
                pages.leak()
            }
            // Memory of the allocator serves as well, without the promises.
            Err(_) => {
                self.memory.unlocked_bytes += SLAB_LEN;
                vec![0; SLAB_LEN].leak()
            }
        };
        // The lowest address is given out first.
        self.free.extend(bytes.as_chunks_mut().0.iter_mut().rev());
    }
}

/// Pages are asked for so many bytes at a time: 1024 slots.
const SLAB_LEN: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn slots_do_not_overlap_and_come_back_empty() {
        let mut slots: Vec<Slot> = (0..1000).map(|_| Slot::new()).collect();
        for (number, slot) in slots.iter_mut().enumerate() {
            assert_eq!(slot.bytes(), &[0; SLOT_LEN]);
            slot.bytes_mut().fill(u8::try_from(number % 251).unwrap() + 1);
        }
        for (number, slot) in slots.iter().enumerate() {
            assert_eq!(slot.bytes(), &[u8::try_from(number % 251).unwrap() + 1; SLOT_LEN], "slot {number}");
        }
        let pages: HashSet<usize> = slots.iter().map(|slot| slot.bytes().as_ptr() as usize / 4096).collect();
        // Sixty-four to a page; other tests hold some of them.
        assert!(pages.len() < 50, "{} pages for 1000 slots", pages.len());
        assert!(
            slots.iter().all(|slot| (slot.bytes().as_ptr() as usize).is_multiple_of(64)),
            "a slot is one cache line"
        );
        let before = locked_memory();
        assert!(before.locked_bytes + before.unlocked_bytes >= 1000 * SLOT_LEN);
        drop(slots);
        let again: Vec<Slot> = (0..500).map(|_| Slot::new()).collect();
        assert!(again.iter().all(|slot| slot.bytes() == &[0; SLOT_LEN]));
    }
}
