//! A key in several zones: what its origin does is so in the others, in the end and after every mishap.

use crate::cluster::Cluster;
use crate::zone::DAY;
use kms_lifecycle::{Command, Reach, Rejection, Status};
use kms_service::KmsError;
use kms_types::DeletionDelay;

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
