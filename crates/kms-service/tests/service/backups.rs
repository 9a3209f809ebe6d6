//! Out of a zone into a backup, and out of the backup into a zone.

use crate::zone::{DAY, START, World, Zone};
use kms_backup::{BackupReader, BackupWriter, Event, Lock, NewBackupKey, ReadError, Unlock};
use kms_crypto::{Keyring, SecretBytes};
use kms_lifecycle::{Command, Key, Reach, Status};
use kms_service::{
    BackupContent, BackupError, BackupPart, BackupSummary, CreateKey, Kms, KmsError, RestoreError, RestoreTarget,
    Restored, verify_backup,
};
use kms_storage::{Body, Commit, MemoryStore, RecordKey, Store, Write};
use kms_testkit::{FakeTime, FaultyStore, SeededEntropy, TestVault};
use kms_types::{DeletionDelay, KeyId, RotationPeriod, Timestamp, ZoneName};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

pub(crate) struct Pair {
    pub(crate) recipient: String,
    pub(crate) unlock: Unlock,
}

pub(crate) fn new_pair() -> Pair {
    let key = NewBackupKey::generate();
    let unlock = Unlock::with_key_file(&SecretBytes::copy_from(&key.file_content())).unwrap();
    Pair { recipient: key.recipient(), unlock }
}

impl Pair {
    pub(crate) fn lock(&self) -> Lock {
        Lock::to_recipients([self.recipient.as_str()]).unwrap()
    }
}

pub(crate) async fn back_up(kms: &Kms, pair: &Pair) -> Result<(Vec<u8>, BackupSummary), BackupError> {
    let (parts, taken) = mpsc::channel(1);
    let (made, bytes) = tokio::join!(kms.backup(pair.lock(), parts), collect(taken));
    Ok((bytes, made?))
}

async fn collect(mut parts: mpsc::Receiver<BackupPart>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(part) = parts.recv().await {
        bytes.extend_from_slice(&part.sealed);
    }
    bytes
}

pub(crate) fn verify(pair: &Pair, backup: &[u8]) -> Result<BackupContent, RestoreError> {
    verify_backup(&pair.unlock, backup, &mut |_| {}).map(|verified| verified.content().clone())
}

/// The backup as a new store under that keyring, restored at `now`.
pub(crate) async fn restore(
    pair: &Pair,
    backup: &[u8],
    zone: &ZoneName,
    keyring: Keyring,
    now: Timestamp,
) -> Result<(Arc<FaultyStore>, Restored), RestoreError> {
    let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())));
    let entropy = Arc::new(SeededEntropy::new(4711));
    let target = RestoreTarget { zone, store: store.as_ref(), keyring, entropy, now };
    let verified = verify_backup(&pair.unlock, backup, &mut |_| {})?;
    let restored = verified.restore(&pair.unlock, backup, target, &mut |_| {}).await?;
    Ok((store, restored))
}

/// A world in which the backup was restored at `now`.
async fn new_world(pair: &Pair, backup: &[u8], now: Timestamp) -> (World, Restored) {
    let zone = "ch-gva-2".parse().unwrap();
    let vault = Arc::new(TestVault::new(2));
    let (store, restored) = restore(pair, backup, &zone, vault.keyring(), now).await.unwrap();
    let world =
        World { store, vault, time: FakeTime::at(now), entropy: Arc::new(SeededEntropy::new(99)), ..World::new() };
    (world, restored)
}

fn later(days: u32) -> Timestamp {
    START.plus(days * DAY)
}

async fn create_with(zone: &Zone, name: &str, description: &str, reach: Reach) -> KeyId {
    let request = CreateKey { name: name.parse().unwrap(), description: description.parse().unwrap(), reach };
    zone.kms.create_key(&zone.acme, request).await.unwrap().id()
}

fn delay(days: u32) -> Command {
    Command::ScheduleDeletion { delay: DeletionDelay::try_from(days).unwrap() }
}

