//! A key in several zones: what its origin does is so in the others, in the end and after every mishap.

use crate::cluster::Cluster;
use crate::zone::DAY;
use kms_lifecycle::{Command, Reach, Rejection, Status};
use kms_service::{FrameSender, KmsError};
use kms_types::DeletionDelay;
use std::time::Duration;

const GENEVA: usize = 0;
const FRANKFURT: usize = 1;
const ZURICH: usize = 2;

fn in_seven_days() -> Command {
    Command::ScheduleDeletion { delay: DeletionDelay::try_from(7).unwrap() }
}

#[tokio::test]
async fn a_replicated_key_works_in_every_zone_across_rotations() {
    let cluster = Cluster::running().await;
    let [geneva, frankfurt, zurich] = [GENEVA, FRANKFURT, ZURICH].map(|number| &cluster.sites[number]);
    let id = geneva.create("k1", Reach::MultiZone).await.unwrap().id();
    let old = geneva.encrypt(id, b"old").unwrap();
    assert_eq!(frankfurt.get(id).err(), Some(KmsError::KeyNotFound));
    let key = geneva.replicate(id, "de-fra-1").await.unwrap();
    assert_eq!(key.revision().seq.get(), 2);
    cluster.settled(GENEVA, id).await;
    assert_eq!(frankfurt.decrypt(id, &old).unwrap(), b"old");
    assert_eq!(zurich.get(id).err(), Some(KmsError::KeyNotFound), "only where it was asked for");

    geneva.replicate(id, "ch-dk-2").await.unwrap();
    geneva.change(id, Command::Rotate).await.unwrap();
    cluster.settled(GENEVA, id).await;
    for site in [frankfurt, zurich] {
        let there = site.get(id).unwrap();
        assert!(there.is_replica_from(&geneva.name));
        assert_eq!(there.versions(), geneva.get(id).unwrap().versions());
        assert_eq!(site.decrypt(id, &old).unwrap(), b"old");
        let new = site.encrypt(id, b"new").unwrap();
        assert_eq!(geneva.decrypt(id, &new).unwrap(), b"new");
        assert!(site.replica_status(id).is_empty());
    }
    let status = geneva.replica_status(id);
    assert_eq!(status.iter().map(|one| one.last_applied.get()).collect::<Vec<_>>(), [4, 4]);
}

/// The links' own TLS aside: what is said inside it is sealed to the target zone.
#[tokio::test]
async fn no_frame_shows_material_or_names() {
    let cluster = Cluster::running().await;
    let geneva = &cluster.sites[GENEVA];
    let id = geneva.create_everywhere("a telling name").await;
    geneva.change(id, Command::Rotate).await.unwrap();
    cluster.settled(GENEVA, id).await;
    let frames: Vec<u8> = cluster.requests.lock().unwrap().iter().flat_map(|request| request.frame.clone()).collect();
    assert!(frames.windows(16).any(|window| window == id.as_bytes()), "frames name the key they are about");
    let drawn: Vec<_> = geneva.entropy.given().into_iter().filter(|given| given.len() == 32).collect();
    assert!(drawn.len() >= 2, "two versions of material were made");
    let secrets = drawn.iter().flat_map(|given| given.windows(16)).chain([&b"a telling name"[..]]);
    for secret in secrets {
        assert!(!frames.windows(secret.len()).any(|window| window == secret), "{secret:?}");
    }
}

