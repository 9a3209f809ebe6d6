//! What a zone does not take from another, and what a failing store does to replication.

use crate::cluster::{Cluster, private_key};
use kms_crypto::{Entropy, TransferBinding};
use kms_lifecycle::{Command, Reach};
use kms_replication::{Answer, Message, Payload, RefusalReason, Request};
use kms_service::{FrameSender, KmsError};
use kms_testkit::{Fault, SeededEntropy};
use kms_types::{KeyId, Revision, ZoneName};

const GENEVA: usize = 0;
const FRANKFURT: usize = 1;
const ZURICH: usize = 2;

/// What the zone answers to a request that `from` sends.
async fn answer_to(cluster: &Cluster, zone: usize, from: &ZoneName, request: Request) -> Answer {
    let (outgoing, mut answers) = FrameSender::channel(1);
    let frame = Message::Request(request).encode().unwrap();
    cluster.sites[zone].endpoint().replica_received(from, frame, &outgoing).await.unwrap();
    match Message::decode(&answers.receive().await.unwrap()).unwrap() {
        Message::Answer(answer) => answer,
        Message::Request(request) => panic!("a request: {request:?}"),
    }
}

/// The last state of a key that went to a zone.
fn last_state(cluster: &Cluster, zone: usize) -> (KeyId, Revision, Payload) {
    let name = &cluster.sites[zone].name;
    let requests = cluster.requests.lock().unwrap();
    let state =
        requests.iter().rev().filter(|request| request.to == *name).find_map(|request| {
            match Message::decode(&request.frame).unwrap() {
                Message::Request(Request::State { key, revision, payload }) => Some((key, revision, payload)),
                Message::Request(Request::Ask { .. }) | Message::Answer(_) => None,
            }
        });
    state.unwrap()
}

fn state(key: KeyId, revision: u64, payload: Payload) -> Request {
    Request::State { key, revision: Revision::new(revision).unwrap(), payload }
}

fn refused(answer: &Answer) -> &RefusalReason {
    match answer {
        Answer::Refused { reason, .. } => reason,
        Answer::Have { .. } | Answer::Applied { .. } => panic!("taken: {answer:?}"),
    }
}

#[tokio::test]
async fn a_name_taken_there_and_a_quota_reached_there_are_told_and_resolve() {
    let mut cluster = Cluster::new();
    cluster.sites[ZURICH].keys_per_organisation = 1;
    for site in &mut cluster.sites {
        site.start().await;
    }
    cluster.link_all();
    let [geneva, frankfurt, zurich] = [GENEVA, FRANKFURT, ZURICH].map(|number| &cluster.sites[number]);
    let theirs = frankfurt.create("k1", Reach::SingleZone).await.unwrap().id();
    zurich.create("the only one", Reach::SingleZone).await.unwrap();
    let id = geneva.create_everywhere("k1").await;
    cluster.until(|| geneva.failure(id, "de-fra-1").is_some() && geneva.failure(id, "ch-dk-2").is_some()).await;
    assert_eq!(geneva.failure(id, "de-fra-1").unwrap(), "the key's name is taken in the target zone");
    assert_eq!(geneva.failure(id, "ch-dk-2").unwrap(), "the key quota is reached in the target zone");
    assert_eq!(frankfurt.get(id).err(), Some(KmsError::KeyNotFound));
    let status = geneva.replica_status(id);
    assert_eq!(status[0].last_failure.as_ref().unwrap().attempted.get(), 3);
    assert!(status.iter().all(|one| one.last_applied.get() == 0));

    let delay = kms_types::DeletionDelay::try_from(7).unwrap();
    frankfurt.change(theirs, Command::ScheduleDeletion { delay }).await.unwrap();
    geneva.time.run(7 * crate::zone::DAY);
    frankfurt.kms().run_due_work().await;
    geneva.change(id, Command::Rotate).await.unwrap();
    cluster.until(|| frankfurt.get(id).is_ok()).await;
    assert!(geneva.failure(id, "ch-dk-2").is_some());
}

#[tokio::test]
async fn an_organisation_that_is_unknown_there_is_told() {
    let mut cluster = Cluster::new();
    cluster.sites[GENEVA].organisations = vec!["globex"];
    for site in &mut cluster.sites {
        site.start().await;
    }
    cluster.link_all();
    let id = cluster.sites[GENEVA].create_everywhere("k1").await;
    let why = || cluster.sites[GENEVA].failure(id, "de-fra-1");
    cluster.until(|| why().is_some()).await;
    assert_eq!(why().unwrap(), "the target zone failed: organisation globex is not configured in the target zone");
}

