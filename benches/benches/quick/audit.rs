//! What the audit log of crypto calls costs.

use crate::goals::{Goal, Row};
use crate::servers::{CryptoCalls, Place, Processors, Serve};
use crate::{ROUNDS, SERVER_CPU, closed, kind};
use kms_load::{Operation, Session};

/// A server that tells every call, beside `serve`, which tells none.
pub(crate) fn row(untold: &mut Session, serve: &Serve, place: &Place) -> Row {
    let directory = tempfile::Builder::new().prefix("bench-quick-").tempdir_in(place.target()).unwrap();
    let telling = Serve::start(place, directory.path(), Processors::One(SERVER_CPU), CryptoCalls::Told);
    let mut told = telling.session(Vec::new());
    let kind = kind(Operation::Encrypt, 32, 1);
    let (mut rates, mut times) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut with = || closed(&mut told, &kind, telling.process());
        let mut without = || closed(untold, &kind, serve.process());
        let (with, without) = if round % 2 == 0 {
            let with = with();
            (with, without())
        } else {
            let without = without();
            (with(), without)
        };
        rates.push(with.per_second / without.per_second);
        times.push(without.cpu_us / with.cpu_us);
    }
    drop(told);
    telling.stop();
    Row::new("encrypt 32 B with every call told, of untold".to_owned(), Goal::AtLeast(0.85), rates).by_cpu_time(&times)
}