#[tokio::test]
async fn every_field_of_every_key_comes_back_and_every_ciphertext_opens() {
    let world = World::new();
    let zone = world.start().await;
    let deleted = zone.create("deleted").await.unwrap().id();
    zone.change(deleted, delay(7)).await.unwrap();
    world.time.run(8 * DAY);
    zone.kms.run_due_work().await;

    let mut ids = Vec::new();
    for (number, commands) in [
        vec![],
        vec![Command::Rotate, Command::Rotate, Command::Disable],
        vec![
            Command::DisableRotation,
            Command::EnableRotation { period: RotationPeriod::try_from(90).unwrap() },
            Command::Rotate,
        ],
        vec![Command::DisableRotation],
        vec![delay(30)],
        vec![delay(7), Command::CancelDeletion],
    ]
    .into_iter()
    .enumerate()
    {
        for reach in [Reach::SingleZone, Reach::MultiZone] {
            let id = create_with(&zone, &format!("key {number} {reach:?} \u{1f511}"), &format!("told {number}"), reach)
                .await;
            let mut sealed = vec![zone.encrypt(id, b"version 1").unwrap()];
            for command in &commands {
                world.time.run(Duration::from_secs(60));
                zone.change(id, command.clone()).await.unwrap();
                sealed.extend(zone.encrypt(id, b"later").ok());
            }
            ids.push((id, sealed));
        }
    }
    let others = zone.create_for(&zone.other, "key of another").await.unwrap();
    let pair = new_pair();
    let (backup, summary) = back_up(&zone.kms, &pair).await.unwrap();
    let content = verify(&pair, &backup).unwrap();
    let versions: usize = ids.iter().map(|(id, _)| zone.get(*id).unwrap().versions().len()).sum();
    assert_eq!((content.keys, content.deleted), (13, 1));
    assert_eq!(content.versions, versions as u64 + 1);
    assert_eq!((content.trailer.as_of, content.trailer.digest), (summary.as_of.get(), summary.digest));
    assert_eq!(summary.records, 13 + 13 + 1);

    let now = later(8 + 28);
    let (world, restored) = new_world(&pair, &backup, now).await;
    let again = world.start().await;
    assert_eq!((restored.deletions_held, restored.rotated), (2, 6), "two of 30 days, and six keys of several zones");
    for (id, sealed) in &ids {
        let (before, after) = (zone.get(*id).unwrap(), again.get(*id).unwrap());
        compare(&before, &after, now);
        if let Status::Disabled { .. } = after.status() {
            again.change(*id, Command::Enable).await.unwrap();
        }
        if let Status::PendingDeletion { .. } = after.status() {
            again.change(*id, Command::CancelDeletion).await.unwrap();
            again.change(*id, Command::Enable).await.unwrap();
        }
        for ciphertext in sealed {
            assert!([&b"version 1"[..], b"later"].contains(&again.decrypt(*id, ciphertext).unwrap().as_slice()));
        }
        let old: Vec<_> = before.versions().iter().map(|info| info.version).collect();
        let rotated = again.change(*id, Command::Rotate).await.unwrap();
        assert!(rotated.current_version().version.get() > 400_000_000, "far above what may have been used: {old:?}");
        let new = again.encrypt(*id, b"new").unwrap();
        assert_eq!(again.decrypt(*id, &new).unwrap(), b"new");
        assert_eq!(again.create(before.name().as_str()).await.err(), Some(KmsError::NameConflict));
    }
    assert_eq!(again.get(deleted).err(), Some(KmsError::KeyNotFound));
    again.create("deleted").await.unwrap();
    assert!(again.kms.get_key(&again.other, others.id()).is_ok());
    assert_eq!(again.get(others.id()).err(), Some(KmsError::KeyNotFound), "another organisation's");
}