#[tokio::test]
async fn only_the_origin_is_believed() {
    let cluster = Cluster::running().await;
    let [geneva, frankfurt, zurich] = [GENEVA, FRANKFURT, ZURICH].map(|number| &cluster.sites[number]);
    let id = geneva.create_everywhere("k1").await;
    cluster.settled(GENEVA, id).await;
    let before = frankfurt.get(id).unwrap();
    let (_, revision, payload) = last_state(&cluster, FRANKFURT);

    // Another zone sends the same bytes, as a later revision and as the one that is there.
    for number in [revision.get(), revision.get() + 1] {
        let answer = answer_to(&cluster, FRANKFURT, &zurich.name, state(id, number, payload.clone())).await;
        assert_eq!(refused(&answer), &RefusalReason::NotOrigin, "revision {number}");
    }
    let asked = answer_to(&cluster, FRANKFURT, &zurich.name, Request::Ask { key: id, revision }).await;
    assert_eq!(refused(&asked), &RefusalReason::NotOrigin, "and is not told what there is");
    // A zone claims a key of the zone it speaks to.
    let own = frankfurt.create("k2", Reach::MultiZone).await.unwrap().id();
    let answer = answer_to(&cluster, FRANKFURT, &zurich.name, state(own, 9, payload.clone())).await;
    assert_eq!(refused(&answer), &RefusalReason::NotOrigin);

    // The origin itself: an old state is answered with what is there, an altered or misdirected one is not readable.
    let old = answer_to(&cluster, FRANKFURT, &geneva.name, state(id, 2, payload.clone())).await;
    assert_eq!(old, Answer::Applied { key: id, revision });
    let mut bytes = payload.as_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let altered = Payload::new(bytes).unwrap();
    let (_, _, of_zurich) = last_state(&cluster, ZURICH);
    for wrong in [payload, altered, of_zurich] {
        let answer = answer_to(&cluster, FRANKFURT, &geneva.name, state(id, revision.get() + 1, wrong)).await;
        assert_eq!(refused(&answer), &RefusalReason::Malformed);
    }
    assert_eq!(frankfurt.get(id).unwrap(), before);

    let stranger: ZoneName = "at-vie-1".parse().unwrap();
    let (outgoing, _answers) = FrameSender::channel(1);
    let frame = Message::Request(Request::Ask { key: id, revision }).encode().unwrap();
    assert!(frankfurt.endpoint().replica_received(&stranger, frame.clone(), &outgoing).await.is_err());
    assert!(
        frankfurt.endpoint().origin_received(&geneva.name, frame).await.is_err(),
        "a request where answers are due"
    );
    assert!(frankfurt.endpoint().replica_received(&geneva.name, vec![1, 2, 3], &outgoing).await.is_err());
}

#[tokio::test]
async fn a_sealed_state_counts_for_its_own_key_revision_and_origin_only() {
    let cluster = Cluster::running().await;
    let [geneva, frankfurt, zurich] = [GENEVA, FRANKFURT, ZURICH].map(|number| &cluster.sites[number]);
    let id = geneva.create("k1", Reach::MultiZone).await.unwrap().id();
    geneva.replicate(id, "de-fra-1").await.unwrap();
    cluster.settled(GENEVA, id).await;
    let (_, revision, payload) = last_state(&cluster, FRANKFURT);
    let binding = |origin, target, key, revision| TransferBinding { origin, target, key, revision };
    let opened =
        private_key(FRANKFURT).open(&binding(&geneva.name, &frankfurt.name, id, revision), payload.as_bytes()).unwrap();
    let sealed = |origin, key, revision| {
        let public = private_key(ZURICH).public_key();
        let entropy = SeededEntropy::new(5);
        let sealed = public.seal(&binding(origin, &zurich.name, key, revision), opened.expose(), &entropy).unwrap();
        entropy.fill(&mut [0; 8]).unwrap();
        Payload::new(sealed).unwrap()
    };
    // A zone that can read a key sells it as its own, as another key, or as another revision: well sealed, but not so.
    let other = KeyId::from_bytes([9; 16]);
    let later = revision.next().unwrap();
    for (from, key, revision) in
        [(&frankfurt.name, id, revision), (&geneva.name, other, revision), (&geneva.name, id, later)]
    {
        let request = Request::State { key, revision, payload: sealed(from, key, revision) };
        let answer = answer_to(&cluster, ZURICH, from, request).await;
        assert_eq!(refused(&answer), &RefusalReason::Malformed);
        assert_eq!(zurich.get(key).err(), Some(KmsError::KeyNotFound));
    }
    let request = Request::State { key: id, revision, payload: sealed(&geneva.name, id, revision) };
    assert_eq!(answer_to(&cluster, ZURICH, &geneva.name, request).await, Answer::Applied { key: id, revision });
}

