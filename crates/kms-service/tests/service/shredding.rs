//! Deleted material is gone, everything else stays, and a pass may fail or end anywhere.

use crate::cluster::{Cluster, Site};
use crate::zone::{DAY, World, Zone};
use kms_crypto::{EpochId, Keyring, MacKey, RootKey};
use kms_lifecycle::Command;
use kms_service::{FrameSender, KmsError, ShredError};
use kms_storage::{Body, ManifestKey, RecordKey, RecordVersion, SledPaths, SledStore, Store};
use kms_testkit::{Fault, FaultyStore, VaultFault};
use kms_types::{DeletionDelay, KeyId};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Keys that stay, each with what was encrypted under each of its versions.
struct Kept(Vec<(KeyId, Vec<Vec<u8>>)>);

impl Kept {
    async fn make(zone: &Zone, number: usize) -> Self {
        let mut kept = Vec::new();
        for key in 0..number {
            let id = zone.create(&format!("kept-{key}")).await.unwrap().id();
            let mut made = vec![zone.encrypt(id, b"kept").unwrap()];
            for _ in 0..key % 3 {
                zone.change(id, Command::Rotate).await.unwrap();
                made.push(zone.encrypt(id, b"kept").unwrap());
            }
            kept.push((id, made));
        }
        Self(kept)
    }

    fn check(&self, zone: &Zone) {
        for (id, made) in &self.0 {
            for ciphertext in made {
                assert_eq!(zone.decrypt(*id, ciphertext).unwrap(), b"kept");
            }
            assert!(zone.encrypt(*id, b"more").is_ok());
        }
    }
}

/// A zone whose store is there for the next start after a stop.
async fn a_zone(world: &World) -> Zone {
    world.store.outlive_its_user();
    world.start().await
}

/// The zone as the next process finds it.
async fn restarted(world: &World, zone: Zone) -> Zone {
    zone.running.stop().await.unwrap();
    world.start().await
}

async fn delete_for_good(world: &World, zone: &Zone, id: KeyId) {
    zone.change(id, Command::ScheduleDeletion { delay: DeletionDelay::try_from(7).unwrap() }).await.unwrap();
    world.time.run(8 * DAY);
    zone.kms.run_due_work().await;
    assert_eq!(zone.get(id).err(), Some(KmsError::KeyNotFound));
}

/// The epochs that records are sealed under, each of which opens its records with the kept keyring.
async fn epochs_in_store(world: &World) -> BTreeSet<EpochId> {
    let keyring = world.vault.keyring();
    let page = world.store.scan("", None, None, 1_000).await.unwrap();
    assert_eq!(page.next, None);
    let mut epochs = BTreeSet::new();
    for (place, stored) in page.entries {
        if let Body::Live(sealed) = stored.body {
            assert!(keyring.open_record(place.as_str(), stored.version.get(), &sealed).is_ok(), "{place}");
            epochs.insert(Keyring::epoch_of(&sealed).unwrap());
        }
    }
    epochs
}

fn epochs_kept(world: &World) -> Vec<u64> {
    world.vault.keyring().epochs().map(EpochId::get).collect()
}

#[tokio::test]
async fn a_pass_moves_every_record_and_gives_up_the_epochs_before() {
    let world = World::new();
    let zone = a_zone(&world).await;
    let kept = Kept::make(&zone, 70).await;
    let early = zone.create("early").await.unwrap().id();
    delete_for_good(&world, &zone, early).await;
    assert_eq!(epochs_kept(&world), [1, 2], "the pass is due, whatever happens to this process");
    let waiting = zone.kms.shred_status().waiting.unwrap();
    assert_eq!((waiting.deletions, waiting.since), (1, zone.kms.clock().now));

    let report = zone.kms.shred_now().await.unwrap();
    // 70 keys and their names; the deleted key's tombstone was sealed under the new epoch, and its name is free.
    assert_eq!((report.resealed, report.unreadable, report.retired), (140, 0, 1));
    let status = zone.kms.shred_status();
    assert_eq!((status.waiting, status.under_way, status.last), (None, None, Some(report)));
    assert_eq!(epochs_kept(&world), [2]);
    assert_eq!(epochs_in_store(&world).await.len(), 1);
    kept.check(&zone);

    // Changes go on where the pass left the records, and its end is not the last one.
    zone.change(kept.0[0].0, Command::Disable).await.unwrap();
    zone.change(kept.0[0].0, Command::Enable).await.unwrap();
    let late = kept.0[1].0;
    zone.change(late, Command::Rotate).await.unwrap();
    delete_for_good(&world, &zone, late).await;
    assert_eq!(epochs_kept(&world), [2, 3]);
    assert!(zone.create("early").await.is_ok() && zone.create("kept-1").await.is_ok(), "the names are free");
    zone.kms.shred_now().await.unwrap();
    assert_eq!(epochs_kept(&world), [3]);
    let kept = Kept(kept.0.into_iter().filter(|(id, _)| *id != late).collect());
    kept.check(&zone);
    let zone = restarted(&world, zone).await;
    kept.check(&zone);
    assert_eq!(zone.get(early).err(), Some(KmsError::KeyNotFound));
    assert_eq!(zone.kms.shred_status().waiting, None);
}

