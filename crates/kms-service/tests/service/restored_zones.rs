//! Origin and replicas after one of them was restored from a backup, or set back.

use crate::backups::{back_up, new_pair, restore};
use crate::cluster::{Cluster, Site};
use kms_lifecycle::{Command, Status};
use kms_service::KmsError;
use kms_storage::{Body, Commit, KEY_PREFIX, MemoryStore, NAME_PREFIX, Store, Write};
use kms_testkit::FaultyStore;
use kms_types::DeletionDelay;
use std::sync::Arc;
use std::time::Duration;

const GENEVA: usize = 0;
const FRANKFURT: usize = 1;
const ZURICH: usize = 2;

/// Puts the zone back to what the backup holds, restored an hour from now, and links it again.
async fn restore_zone(cluster: &mut Cluster, number: usize, backup: &[u8], pair: &crate::backups::Pair) {
    let site = &mut cluster.sites[number];
    site.time.run(Duration::from_secs(3_600));
    let now = site.kms().clock().now;
    let (store, _) = restore(pair, backup, &site.name.clone(), site.vault.keyring(), now).await.unwrap();
    site.store = store;
    cluster.crash(number).await;
}

#[tokio::test]
async fn a_restored_origin_goes_on_above_its_replicas_and_nothing_decryptable_is_lost() {
    let mut cluster = Cluster::running().await;
    let id = cluster.sites[GENEVA].create_everywhere("k1").await;
    let first = cluster.sites[GENEVA].encrypt(id, b"version 1").unwrap();
    cluster.settled(GENEVA, id).await;
    let pair = new_pair();
    let (backup, _) = back_up(cluster.sites[GENEVA].kms(), &pair).await.unwrap();

    // What only the replicas will remember.
    cluster.sites[GENEVA].change(id, Command::Rotate).await.unwrap();
    let lost = cluster.sites[GENEVA].encrypt(id, b"version 2").unwrap();
    let far = cluster.sites[GENEVA].change(id, Command::Rotate).await.unwrap();
    cluster.settled(GENEVA, id).await;

    restore_zone(&mut cluster, GENEVA, &backup, &pair).await;
    let origin = cluster.sites[GENEVA].get(id).unwrap();
    assert!(origin.revision().seq > far.revision().seq);
    cluster.settled(GENEVA, id).await;
    let [geneva, frankfurt, zurich] = [GENEVA, FRANKFURT, ZURICH].map(|number| &cluster.sites[number]);
    for replica in [frankfurt, zurich] {
        let there = replica.get(id).unwrap();
        assert_eq!(there.origin_revision(), origin.revision().seq, "the origin's later revision wins");
        assert_eq!(there.current_version(), origin.current_version());
        assert_eq!(there.versions().len(), 4, "two lost versions beside the origin's two");
        assert_eq!(replica.decrypt(id, &first).unwrap(), b"version 1");
        assert_eq!(replica.decrypt(id, &lost).unwrap(), b"version 2");
        let new = replica.encrypt(id, b"new").unwrap();
        assert_eq!(geneva.decrypt(id, &new).unwrap(), b"new");
    }
    assert_eq!(geneva.decrypt(id, &first).unwrap(), b"version 1");
    assert_eq!(geneva.decrypt(id, &lost), Err(KmsError::DecryptFailed), "only where the version is");
    assert_eq!(geneva.kms().set_back(), None);

    // Life goes on, and over a restart of a replica.
    geneva.change(id, Command::Rotate).await.unwrap();
    cluster.settled(GENEVA, id).await;
    cluster.crash(FRANKFURT).await;
    let frankfurt = &cluster.sites[FRANKFURT];
    assert_eq!(frankfurt.get(id).unwrap().versions().len(), 5);
    assert_eq!(frankfurt.decrypt(id, &lost).unwrap(), b"version 2");
    cluster.sites[GENEVA].change(id, Command::Disable).await.unwrap();
    cluster.settled(GENEVA, id).await;
}