#[tokio::test]
async fn each_zone_enables_and_disables_for_itself() {
    let cluster = Cluster::running().await;
    let [geneva, frankfurt, zurich] = [GENEVA, FRANKFURT, ZURICH].map(|number| &cluster.sites[number]);
    let id = geneva.create_everywhere("k1").await;
    cluster.settled(GENEVA, id).await;
    let made = geneva.encrypt(id, b"x").unwrap();
    frankfurt.change(id, Command::Disable).await.unwrap();
    assert_eq!(frankfurt.decrypt(id, &made).err(), Some(KmsError::Rejected(Rejection::KeyDisabled)));
    geneva.change(id, Command::Rotate).await.unwrap();
    cluster.settled(GENEVA, id).await;
    assert!(matches!(frankfurt.get(id).unwrap().status(), Status::Disabled { .. }), "a rotation does not enable");
    assert_eq!(frankfurt.get(id).unwrap().versions().len(), 2, "but it comes");
    geneva.change(id, Command::Disable).await.unwrap();
    cluster.settled(GENEVA, id).await;
    assert_eq!(zurich.decrypt(id, &made).unwrap(), b"x", "nor does the origin disable a replica");
    frankfurt.change(id, Command::Enable).await.unwrap();
    assert_eq!(frankfurt.decrypt(id, &made).unwrap(), b"x");

    let refused = [Command::Rotate, Command::DisableRotation, in_seven_days(), Command::CancelDeletion];
    for command in refused {
        let outcome = frankfurt.change(id, command.clone()).await.err();
        assert_eq!(outcome, Some(KmsError::Rejected(Rejection::NotOnReplica)), "{command:?}");
    }
    let on_replica = frankfurt.replicate(id, "ch-dk-2").await.err();
    assert_eq!(on_replica, Some(KmsError::Rejected(Rejection::NotOnReplica)));
}

#[tokio::test]
async fn where_a_key_can_be_replicated_to() {
    let cluster = Cluster::running().await;
    let geneva = &cluster.sites[GENEVA];
    let single = geneva.create("single", Reach::SingleZone).await.unwrap().id();
    let multi = geneva.create("multi", Reach::MultiZone).await.unwrap().id();
    geneva.change(multi, Command::Disable).await.unwrap();
    geneva.replicate(multi, "de-fra-1").await.unwrap();
    let refusals = [
        (single, "de-fra-1", KmsError::Rejected(Rejection::NotMultiZone)),
        (multi, "de-fra-1", KmsError::Rejected(Rejection::AlreadyReplicated)),
        (multi, "ch-gva-2", KmsError::InvalidTargetZone),
        (multi, "at-vie-1", KmsError::InvalidTargetZone),
    ];
    for (id, target, expected) in refusals {
        assert_eq!(geneva.replicate(id, target).await.err(), Some(expected), "{target}");
    }
    cluster.settled(GENEVA, multi).await;
    let there = cluster.sites[FRANKFURT].get(multi).unwrap();
    assert!(matches!(there.status(), Status::Disabled { .. }), "the first copy of a disabled key is disabled");
    geneva.change(multi, in_seven_days()).await.unwrap();
    let pending = geneva.replicate(multi, "ch-dk-2").await.err();
    assert_eq!(pending, Some(KmsError::Rejected(Rejection::KeyPendingDeletion)));
}

#[tokio::test]
async fn a_deletion_reaches_all_zones_and_its_cancellation_leaves_them_disabled() {
    let cluster = Cluster::running().await;
    let [geneva, frankfurt, _] = [GENEVA, FRANKFURT, ZURICH].map(|number| &cluster.sites[number]);
    let id = geneva.create_everywhere("k1").await;
    let made = geneva.encrypt(id, b"x").unwrap();
    geneva.change(id, in_seven_days()).await.unwrap();
    cluster.settled(GENEVA, id).await;
    let pending = Some(KmsError::Rejected(Rejection::KeyPendingDeletion));
    assert_eq!(frankfurt.decrypt(id, &made).err(), pending);
    assert_eq!(frankfurt.change(id, Command::Enable).await.err(), pending);
    assert_eq!(frankfurt.get(id).unwrap().status(), geneva.get(id).unwrap().status(), "the same date");

    geneva.change(id, Command::CancelDeletion).await.unwrap();
    geneva.change(id, Command::Enable).await.unwrap();
    cluster.settled(GENEVA, id).await;
    assert!(matches!(frankfurt.get(id).unwrap().status(), Status::Disabled { .. }));
    frankfurt.change(id, Command::Enable).await.unwrap();
    assert_eq!(frankfurt.decrypt(id, &made).unwrap(), b"x");
}