#[tokio::test]
async fn a_pass_without_a_deletion_renews_the_epoch() {
    let world = World::new();
    let zone = a_zone(&world).await;
    let kept = Kept::make(&zone, 3).await;
    assert_eq!(zone.kms.shred_now().await.unwrap().resealed, 6);
    assert_eq!(epochs_kept(&world), [2]);
    kept.check(&zone);
}

#[tokio::test]
async fn a_pass_that_fails_anywhere_is_finished_by_the_next_one() {
    let faults = [Fault::ReadOnly, Fault::Broken, Fault::UnknownApplied, Fault::UnknownNotApplied];
    for (number, fault) in (1..=12).flat_map(|number| faults.clone().map(|fault| (number, fault))) {
        let world = World::new();
        let zone = a_zone(&world).await;
        let kept = Kept::make(&zone, 6).await;
        let doomed = zone.create("doomed").await.unwrap().id();
        delete_for_good(&world, &zone, doomed).await;
        world.store.fail(world.store.commits() + number, fault.clone());
        let outcome = zone.kms.shred_now().await;
        // Six keys and six names are sealed anew.
        assert!(matches!(outcome, Err(ShredError::Store(_))), "{fault:?} at commit {number}: {outcome:?}");
        assert_eq!(epochs_kept(&world), [1, 2], "nothing is given up");
        assert!(zone.kms.shred_status().waiting.is_some());
        kept.check(&zone);
        world.store.heal();
        if number % 2 == 0 {
            // The same process goes on, and changes a key of which the pass did not learn how it stands.
            for (id, _) in &kept.0 {
                assert!(zone.change(*id, Command::Disable).await.is_ok(), "{fault:?} at commit {number}");
                zone.change(*id, Command::Enable).await.unwrap();
            }
            zone.kms.shred_now().await.unwrap();
            assert_eq!(epochs_kept(&world), [2]);
        }
        let zone = restarted(&world, zone).await;
        kept.check(&zone);
        zone.kms.shred_now().await.unwrap();
        assert_eq!((epochs_kept(&world).len(), epochs_in_store(&world).await.len()), (1, 1));
        kept.check(&zone);
        assert_eq!(zone.get(doomed).err(), Some(KmsError::KeyNotFound));
    }
}