#[tokio::test]
async fn the_same_backup_restored_twice_uses_no_number_twice() {
    let mut cluster = Cluster::running().await;
    let id = cluster.sites[GENEVA].create_everywhere("k1").await;
    cluster.settled(GENEVA, id).await;
    let pair = new_pair();
    let (backup, _) = back_up(cluster.sites[GENEVA].kms(), &pair).await.unwrap();
    let mut sealed = Vec::new();
    for _ in 0..3 {
        restore_zone(&mut cluster, GENEVA, &backup, &pair).await;
        cluster.sites[GENEVA].change(id, Command::Rotate).await.unwrap();
        sealed.push(cluster.sites[GENEVA].encrypt(id, b"of one life").unwrap());
        cluster.settled(GENEVA, id).await;
    }
    let frankfurt = &cluster.sites[FRANKFURT];
    for ciphertext in &sealed {
        assert_eq!(frankfurt.decrypt(id, ciphertext).unwrap(), b"of one life");
    }
    assert_eq!(frankfurt.get(id).unwrap().versions().len(), 1 + 3 * 2);
}

#[tokio::test]
async fn a_restored_replica_is_brought_up_by_an_origin_that_had_its_word() {
    let mut cluster = Cluster::running().await;
    let id = cluster.sites[GENEVA].create_everywhere("k1").await;
    let doomed = cluster.sites[GENEVA].create_everywhere("k2").await;
    cluster.settled(GENEVA, id).await;
    cluster.settled(GENEVA, doomed).await;
    let pair = new_pair();
    let (backup, _) = back_up(cluster.sites[FRANKFURT].kms(), &pair).await.unwrap();
    cluster.sites[GENEVA].change(id, Command::Rotate).await.unwrap();
    let delay = DeletionDelay::try_from(7).unwrap();
    cluster.sites[GENEVA].change(doomed, Command::ScheduleDeletion { delay }).await.unwrap();
    cluster.settled(GENEVA, id).await;
    cluster.settled(GENEVA, doomed).await;
    let newer = cluster.sites[GENEVA].encrypt(id, b"version 2").unwrap();

    restore_zone(&mut cluster, FRANKFURT, &backup, &pair).await;
    // Nothing is changed at the origin, which runs on.
    let [geneva, frankfurt] = [GENEVA, FRANKFURT].map(|number| &cluster.sites[number]);
    cluster.until(|| frankfurt.get(id).unwrap().versions() == geneva.get(id).unwrap().versions()).await;
    assert_eq!(frankfurt.decrypt(id, &newer).unwrap(), b"version 2");
    let pending = |site: &Site| matches!(site.get(doomed).unwrap().status(), Status::PendingDeletion { .. });
    cluster.until(|| pending(frankfurt)).await;
    assert_eq!(frankfurt.get(doomed).unwrap().status(), geneva.get(doomed).unwrap().status());
}

/// The store as it stands, with every version: older files that somebody kept.
async fn copy_of(store: &FaultyStore) -> Arc<FaultyStore> {
    let copy = FaultyStore::new(Arc::new(MemoryStore::new()));
    for prefix in [KEY_PREFIX, NAME_PREFIX] {
        let page = store.scan(prefix, None, None, 1_000).await.unwrap();
        for (place, stored) in page.entries {
            let Body::Live(sealed) = &stored.body else { panic!("no deletions here") };
            while copy.get(&place).await.unwrap().version < stored.version {
                let expected = copy.get(&place).await.unwrap().version;
                let write = Write::live(place.clone(), expected, sealed.clone());
                let _durable = copy.commit(Commit::new(vec![write])).await.unwrap();
            }
        }
    }
    Arc::new(copy)
}

#[tokio::test]
async fn an_origin_that_was_set_back_hears_of_it() {
    let mut cluster = Cluster::running().await;
    let id = cluster.sites[GENEVA].create_everywhere("k1").await;
    cluster.settled(GENEVA, id).await;
    let old = copy_of(&cluster.sites[GENEVA].store).await;
    cluster.crash(GENEVA).await;
    cluster.settled(GENEVA, id).await;
    assert_eq!(cluster.sites[GENEVA].kms().set_back(), None, "a restart is no setback");
    cluster.sites[GENEVA].change(id, Command::Disable).await.unwrap();
    cluster.settled(GENEVA, id).await;

    cluster.sites[GENEVA].store = old;
    cluster.crash(GENEVA).await;
    let geneva = &cluster.sites[GENEVA];
    cluster.until(|| geneva.kms().set_back().is_some()).await;
    let told = geneva.kms().set_back().unwrap().to_string();
    assert!(told.contains(&id.to_string()) && told.contains("zonekms restore"), "{told}");
    assert_eq!(cluster.sites[FRANKFURT].kms().set_back(), None);
}