#[tokio::test]
async fn a_cancellation_disables_also_the_replica_that_never_saw_the_deletion() {
    let mut cluster = Cluster::running().await;
    let id = cluster.sites[GENEVA].create_everywhere("k1").await;
    cluster.settled(GENEVA, id).await;
    cluster.cut(GENEVA, FRANKFURT);
    let geneva = &cluster.sites[GENEVA];
    for command in [in_seven_days(), Command::CancelDeletion, Command::Enable] {
        geneva.change(id, command).await.unwrap();
    }
    assert!(matches!(cluster.sites[FRANKFURT].get(id).unwrap().status(), Status::Enabled { .. }));
    cluster.link(GENEVA, FRANKFURT);
    cluster.settled(GENEVA, id).await;
    let status = |number: usize| *cluster.sites[number].get(id).unwrap().status();
    assert!(matches!((status(FRANKFURT), status(ZURICH)), (Status::Disabled { .. }, Status::Disabled { .. })));
}

#[tokio::test]
async fn a_final_deletion_is_final_everywhere_and_frees_the_name() {
    let mut cluster = Cluster::running().await;
    let id = cluster.sites[GENEVA].create_everywhere("k1").await;
    cluster.settled(GENEVA, id).await;
    let last_state = cluster.requests.lock().unwrap().clone();
    let made = cluster.sites[GENEVA].encrypt(id, b"x").unwrap();
    cluster.cut(GENEVA, ZURICH);
    cluster.sites[GENEVA].change(id, in_seven_days()).await.unwrap();
    cluster.sites[GENEVA].time.run(7 * DAY);
    cluster.sites[GENEVA].kms().run_due_work().await;
    let frankfurt_has_room = || cluster.sites[FRANKFURT].encrypt(id, b"x").err() == Some(KmsError::KeyNotFound);
    cluster.until(frankfurt_has_room).await;
    assert_eq!(cluster.sites[ZURICH].decrypt(id, &made).unwrap(), b"x", "it does not know yet");

    // Frankfurt refuses the key by its date; its confirmation of the tombstone may come later. Zurich is still to be told.
    cluster.until(|| behind_of(&cluster, GENEVA) == 1).await;
    assert!(cluster.sites[GENEVA].create("k1", Reach::SingleZone).await.is_ok(), "the deletion is done");

    // The origin remembers over a restart whom it has to tell.
    cluster.crash(GENEVA).await;
    cluster.until(|| cluster.sites[ZURICH].get(id).err() == Some(KmsError::KeyNotFound)).await;
    cluster.until(|| behind_of(&cluster, GENEVA) == 0).await;
    for number in [FRANKFURT, ZURICH] {
        cluster.sites[number].create("k1", Reach::SingleZone).await.unwrap();
    }
    for number in [GENEVA, FRANKFURT, ZURICH] {
        cluster.crash(number).await;
        assert_eq!(cluster.sites[number].get(id).err(), Some(KmsError::KeyNotFound));
    }

    // What was said before does not bring it back.
    let geneva = cluster.sites[GENEVA].name.clone();
    for old in last_state {
        let target = cluster.sites.iter().find(|site| site.name == old.to).unwrap();
        let (outgoing, _answers) = FrameSender::channel(1);
        target.endpoint().replica_received(&geneva, old.frame, &outgoing).await.unwrap();
        assert_eq!(target.get(id).err(), Some(KmsError::KeyNotFound));
    }
    // Retired: another start has nothing to ask.
    cluster.requests.lock().unwrap().clear();
    cluster.crash(GENEVA).await;
    assert_eq!(behind_of(&cluster, GENEVA), 0);
    assert!(cluster.requests.lock().unwrap().is_empty());
}