#[tokio::test]
async fn faults_of_either_store_delay_and_lose_nothing() {
    for fault in [Fault::UnknownApplied, Fault::UnknownNotApplied, Fault::ReadOnly] {
        let cluster = Cluster::running().await;
        let [geneva, frankfurt, _] = [GENEVA, FRANKFURT, ZURICH].map(|number| &cluster.sites[number]);
        let id = geneva.create("k1", Reach::MultiZone).await.unwrap().id();
        frankfurt.store.fail_next(fault.clone());
        geneva.replicate(id, "de-fra-1").await.unwrap();
        if fault == Fault::ReadOnly {
            cluster.until(|| geneva.failure(id, "de-fra-1").is_some()).await;
            assert_eq!(geneva.replica_status(id)[0].last_applied.get(), 0, "nothing is confirmed that is not stored");
            frankfurt.store.heal();
        }
        cluster.settled(GENEVA, id).await;
        for failing in [frankfurt, geneva] {
            failing.store.fail_next(fault.clone());
            let _unknown = geneva.change(id, Command::Rotate).await;
            failing.store.heal();
            geneva.change(id, Command::Rotate).await.unwrap();
            cluster.settled(GENEVA, id).await;
            assert_eq!(frankfurt.get(id).unwrap().versions(), geneva.get(id).unwrap().versions(), "{fault:?}");
            let made = frankfurt.encrypt(id, b"x").unwrap();
            assert_eq!(geneva.decrypt(id, &made).unwrap(), b"x");
        }
        frankfurt.store.fail_next(fault.clone());
        let delay = kms_types::DeletionDelay::try_from(7).unwrap();
        geneva.change(id, Command::ScheduleDeletion { delay }).await.unwrap();
        frankfurt.store.heal();
        cluster.settled(GENEVA, id).await;
        geneva.time.run(7 * crate::zone::DAY);
        frankfurt.store.fail_next(fault.clone());
        geneva.kms().run_due_work().await;
        let behind = || geneva.kms().replication_lag().iter().map(|(_, lag)| lag.keys()).sum::<usize>();
        let caught_up = || {
            // The other zone's commit may come, and fail, at any time from now on.
            frankfurt.store.heal();
            behind() == 0
        };
        cluster.until(caught_up).await;
        assert_eq!(frankfurt.get(id).err(), Some(KmsError::KeyNotFound), "{fault:?}");
        frankfurt.create("k1", Reach::SingleZone).await.unwrap();
    }
}

#[tokio::test]
async fn a_change_of_unknown_outcome_is_told_once_it_is_known() {
    let cluster = Cluster::running().await;
    let geneva = &cluster.sites[GENEVA];
    let id = geneva.create_everywhere("k1").await;
    cluster.settled(GENEVA, id).await;
    geneva.store.fail_next(Fault::UnknownApplied);
    assert_eq!(geneva.change(id, Command::Disable).await.err(), Some(KmsError::OutcomeUnknown));
    let key = geneva.change(id, Command::Disable).await.unwrap();
    assert_eq!(key.revision().seq.get(), 4, "it was made the first time");
    cluster.settled(GENEVA, id).await;
    assert_eq!(cluster.sites[FRANKFURT].get(id).unwrap().origin_revision().get(), 4);
}

#[tokio::test]
async fn the_clock_of_another_zone_moves_nothing_here() {
    let mut cluster = Cluster::new();
    cluster.sites[GENEVA].time = kms_testkit::FakeTime::at(crate::zone::START.plus_days(3_000));
    for site in &mut cluster.sites {
        site.start().await;
    }
    cluster.link_all();
    let id = cluster.sites[GENEVA].create_everywhere("k1").await;
    cluster.settled(GENEVA, id).await;
    cluster.crash(FRANKFURT).await;
    let now = cluster.sites[FRANKFURT].kms().clock().now;
    assert!(now < crate::zone::START.plus_days(1), "{now}");
    assert!(cluster.sites[FRANKFURT].get(id).unwrap().created_at() > now);
}
