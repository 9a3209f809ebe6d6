//! A model of the look-up under every schedule that shuttle tries: state and material in one snapshot, replaced before the
//! answer. The same model with the state checked first and the material fetched second is caught, so the model can fail.

use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::{Arc, Mutex};
use shuttle::{check_random, thread};

const SCHEDULES: usize = 5_000;

/// A key's state with its material, as `Snapshot` holds them.
#[derive(Clone, Copy)]
struct Snapshot {
    enabled: bool,
    material: u8,
}

/// The cell whose snapshot is replaced as a whole. shuttle knows no `ArcSwap`; a mutex held for one load or store makes the
/// same steps.
struct Cell(Mutex<Snapshot>);

impl Cell {
    fn look(&self) -> Snapshot {
        *self.0.lock().unwrap()
    }

    fn publish(&self, snapshot: Snapshot) {
        *self.0.lock().unwrap() = snapshot;
    }
}

fn one_look(cell: &Cell) -> Option<u8> {
    let snapshot = cell.look();
    snapshot.enabled.then_some(snapshot.material)
}

fn two_looks(cell: &Cell) -> Option<u8> {
    if !cell.look().enabled {
        return None;
    }
    Some(cell.look().material)
}

/// One thread disables the key and replaces its material with what must never be used; another uses the key.
fn race(look: fn(&Cell) -> Option<u8>) {
    const GOOD: u8 = 1;
    const FORBIDDEN: u8 = 2;
    let cell = Arc::new(Cell(Mutex::new(Snapshot { enabled: true, material: GOOD })));
    let answered = Arc::new(AtomicBool::new(false));
    let disabling = {
        let (cell, answered) = (Arc::clone(&cell), Arc::clone(&answered));
        thread::spawn(move || {
            cell.publish(Snapshot { enabled: false, material: FORBIDDEN });
            answered.store(true, Ordering::SeqCst);
        })
    };
    let begun_after_the_answer = answered.load(Ordering::SeqCst);
    let used = look(&cell);
    assert_ne!(used, Some(FORBIDDEN), "material and state belong to one snapshot");
    assert!(!(begun_after_the_answer && used.is_some()), "an answered disable stops every later use");
    disabling.join().unwrap();
}

#[test]
fn one_look_is_consistent() {
    check_random(|| race(one_look), SCHEDULES);
}

#[test]
#[should_panic(expected = "material and state belong to one snapshot")]
fn two_looks_are_caught() {
    check_random(|| race(two_looks), SCHEDULES);
}
