//! What the opening of a store read, kept packed until its user has started on it.
//!
//! Reading every record through an engine is the longest part of an opening, and an engine keeps much of what it reads. So
//! the records are copied out once, checked by all processors meanwhile, and given to whoever reads them first; the engine
//! is started anew, and keeps nothing of them.

use crate::engine::{self, Visit};
use crate::manifest::{Accountant, Manifest};
use crate::open_error::OpenError;
use crate::reader::{RecordReader, Walk};
use crate::record_key::RecordKey;
use crate::store::StoreError;
use crate::view::Entry;
use std::cmp::Ordering;
use std::num::NonZeroUsize;
use std::ops::Bound;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Bytes copied before they are handed to a checker.
const CHUNK: usize = 1 << 20;

/// All records of a store, in the order of their paths.
#[derive(Default)]
pub(crate) struct FirstReading {
    chunks: Vec<Arc<Chunk>>,
}

/// Some records that follow each other; never empty.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

/// Where a record lies: its path, and behind it its value.
struct Place {
    start: usize,
    path: usize,
    value: usize,
}

/// Copies the records that `read` visits, and counts them; entries of the store's own go to `own`.
pub(crate) fn read_and_count(
    accountant: &Accountant,
    read: impl FnOnce(&mut Visit<'_>) -> Result<(), OpenError>,
    mut own: impl FnMut(&[u8], &[u8]) -> Result<(), OpenError>,
) -> Result<(FirstReading, Manifest), OpenError> {
    thread::scope(|scope| {
        let helpers = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let (sender, waiting) = sync_channel(2 * helpers);
        let waiting = Arc::new(Mutex::new(waiting));
        let checker = |_| {
            let waiting = Arc::clone(&waiting);
            scope.spawn(move || count_all(accountant, &waiting))
        };
        let checkers: Vec<_> = (0..helpers).map(checker).collect();
        drop(waiting);
        let mut reading = FirstReading::default();
        let mut chunk = Chunk::default();
        let read = read(&mut |path, value| {
            if engine::is_system(path) {
                return own(path, value);
            }
            if !chunk.takes(path, value) {
                reading.hand_over(std::mem::take(&mut chunk), &sender);
            }
            chunk.push(path, value);
            Ok(())
        });
        if !chunk.places.is_empty() {
            reading.hand_over(chunk, &sender);
        }
        drop(sender);
        let mut counted = Accountant::empty();
        let mut fault = read.err();
        for checker in checkers {
            match checker.join() {
                Ok(Ok(part)) => counted.merge(&part),
                Ok(Err(cause)) => fault = fault.or(Some(cause)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        match fault {
            None => Ok((reading, counted)),
            Some(cause) => Err(cause),
        }
    })
}

/// Decodes and counts chunks until there are no more. After a fault it goes on taking chunks, so that nobody waits for it.
fn count_all(accountant: &Accountant, waiting: &Mutex<Receiver<Arc<Chunk>>>) -> Result<Manifest, OpenError> {
    let mut counted = Accountant::empty();
    let mut outcome = Ok(());
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(chunk) = next else { break };
        if outcome.is_ok() {
            outcome = chunk.places.iter().try_for_each(|place| {
                let (key, entry) = engine::decode_entry(chunk.path(place), chunk.value(place))?;
                accountant.add(&mut counted, &key, &entry);
                Ok(())
            });
        }
    }
    outcome.map(|()| counted)
}

impl FirstReading {
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    fn hand_over(&mut self, chunk: Chunk, checkers: &SyncSender<Arc<Chunk>>) {
        let chunk = Arc::new(chunk);
        self.chunks.push(Arc::clone(&chunk));
        // Checkers take chunks until the sender is gone, whatever they find, so this fails only after a panic of theirs.
        let _panicked = checkers.send(chunk);
    }

    /// Chunk and place of the first record that `before` is not true of.
    fn first_not(&self, before: impl Fn(&[u8]) -> bool) -> (usize, usize) {
        let ends_before = |chunk: &Arc<Chunk>| chunk.places.last().is_some_and(|place| before(chunk.path(place)));
        let number = self.chunks.partition_point(ends_before);
        let place = |chunk: &Arc<Chunk>| chunk.places.partition_point(|place| before(chunk.path(place)));
        (number, self.chunks.get(number).map_or(0, place))
    }
}

impl RecordReader for FirstReading {
    fn entry(&self, key: &RecordKey) -> Result<Option<Entry>, StoreError> {
        let path = key.as_str().as_bytes();
        let (number, place) = self.first_not(|other| other.cmp(path) == Ordering::Less);
        let Some(chunk) = self.chunks.get(number) else { return Ok(None) };
        match chunk.places.get(place).filter(|place| chunk.path(place) == path) {
            Some(place) => Ok(Some(chunk.decode(place)?.1)),
            None => Ok(None),
        }
    }

    fn walk(&self, start: Bound<&str>, visit: &mut Walk<'_>) -> Result<(), StoreError> {
        let (number, first) = self.first_not(|other| match start {
            Bound::Included(path) => other < path.as_bytes(),
            Bound::Excluded(path) => other <= path.as_bytes(),
            Bound::Unbounded => false,
        });
        let mut skipped = first;
        for chunk in self.chunks.iter().skip(number) {
            for place in chunk.places.iter().skip(skipped) {
                let (key, entry) = chunk.decode(place)?;
                if visit(key, entry).is_break() {
                    return Ok(());
                }
            }
            skipped = 0;
        }
        Ok(())
    }
}

impl Chunk {
    /// Whether the record has room in this chunk; an empty chunk takes any record.
    fn takes(&self, path: &[u8], value: &[u8]) -> bool {
        self.places.is_empty() || self.bytes.len() + path.len() + value.len() <= CHUNK
    }

    fn push(&mut self, path: &[u8], value: &[u8]) {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve_exact(CHUNK.max(path.len() + value.len()));
        }
        self.places.push(Place { start: self.bytes.len(), path: path.len(), value: value.len() });
        self.bytes.extend_from_slice(path);
        self.bytes.extend_from_slice(value);
    }

    fn path(&self, place: &Place) -> &[u8] {
        &self.bytes[place.start..][..place.path]
    }

    fn value(&self, place: &Place) -> &[u8] {
        &self.bytes[place.start + place.path..][..place.value]
    }

    fn decode(&self, place: &Place) -> Result<(RecordKey, Entry), StoreError> {
        engine::decode_entry(self.path(place), self.value(place))
            .map_err(|fault| StoreError::Unavailable(fault.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{META_PATH, encode_entry};
    use crate::manifest::tests::accountant;
    use crate::stored::{RecordVersion, StoreRevision};
    use crate::view::Content;
    use std::ops::ControlFlow;

    fn path(number: usize) -> String {
        format!("key/acme/019eef19-73ef-7ce3-9ea1-{number:012x}")
    }

    /// Records of such lengths that they fill several chunks, one of them longer than a chunk.
    fn entries() -> Vec<(String, Entry)> {
        let entry = |number: usize| {
            let length = if number == 7 { CHUNK + 1 } else { CHUNK / 10 };
            let content = Content::Live(vec![u8::try_from(number).unwrap(); length].into());
            (path(2 * number), Entry { version: RecordVersion::new(3), revision: StoreRevision::new(4), content })
        };
        (0..40).map(entry).collect()
    }

    fn reading(entries: &[(String, Entry)]) -> Result<(FirstReading, Manifest), OpenError> {
        let read = |visit: &mut Visit<'_>| {
            visit(META_PATH.as_bytes(), b"own")?;
            entries.iter().try_for_each(|(path, entry)| visit(path.as_bytes(), &encode_entry(entry)))
        };
        let mut own = 0;
        let read = read_and_count(&accountant(), read, |_, _| {
            own += 1;
            Ok(())
        });
        assert_eq!(own, 1);
        read
    }

    #[test]
    fn every_record_is_found_and_counted() {
        let entries = entries();
        let (reading, counted) = reading(&entries).unwrap();
        assert!(reading.chunks.len() > 4);
        let mut expected = Accountant::empty();
        for (path, entry) in &entries {
            accountant().add(&mut expected, &RecordKey::parse(path).unwrap(), entry);
        }
        let statement = accountant().decode(&accountant().encode(&expected)).unwrap();
        assert!(accountant().agree(&statement, &counted));
        for (number, (own, entry)) in entries.iter().enumerate() {
            let found = reading.entry(&RecordKey::parse(own).unwrap()).unwrap().unwrap();
            assert_eq!(encode_entry(&found), encode_entry(entry));
            assert!(reading.entry(&RecordKey::parse(&path(2 * number + 1)).unwrap()).unwrap().is_none());
        }
    }

    #[test]
    fn a_walk_begins_anywhere_and_ends_when_told() {
        let entries = entries();
        let (reading, _) = reading(&entries).unwrap();
        let walked = |start: Bound<&str>, most: usize| {
            let mut paths = Vec::new();
            let walk = reading.walk(start, &mut |key, _| {
                paths.push(key.as_str().to_owned());
                if paths.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            walk.unwrap();
            paths
        };
        let paths: Vec<_> = entries.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(walked(Bound::Unbounded, 1_000), paths);
        for (number, own) in paths.iter().enumerate() {
            assert_eq!(walked(Bound::Included(own), 1_000), paths[number..]);
            assert_eq!(walked(Bound::Excluded(own), 1_000), paths[number + 1..]);
            assert_eq!(walked(Bound::Included(&path(2 * number + 1)), 1_000), paths[number + 1..]);
            let some = &paths[number..paths.len().min(number + 3)];
            assert_eq!(walked(Bound::Included(own), 3), some);
        }
    }

    #[test]
    fn a_fault_anywhere_is_told() {
        for bad in [0, 20, 39] {
            let mut entries = entries();
            entries[bad].0 = format!("nothing/{bad}");
            let told = reading(&entries).err().unwrap().to_string();
            assert!(told.contains(&format!("nothing/{bad}")), "{told}");
        }
        let none = reading(&[]).unwrap();
        assert!(none.0.is_empty() && none.1.live == 0);
    }
}
