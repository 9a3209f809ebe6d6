//! The state machine of a key: what a decision and a permit cost. Every crypto call needs a permit.
//!
//! ```text
//! cargo bench -p zonekms-benches --bench lifecycle
//! ```

use criterion::{Criterion, criterion_group, criterion_main};
use kms_lifecycle::{
    Command, Decision, Key, Kind, NewKey, Reach, Usage, decide, next_due, permit_decrypt, permit_encrypt,
};
use kms_types::{DeletionDelay, Description, KeyId, MaterialVersion, Timestamp};
use std::hint::black_box;

const CREATED: Timestamp = Timestamp::from_nanos(1_790_000_000_000_000_000);
const NOW: Timestamp = Timestamp::from_nanos(1_790_000_001_000_000_000);

fn permits(criterion: &mut Criterion) {
    let key = key();
    criterion.bench_function("permit to encrypt", |bencher| {
        bencher.iter(|| permit_encrypt(black_box(&key), NOW).expect("an enabled key"));
    });
    criterion.bench_function("permit to decrypt", |bencher| {
        bencher.iter(|| permit_decrypt(black_box(&key), MaterialVersion::FIRST, NOW).expect("an enabled key"));
    });
    criterion.bench_function("what is due next", |bencher| bencher.iter(|| next_due(black_box(&key))));
}

fn decisions(criterion: &mut Criterion) {
    let key = key();
    let commands = [
        ("disable", Command::Disable),
        ("rotate", Command::Rotate),
        ("schedule deletion", Command::ScheduleDeletion { delay: DeletionDelay::DEFAULT }),
    ];
    for (name, command) in commands {
        criterion.bench_function(&format!("decide and apply: {name}"), |bencher| {
            bencher.iter(|| match decide(black_box(&key), &command, NOW) {
                Ok(Decision::Change(change)) => key.apply(&change).expect("a change of this very key"),
                Ok(Decision::AlreadyApplied) | Err(_) => unreachable!("{name} changes an enabled key"),
            });
        });
    }
}

fn key() -> Key {
    let new = NewKey {
        id: KeyId::from_bytes([7; 16]),
        organisation: "acme".parse().expect("a name"),
        name: "k1".parse().expect("a name"),
        description: Description::default(),
        usage: Usage::EncryptDecrypt,
        zone: "ch-gva-2".parse().expect("a zone"),
        multi_zone: Reach::SingleZone,
        kind: Kind::Ordinary,
    };
    Key::create(new, CREATED)
}

criterion_group!(benches, permits, decisions);
criterion_main!(benches);
