//! A server's calls beside the same bytes in and out of a server that does nothing.

use crate::servers::{Noop, Serve, wire};
use crate::{ROUNDS, closed, kind, visit};
use kms_load::{Fixed, LoadKind, Operation, Pace, Session};
use std::sync::Arc;
use std::time::Duration;

/// What the rounds found.
#[derive(Default)]
pub(crate) struct Beside {
    /// The server's rates.
    pub(crate) rates: Vec<f64>,
    /// Its rate as a share of the no-op's.
    pub(crate) ratios: Vec<f64>,
    /// The no-op's processor time for a request as a share of the server's: what the ratio would be if nothing else took time.
    pub(crate) cpu_ratios: Vec<f64>,
}

/// Both in turn.
pub(crate) fn beside(session: &mut Session, serve: &Serve, noop: &Noop, kind: &LoadKind) -> Beside {
    let (mut other, other_kind) = same_sizes(session, noop, kind);
    let mut found = Beside::default();
    for round in 0..ROUNDS {
        let mut ours = || closed(session, kind, serve.process());
        let mut theirs = || closed(&mut other, &other_kind, noop.process());
        // Whoever comes first may be luckier: they take turns.
        let (own, no_op) = if round % 2 == 0 {
            let own = ours();
            (own, theirs())
        } else {
            let no_op = theirs();
            (ours(), no_op)
        };
        found.rates.push(own.per_second);
        found.ratios.push(own.per_second / no_op.per_second);
        found.cpu_ratios.push(no_op.cpu_us / own.cpu_us);
    }
    found
}

/// A session and a kind of load with which the no-op gets requests as long as those of `kind`, and gives answers as long as
/// `session` gave to them.
fn same_sizes(session: &mut Session, noop: &Noop, load: &LoadKind) -> (Session, LoadKind) {
    let first = visit(Pace::Closed, Duration::from_millis(100), None);
    let answer = |session: &mut Session, kind: &LoadKind| {
        let visit = session.visit(kind, &first, &mut |_| {}).unwrap();
        assert!(visit.failed == 0 && visit.answered > 0, "{:?}", visit.failures);
        whole(visit.answer_bytes)
    };
    let bytes = answer(session, load);
    let size = if load.mix.has(Operation::Decrypt) {
        // The ciphertext goes in: as many characters of base64 as the answer to an encrypt call has within its JSON.
        let ciphertext =
            answer(session, &kind(Operation::Encrypt, load.size, load.keys)) - "{\"ciphertext\":\"\"}".len();
        ciphertext / 4 * 3
    } else {
        load.size
    };
    let path = format!("/v2/kms-key/{}/encrypt", session.keys()[0].as_str());
    let endpoint = noop.endpoint(bytes, path.len());
    let other = Session::new(
        "no-op".to_owned(),
        Arc::new(Fixed::new(&endpoint)),
        wire(&endpoint),
        Vec::new(),
        "noop".to_owned(),
    );
    (other, kind(Operation::Encrypt, size, 1))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean of sizes is positive and small")]
fn whole(mean: f64) -> usize {
    mean.round() as usize
}
