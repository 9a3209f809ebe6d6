//! A server with 100,000 keys: whether it is as fast with all of them as with one.

use crate::goals::{Goal, Row};
use crate::servers::{CryptoCalls, Place, Processors, Serve};
use crate::{ROUNDS, SERVER_CPU, closed, kind};
use kms_load::{KeyHandle, LoadKind, Operation};
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const KEYS: usize = 100_000;

/// A data directory with that many keys, and their ids.
pub(crate) struct Prepared {
    pub(crate) directory: PathBuf,
    keys: Vec<KeyHandle>,
}

/// Takes the directory of an earlier run, or makes one through the API.
pub(crate) fn prepare(place: &Place) -> Prepared {
    let directory = place.target().join("bench-data/100k-keys");
    let ids = directory.join("ids");
    if let Ok(text) = fs::read_to_string(&ids) {
        // Made by another version, it may not open any more: then it is made anew.
        if let Ok(serve) = Serve::try_start(place, &directory, Processors::One(SERVER_CPU), CryptoCalls::Untold) {
            serve.stop();
            return Prepared { keys: text.lines().map(KeyHandle::new).collect(), directory };
        }
    }
    make(place, &directory, &ids);
    Prepared { keys: fs::read_to_string(&ids).unwrap().lines().map(KeyHandle::new).collect(), directory }
}

fn make(place: &Place, directory: &Path, ids: &Path) {
    println!("making {KEYS} keys in {}", directory.display());
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).unwrap();
    let serve = Serve::start(place, directory, Processors::One(SERVER_CPU), CryptoCalls::Untold);
    let mut session = serve.session(Vec::new());
    session.prepare(&kind(Operation::Encrypt, 32, KEYS), &mut |_, _, _| {}).unwrap();
    let text: Vec<&str> = session.keys().iter().map(KeyHandle::as_str).collect();
    serve.stop();
    // Last: its being there says that all is.
    fs::write(ids, text.join("\n")).unwrap();
}

pub(crate) fn rows(prepared: &Prepared, place: &Place) -> Vec<Row> {
    let serve = Serve::start(place, &prepared.directory, Processors::One(SERVER_CPU), CryptoCalls::Untold);
    let mut session = serve.session(prepared.keys.clone());
    let ratios = (0..ROUNDS).map(|round| {
        let all = kind(Operation::Encrypt, 32, KEYS);
        // As many different requests, so that the keys alone differ.
        let one = LoadKind { requests: KEYS, ..kind(Operation::Encrypt, 32, 1) };
        let mut rate = |kind| closed(&mut session, kind, serve.process()).per_second;
        if round % 2 == 0 {
            let all = rate(&all);
            all / rate(&one)
        } else {
            let one = rate(&one);
            rate(&all) / one
        }
    });
    let row = Row::new("encrypt on 100,000 keys, of one hot key".to_owned(), Goal::AtLeast(0.9), ratios.collect());
    drop(session);
    serve.stop();
    vec![row]
}