/// Everything is as it was, but what a restore moves on purpose.
fn compare(before: &Key, after: &Key, now: Timestamp) {
    let (mut expected, found) = (before.to_parts(), after.to_parts());
    assert!(found.revision.seq.get() > 1 << 50 && found.revision.at == now, "{found:?}");
    expected.revision = found.revision;
    if let (Status::PendingDeletion { delete_at, .. }, Status::PendingDeletion { delete_at: moved, .. }) =
        (&mut expected.status, &found.status)
    {
        assert_eq!(*moved, now.plus(7 * DAY));
        *delete_at = *moved;
    }
    if before.is_multi_zone() {
        let new = *after.current_version();
        assert!(new.version.get() > 400_000_000 && new.created_at == now);
        expected.versions.push(new);
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn changes_go_on_during_a_backup_and_it_stands_as_of_its_end() {
    let world = World::new();
    let zone = world.start().await;
    let mut ids = Vec::new();
    for number in 0..700 {
        ids.push(zone.create(&format!("key {number}")).await.unwrap().id());
    }
    zone.change(ids[1], delay(7)).await.unwrap();
    let pair = new_pair();
    let (parts, mut taken) = mpsc::channel(1);
    let making = tokio::spawn({
        let (kms, lock) = (zone.kms.clone(), pair.lock());
        async move { kms.backup(lock, parts).await }
    });
    let mut backup = taken.recv().await.unwrap().sealed;
    // The first page is out, the last is not: both are changed, and a key that was written is deleted for good.
    for id in [ids[0], ids[699]] {
        zone.change(id, Command::Rotate).await.unwrap();
    }
    world.time.run(8 * DAY);
    zone.kms.run_due_work().await;
    assert_eq!(zone.get(ids[1]).err(), Some(KmsError::KeyNotFound));
    let made = zone.create("key 1").await.unwrap().id();
    let sealed = zone.encrypt(ids[699], b"version 2").unwrap();
    backup.extend(collect(taken).await);
    let summary = making.await.unwrap().unwrap();
    assert!(summary.records > 1_400, "{} records, some of them again", summary.records);

    let content = verify(&pair, &backup).unwrap();
    assert_eq!((content.keys, content.deleted), (700, 1));
    let (world, _) = new_world(&pair, &backup, later(9)).await;
    let again = world.start().await;
    for id in ids.iter().filter(|id| **id != ids[1]).chain([&made]) {
        compare(&zone.get(*id).unwrap(), &again.get(*id).unwrap(), later(9));
    }
    assert_eq!(again.decrypt(ids[699], &sealed).unwrap(), b"version 2");
    assert_eq!(again.get(ids[1]).err(), Some(KmsError::KeyNotFound));
    let place = RecordKey::key(&"acme".parse().unwrap(), ids[1]);
    assert_eq!(world.store.get(&place).await.unwrap().version.get(), 1, "its material never came into the new store");
}

#[tokio::test]
async fn a_backup_whose_receiver_leaves_ends_and_a_damaged_record_is_named() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k1").await.unwrap().id();
    let pair = new_pair();
    let (parts, taken) = mpsc::channel(1);
    drop(taken);
    assert!(matches!(zone.kms.backup(pair.lock(), parts).await, Err(BackupError::Abandoned)));

    let place = RecordKey::key(&"acme".parse().unwrap(), id);
    let stored = world.store.get(&place).await.unwrap();
    let Body::Live(mut sealed) = stored.body else { panic!("no record") };
    sealed[40] ^= 1;
    let _durable =
        world.store.commit(Commit::new(vec![Write::live(place.clone(), stored.version, sealed)])).await.unwrap();
    let Err(BackupError::Damaged { record, .. }) = back_up(&zone.kms, &pair).await else { panic!("not noticed") };
    assert_eq!(record, place);
}

/// What becomes of a record: another path, other content, or nothing.
type Alteration<'a> = dyn FnMut(&str, Vec<u8>) -> Option<(String, Vec<u8>)> + 'a;

/// The backup with its records altered: what a program with a bug could have written, sealed in order.
fn altered(pair: &Pair, backup: &[u8], alter: &mut Alteration<'_>) -> Vec<u8> {
    let mut reader = BackupReader::open(&pair.unlock, backup).unwrap();
    let mut writer = BackupWriter::begin(&pair.lock(), reader.header(), Vec::new()).unwrap();
    loop {
        match reader.next_event().unwrap() {
            Event::Record { path, content } => {
                if let Some((path, content)) = alter(&path, content.expose().to_vec()) {
                    writer.record(&path, &content).unwrap();
                }
            }
            Event::Removed { path } => writer.removed(&path).unwrap(),
            Event::CatchUp => writer.catch_up().unwrap(),
            Event::End(trailer) => return writer.finish(trailer.as_of).unwrap().0,
        }
    }
}

#[tokio::test]
async fn a_backup_proves_its_material_its_keys_and_its_names() {
    let world = World::new();
    let zone = world.start().await;
    for name in ["k1", "k2"] {
        let id = zone.create(name).await.unwrap().id();
        zone.change(id, Command::Rotate).await.unwrap();
    }
    let pair = new_pair();
    let (backup, _) = back_up(&zone.kms, &pair).await.unwrap();
    let refused = |alter: &mut Alteration<'_>| {
        verify(&pair, &altered(&pair, &backup, alter)).err().map(|error| error.to_string())
    };
    assert_eq!(refused(&mut |path, content| Some((path.to_owned(), content))), None);
    for byte in 1..=64 {
        let why = refused(&mut |path, mut content| {
            if path.starts_with("key/") {
                let at = content.len() - byte;
                content[at] ^= 0x40;
            }
            Some((path.to_owned(), content))
        });
        assert!(why.as_ref().is_some_and(|why| why.contains("check value")), "{byte}: {why:?}");
    }
    let no_key = refused(&mut |path, content| (!path.starts_with("key/")).then(|| (path.to_owned(), content)));
    assert!(no_key.unwrap().contains("names"), "names without keys");
    let mut first = true;
    let no_name = refused(&mut |path, content| {
        let left_out = path.starts_with("name/") && std::mem::take(&mut first);
        (!left_out).then(|| (path.to_owned(), content))
    });
    assert!(no_name.unwrap().contains("names"), "a key without its name");
    let mut last = None;
    let misplaced = refused(&mut |path, content| {
        let content = if path.starts_with("key/") { last.replace(content.clone()).unwrap_or(content) } else { content };
        Some((path.to_owned(), content))
    });
    assert!(misplaced.unwrap().contains("another key"), "one key's record in the place of another");
    let elsewhere = refused(&mut |path, content| Some((path.replace("acme", "acme/x"), content)));
    assert!(elsewhere.unwrap().contains("place"));
}

