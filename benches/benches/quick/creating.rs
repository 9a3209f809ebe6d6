//! Keys made by many clients at once, beside what one writer alone can make durable on the same disk.

use crate::goals::{Goal, Row};
use crate::servers::{Place, Serve};
use crate::{closed, kind};
use kms_load::{Operation, Session};
use std::io::Write;
use std::time::{Duration, Instant};

/// About what a key's record is, in bytes.
const RECORD: usize = 400;

pub(crate) fn row(session: &mut Session, serve: &Serve, place: &Place) -> Row {
    let rounds = (0..5).map(|_| {
        let alone = appends_per_second(place);
        closed(session, &kind(Operation::CreateKey, 32, 1), serve.process()).per_second / alone
    });
    Row::new("create by 32 clients, of durable appends".to_owned(), Goal::AtLeast(3.0), rounds.collect())
}

/// Append and `fdatasync`, again and again for a second.
fn appends_per_second(place: &Place) -> f64 {
    let mut file = tempfile::tempfile_in(place.target()).unwrap();
    let record = [7; RECORD];
    let began = Instant::now();
    let mut appends = 0;
    while began.elapsed() < Duration::from_secs(1) {
        file.write_all(&record).unwrap();
        file.sync_data().unwrap();
        appends += 1;
    }
    f64::from(appends) / began.elapsed().as_secs_f64()
}
