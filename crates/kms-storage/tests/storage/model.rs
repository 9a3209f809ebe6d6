//! Random sequences of commits, reads and re-openings against an ordinary map.

use crate::support::{open, record};
use kms_storage::{Body, Commit, CommitError, MemoryStore, NewBody, RecordKey, RecordVersion, Store, Stored, Write};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tokio::runtime::Runtime;

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Attempt>),
    Scan { from: u64, limit: usize },
    Reopen,
}

#[derive(Clone, Debug)]
struct Attempt {
    number: u64,
    /// How far the expected version lies beside the true one.
    error: u64,
    body: Option<Vec<u8>>,
}

type Model = BTreeMap<RecordKey, (u64, Option<Vec<u8>>)>;

fn attempt() -> impl Strategy<Value = Attempt> {
    let error = prop_oneof![9 => Just(0_u64), 1 => 1..3_u64];
    let body = prop_oneof![1 => Just(None), 4 => vec(any::<u8>(), 0..300).prop_map(Some)];
    (0..12_u64, error, body).prop_map(|(number, error, body)| Attempt { number, error, body })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => vec(attempt(), 1..5).prop_map(Step::Commit),
        3 => (0..12_u64, 1..15_usize).prop_map(|(from, limit)| Step::Scan { from, limit }),
        1 => Just(Step::Reopen),
    ]
}

/// Does a commit to the model; `false` when it must be refused.
fn apply(model: &mut Model, attempts: &[Attempt]) -> bool {
    let mut next = model.clone();
    for attempt in attempts {
        let key = record(0, attempt.number);
        let version = model.get(&key).map_or(0, |(version, _)| *version);
        let repeated = attempts.iter().filter(|other| other.number == attempt.number).count() > 1;
        if attempt.error > 0 || repeated {
            return false;
        }
        next.insert(key, (version + 1, attempt.body.clone()));
    }
    *model = next;
    true
}

fn stored(version: u64, body: &Option<Vec<u8>>) -> Stored {
    let body = body.as_ref().map_or(Body::Tombstone, |bytes| Body::Live(bytes.clone()));
    Stored { version: RecordVersion::new(version), body }
}

async fn check(store: &dyn Store, model: &Model) {
    for number in 0..12 {
        let key = record(0, number);
        let expected = model.get(&key).map_or(Stored::ABSENT, |(version, body)| stored(*version, body));
        assert_eq!(store.get(&key).await.unwrap(), expected, "{key}");
    }
}

async fn play<S: Store>(mut store: S, steps: Vec<Step>, reopen: impl AsyncFn(S) -> S) {
    let mut model = Model::new();
    let mut commits = 0;
    for step in steps {
        match step {
            Step::Commit(attempts) => {
                let writes = attempts
                    .iter()
                    .map(|attempt| {
                        let key = record(0, attempt.number);
                        let version = model.get(&key).map_or(0, |(version, _)| *version);
                        let body = attempt.body.clone().map_or(NewBody::Tombstone, NewBody::Live);
                        Write { key, expected: RecordVersion::new(version + attempt.error), body }
                    })
                    .collect();
                match (apply(&mut model, &attempts), store.commit(Commit::new(writes)).await) {
                    (true, Ok(durable)) => {
                        commits += 1;
                        assert_eq!(durable.revision().get(), commits);
                    }
                    (false, Err(CommitError::Conflict { .. } | CommitError::Malformed(_))) => {}
                    (expected, other) => panic!("expected {expected}, got {other:?}"),
                }
            }
            Step::Scan { from, limit } => {
                let page = store.scan("key/", Some(&record(0, from)), None, limit).await.unwrap();
                let all: Vec<_> = model
                    .range(record(0, from)..)
                    .filter(|(key, _)| **key != record(0, from))
                    .map(|(key, (version, body))| (key.clone(), stored(*version, body)))
                    .collect();
                assert_eq!(page.next.is_some(), all.len() > limit);
                assert_eq!(page.entries, all[..all.len().min(limit)]);
            }
            Step::Reopen => store = reopen(store).await,
        }
        check(&store, &model).await;
    }
    store.close().await.unwrap();
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(256))]
    #[test]
    fn memory_agrees_with_a_map(steps in vec(step(), 1..60)) {
        Runtime::new().unwrap().block_on(play(MemoryStore::new(), steps, async |store| store));
    }
}

proptest! {
    #![proptest_config(config(24))]
    #[test]
    fn sled_agrees_with_a_map(steps in vec(step(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        Runtime::new().unwrap().block_on(async {
            let store = open(folder.path()).await.unwrap();
            play(store, steps, async |store| {
                store.close().await.unwrap();
                open(folder.path()).await.unwrap()
            })
            .await;
        });
    }
}