#[tokio::test]
async fn a_restart_in_the_middle_of_a_pass_leaves_a_pass_due() {
    let world = World::new();
    let zone = a_zone(&world).await;
    let kept = Kept::make(&zone, 5).await;
    let doomed = zone.create("doomed").await.unwrap().id();
    delete_for_good(&world, &zone, doomed).await;
    world.store.fail(world.store.commits() + 4, Fault::ReadOnly);
    assert!(zone.kms.shred_now().await.is_err());
    world.store.heal();
    let zone = restarted(&world, zone).await;
    assert_eq!(epochs_in_store(&world).await.len(), 2, "the pass was under way");
    // The task that makes passes takes note of it at its first turn.
    let waiting = loop {
        match zone.kms.shred_status().waiting {
            Some(waiting) => break waiting,
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!(waiting.deletions, 0, "they became final before this start");
    zone.kms.shred_now().await.unwrap();
    assert_eq!(epochs_kept(&world), [2]);
    kept.check(&zone);
}

#[tokio::test]
async fn a_keyring_that_cannot_be_kept_stops_deletion_and_pass_and_loses_nothing() {
    for fault in [VaultFault::NotStored, VaultFault::StoredUnanswered] {
        let world = World::new();
        let zone = a_zone(&world).await;
        let kept = Kept::make(&zone, 4).await;
        let doomed = zone.create("doomed").await.unwrap().id();
        zone.change(doomed, Command::ScheduleDeletion { delay: DeletionDelay::try_from(7).unwrap() }).await.unwrap();
        world.time.run(8 * DAY);
        world.vault.fail_next(fault);
        zone.kms.run_due_work().await;
        let place = RecordKey::key(zone.acme.organisation(), doomed);
        let stored = world.store.get(&place).await.unwrap();
        assert_eq!(stored.version.get(), 2, "there is no epoch yet that can be given up: the deletion waits");
        let zone = restarted(&world, zone).await;
        kept.check(&zone);
        assert_eq!(zone.get(doomed).err(), Some(KmsError::KeyNotFound));
        assert_eq!(epochs_kept(&world).len(), 2, "the start did the work that was due");
        world.vault.fail_next(fault);
        let outcome = zone.kms.shred_now().await;
        assert!(matches!(outcome, Err(ShredError::Keyring(_))), "{outcome:?}");
        assert_eq!(epochs_in_store(&world).await.len(), 1, "all records are under the last epoch already");
        let zone = restarted(&world, zone).await;
        kept.check(&zone);
        zone.kms.shred_now().await.unwrap();
        assert_eq!(epochs_kept(&world).len(), 1);
        kept.check(&restarted(&world, zone).await);
    }
}

/// A change that was sealed before the new epoch came and is stored long after must not be stored under an epoch that was
/// given up.
#[tokio::test(start_paused = true)]
async fn a_change_on_its_way_is_waited_for() {
    let world = World::new();
    let zone = a_zone(&world).await;
    let kept = Kept::make(&zone, 4).await;
    world.store.fail_next(Fault::Delay(Duration::from_secs(5)));
    let (created, report) = tokio::join!(zone.create("slow"), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        zone.kms.shred_now().await
    });
    let id = created.unwrap().id();
    assert_eq!(report.unwrap().resealed, 10, "the slow one came under the old epoch and was sealed anew");
    assert_eq!(epochs_in_store(&world).await.len(), 1);
    let ciphertext = zone.encrypt(id, b"x").unwrap();
    let zone = restarted(&world, zone).await;
    assert_eq!(zone.decrypt(id, &ciphertext).unwrap(), b"x");
    kept.check(&zone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_and_passes_do_not_disturb_each_other() {
    let mut world = World::new();
    world.keys_per_organisation = 10_000;
    let zone = Arc::new(a_zone(&world).await);
    let kept = Kept::make(&zone, 60).await;
    let mut changes = JoinSet::new();
    for task in 0..8 {
        let (zone, ids) = (Arc::clone(&zone), kept.0.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        changes.spawn(async move {
            let mut made = Vec::new();
            for round in 0..30 {
                let id = zone.create(&format!("new-{task}-{round}")).await.unwrap().id();
                made.push((id, vec![zone.encrypt(id, b"kept").unwrap()]));
                let own = ids[task * 7 + round % 7];
                zone.change(own, Command::Disable).await.unwrap();
                zone.change(own, Command::Enable).await.unwrap();
            }
            made
        });
    }
    for _ in 0..3 {
        zone.kms.shred_now().await.unwrap();
    }
    let mut all = kept;
    while let Some(made) = changes.join_next().await {
        all.0.extend(made.unwrap());
    }
    all.check(&zone);
    epochs_in_store(&world).await;
    zone.kms.shred_now().await.unwrap();
    assert_eq!((epochs_kept(&world).len(), epochs_in_store(&world).await.len()), (1, 1));
    let zone = Arc::into_inner(zone).expect("the tasks have ended");
    all.check(&restarted(&world, zone).await);
}

#[tokio::test(start_paused = true)]
async fn a_pass_begins_by_itself_after_the_interval_and_serves_all_deletions() {
    let mut world = World::new();
    world.shred_after = Duration::from_secs(600);
    let zone = a_zone(&world).await;
    let kept = Kept::make(&zone, 3).await;
    let doomed = [zone.create("d0").await.unwrap().id(), zone.create("d1").await.unwrap().id()];
    delete_for_good(&world, &zone, doomed[0]).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    delete_for_good(&world, &zone, doomed[1]).await;
    tokio::time::sleep(Duration::from_secs(290)).await;
    let status = zone.kms.shred_status();
    assert_eq!((status.waiting.map(|waiting| waiting.deletions), status.last), (Some(2), None));
    tokio::time::sleep(Duration::from_secs(20)).await;
    let status = zone.kms.shred_status();
    assert_eq!(status.waiting, None);
    assert!(status.last.is_some(), "{status:?}");
    assert_eq!(epochs_kept(&world).len(), 1);
    kept.check(&zone);
}

#[tokio::test]
async fn a_damaged_record_does_not_keep_deleted_material_alive() {
    let world = World::new();
    let zone = a_zone(&world).await;
    let kept = Kept::make(&zone, 2).await;
    let bad = zone.create("bad").await.unwrap().id();
    let place = RecordKey::key(zone.acme.organisation(), bad);
    let stored = world.store.get(&place).await.unwrap();
    let Body::Live(mut sealed) = stored.body else { panic!("it was just made") };
    *sealed.last_mut().unwrap() ^= 1;
    let write = kms_storage::Write::live(place.clone(), stored.version, sealed);
    let _durable = world.store.commit(kms_storage::Commit::new(vec![write])).await.unwrap();
    let zone = restarted(&world, zone).await;
    let report = zone.kms.shred_now().await.unwrap();
    // The damaged key's name is sealed anew, so that it stays taken.
    assert_eq!((report.resealed, report.unreadable), (5, 1));
    kept.check(&zone);
    let zone = restarted(&world, zone).await;
    assert_eq!(zone.get(bad).err(), Some(KmsError::RecordDamaged));
    assert_eq!(zone.create("bad").await.err(), Some(KmsError::NameConflict));
}

/// A deletion is made once and is final in each zone: each shreds its own copy, and goes on knowing that the key is gone.
#[tokio::test]
async fn every_zone_shreds_its_own_copy() {
    let mut cluster = Cluster::running().await;
    let kept = cluster.sites[0].create_everywhere("kept").await;
    let doomed = cluster.sites[0].create_everywhere("doomed").await;
    cluster.settled(0, kept).await;
    cluster.settled(0, doomed).await;
    let made = cluster.sites[0].encrypt(kept, b"kept").unwrap();
    let last_states = cluster.requests.lock().unwrap().clone();
    let delay = DeletionDelay::try_from(7).unwrap();
    cluster.sites[0].change(doomed, Command::ScheduleDeletion { delay }).await.unwrap();
    cluster.sites[0].time.run(7 * DAY);
    cluster.sites[0].kms().run_due_work().await;
    let gone = |site: &Site| site.get(doomed).err() == Some(KmsError::KeyNotFound);
    cluster.until(|| cluster.sites.iter().all(|site| gone(site) && site.kms().shred_status().waiting.is_some())).await;
    for site in &cluster.sites {
        assert_eq!(site.vault.keyring().epochs().count(), 2, "{}", site.name);
        site.kms().shred_now().await.unwrap();
        assert_eq!(site.vault.keyring().epochs().count(), 1, "{}", site.name);
        assert_eq!(site.decrypt(kept, &made).unwrap(), b"kept");
    }
    // Records sealed anew replicate as before, and what was said before the deletion revives nothing.
    cluster.sites[0].change(kept, Command::Rotate).await.unwrap();
    cluster.settled(0, kept).await;
    let origin = cluster.sites[0].name.clone();
    for old in last_states {
        let target = cluster.sites.iter().find(|site| site.name == old.to).unwrap();
        let (outgoing, _answers) = FrameSender::channel(1);
        target.endpoint().replica_received(&origin, old.frame, &outgoing).await.unwrap();
    }
    for number in 0..cluster.sites.len() {
        cluster.crash(number).await;
        assert!(gone(&cluster.sites[number]));
        assert_eq!(cluster.sites[number].decrypt(kept, &made).unwrap(), b"kept");
    }
}

struct Tags(MacKey);

impl ManifestKey for Tags {
    fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.0.tag(parts)
    }
}

/// Every file of the directory, the keyring's among them, one after the other.
fn all_bytes(directory: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        bytes.extend(if path.is_dir() { all_bytes(&path) } else { fs::read(&path).unwrap() });
    }
    bytes
}

/// Every keyring that the root key opens, wherever in the files it lies, whatever its length.
fn reachable_keyrings(root: &RootKey, bytes: &[u8]) -> Vec<Keyring> {
    const MAGIC: &[u8] = b"ZKMSRING";
    const MOST: usize = 1_024;
    let starts = bytes.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC).map(|(at, _)| at);
    let opened = |at: usize| {
        let rest = &bytes[at..];
        (1..=rest.len().min(MOST)).filter_map(|length| Keyring::unwrap(root, &rest[..length]).ok())
    };
    starts.flat_map(opened).collect()
}

/// Whether a record of the key, as long as `length`, opens anywhere in the files with any of the keyrings, as any version.
fn recovers(keyrings: &[Keyring], bytes: &[u8], place: &RecordKey, length: usize, material: &[u8]) -> bool {
    bytes.windows(length).any(|window| {
        // Nothing else is a sealed record; the epoch that it names is tried with every keyring.
        Keyring::epoch_of(window).is_ok()
            && keyrings
                .iter()
                .filter(|keyring| keyring.epochs().any(|epoch| Ok(epoch) == Keyring::epoch_of(window)))
                .any(|keyring| {
                    (1..=4).any(|version| {
                        let opened = keyring.open_record(place.as_str(), version, window);
                        opened.is_ok_and(|plain| plain.expose().windows(32).any(|part| part == material))
                    })
                })
    })
}

/// Somebody knows a deleted key's material, so that he would know it again, and its sealed record; he has the whole data
/// directory and the current root key. Before the pass he finds it, afterwards he cannot.
#[tokio::test]
async fn deleted_material_cannot_be_recovered_from_the_directory_with_the_root_key() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new();
    let paths = SledPaths { store: folder.path().join("store"), manifest: folder.path().join("manifest") };
    let store_id = *world.vault.keyring().store_id();
    let tags = Arc::new(Tags(MacKey::new(b"tags")));
    let open = || SledStore::open(paths.clone(), store_id, Arc::clone(&tags) as Arc<_>);
    world.store = Arc::new(FaultyStore::new(Arc::new(open().await.unwrap())));
    let zone = world.start().await;
    let kept = Kept::make(&zone, 40).await;
    let doomed = zone.create("doomed").await.unwrap().id();
    let material = world.entropy.given().into_iter().rfind(|given| given.len() == 32).unwrap();
    let place = RecordKey::key(zone.acme.organisation(), doomed);
    let sealed = world.store.get(&place).await.unwrap();
    assert_eq!(sealed.version, RecordVersion::new(1));
    let Body::Live(sealed) = sealed.body else { panic!("it was just made") };
    delete_for_good(&world, &zone, doomed).await;

    let vault = Arc::clone(&world.vault);
    let look = || {
        fs::write(folder.path().join("keyring"), vault.wrapped()).unwrap();
        let bytes = all_bytes(folder.path());
        let keyrings = reachable_keyrings(vault.root_key(), &bytes);
        assert!(!keyrings.is_empty(), "he has the current keyring");
        let kept_bytes = bytes.windows(sealed.len()).any(|window| window == sealed);
        (kept_bytes, recovers(&keyrings, &bytes, &place, sealed.len(), &material))
    };
    assert_eq!(look(), (true, true), "sled keeps the deleted record, and before the pass it opens");
    zone.kms.shred_now().await.unwrap();
    assert_eq!(look(), (true, false), "sled keeps it still, but nothing opens it");
    kept.check(&zone);

    zone.running.stop().await.unwrap();
    assert!(!look().1, "nor after the store was closed");
    world.store = Arc::new(FaultyStore::new(Arc::new(open().await.unwrap())));
    let zone = world.start().await;
    kept.check(&zone);
    assert_eq!(zone.get(doomed).err(), Some(KmsError::KeyNotFound));
    assert!(!look().1, "nor after it was opened again");
    zone.running.stop().await.unwrap();
}