#[tokio::test]
async fn a_restore_is_refused_for_another_zone_and_before_the_backup() {
    let world = World::new();
    let zone = world.start().await;
    zone.create("k1").await.unwrap();
    let pair = new_pair();
    let (backup, _) = back_up(&zone.kms, &pair).await.unwrap();
    let other = "de-fra-1".parse().unwrap();
    let refused = restore(&pair, &backup, &other, TestVault::new(2).keyring(), later(1)).await.err();
    assert!(matches!(refused, Some(RestoreError::OtherZone { .. })));
    let own = "ch-gva-2".parse().unwrap();
    let early = Timestamp::from_nanos(START.as_nanos() - 1);
    let refused = restore(&pair, &backup, &own, TestVault::new(2).keyring(), early).await.err();
    assert!(matches!(refused, Some(RestoreError::ClockBehind { .. })));
    let cut = restore(&pair, &backup[..backup.len() - 1], &own, TestVault::new(2).keyring(), later(1)).await.err();
    assert!(matches!(cut, Some(RestoreError::Read(ReadError::Damaged(_)))));
}

/// Memory of this process in KiB: the pages that are its own.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
#[ignore = "makes 100,000 keys: cargo test -p kms-service --test service -- --ignored --nocapture hundred_thousand"]
async fn a_hundred_thousand_keys_take_a_page_of_memory() {
    let world = World { keys_per_organisation: 200_000, ..World::new() };
    let zone = world.start().await;
    for number in 0..100_000 {
        zone.create(&format!("key {number}")).await.unwrap();
    }
    let pair = new_pair();
    let path = std::env::temp_dir().join(format!("zonekms-backup-{}", std::process::id()));
    let (parts, mut taken) = mpsc::channel::<BackupPart>(1);
    let (before, mut most) = (resident(), 0);
    let writing = async {
        let mut file = std::fs::File::create(&path).unwrap();
        while let Some(part) = taken.recv().await {
            std::io::Write::write_all(&mut file, &part.sealed).unwrap();
            most = most.max(resident());
        }
    };
    let (made, ()) = tokio::join!(zone.kms.backup(pair.lock(), parts), writing);
    let summary = made.unwrap();
    let grown = most.saturating_sub(before);
    println!("{} records, {} bytes, {grown} KiB more", summary.records, std::fs::metadata(&path).unwrap().len());
    assert!(grown < 16 * 1024, "{grown} KiB");

    let (before, mut most, mut read) = (resident(), 0, 0);
    let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
    let content = verify_backup(&pair.unlock, file, &mut |records| {
        read = records;
        if records % 1_000 == 0 {
            most = most.max(resident());
        }
    });
    std::fs::remove_file(&path).unwrap();
    let grown = most.saturating_sub(before);
    println!("{read} records verified with {grown} KiB more");
    assert_eq!(content.unwrap().content().keys, 100_000);
    assert!(grown < 64 * 1024, "{grown} KiB");
}