fn behind_of(cluster: &Cluster, number: usize) -> usize {
    cluster.sites[number].kms().replication_lag().iter().map(|(_, lag)| lag.keys()).sum()
}

#[tokio::test]
async fn restarts_of_either_side_lose_nothing() {
    let mut cluster = Cluster::running().await;
    let id = cluster.sites[GENEVA].create_everywhere("k1").await;
    for number in [GENEVA, FRANKFURT, ZURICH, GENEVA, FRANKFURT] {
        cluster.sites[GENEVA].change(id, Command::Rotate).await.unwrap();
        cluster.crash(number).await;
        assert_eq!(cluster.sites[GENEVA].replica_status(id).len(), 2);
    }
    cluster.settled(GENEVA, id).await;
    let key = cluster.sites[GENEVA].get(id).unwrap();
    assert_eq!(key.revision().seq.get(), 8);
    for number in [FRANKFURT, ZURICH] {
        let there = cluster.sites[number].get(id).unwrap();
        assert_eq!((there.origin_revision(), there.versions()), (key.revision().seq, key.versions()));
    }
    // At rest, a restarted origin learns all watermarks by asking, without sending a state.
    cluster.requests.lock().unwrap().clear();
    cluster.crash(GENEVA).await;
    cluster.settled(GENEVA, id).await;
    let requests = cluster.requests.lock().unwrap();
    assert!(requests.iter().all(|request| request.frame.len() < 64), "only questions");
}

#[tokio::test]
async fn a_zone_that_is_away_holds_nobody_up_and_catches_up() {
    let mut cluster = Cluster::running().await;
    cluster.cut_all_of(ZURICH);
    let mut ids = Vec::new();
    for number in 0..150 {
        ids.push(cluster.sites[GENEVA].create_everywhere(&format!("k{number}")).await);
    }
    let watermark = |cluster: &Cluster, id, zone: usize| {
        let status = cluster.sites[GENEVA].replica_status(id);
        status.into_iter().find(|one| one.zone == cluster.sites[zone].name).unwrap().last_applied.get()
    };
    cluster.until(|| ids.iter().all(|id| watermark(&cluster, *id, FRANKFURT) == 3)).await;
    assert!(ids.iter().all(|id| watermark(&cluster, *id, ZURICH) == 0));
    let error = cluster.sites[GENEVA].failure(ids[0], "ch-dk-2");
    assert_eq!(error.as_deref(), Some("the target zone cannot be reached: the test cut it"));
    assert_eq!(behind_of(&cluster, GENEVA), 150);
    cluster.link_all();
    cluster.until(|| ids.iter().all(|id| watermark(&cluster, *id, ZURICH) == 3)).await;
    assert_eq!(behind_of(&cluster, GENEVA), 0);
}

#[tokio::test]
async fn a_zone_stops_in_good_order_with_its_links_up() {
    let mut cluster = Cluster::running().await;
    cluster.sites[GENEVA].create_everywhere("k1").await;
    let endpoint = cluster.sites[GENEVA].endpoint();
    let frankfurt = cluster.sites[FRANKFURT].name.clone();
    tokio::time::timeout(Duration::from_secs(60), cluster.sites[GENEVA].stop()).await.unwrap();
    let (outgoing, _answers) = FrameSender::channel(1);
    assert!(endpoint.replica_received(&frankfurt, vec![1, 0], &outgoing).await.is_err());
}

#[tokio::test]
async fn the_material_is_not_readable_on_the_way() {
    let cluster = Cluster::running().await;
    let id = cluster.sites[GENEVA].create_everywhere("a name to look for").await;
    cluster.settled(GENEVA, id).await;
    let requests = cluster.requests.lock().unwrap();
    assert!(requests.iter().any(|request| request.frame.len() > 1_000), "states went by");
    let name = b"a name to look for";
    assert!(requests.iter().all(|request| !request.frame.windows(name.len()).any(|window| window == name)));
}
