//! The embedded store on sled 0.34; no other file names it.
//!
//! What sled leaves to its user is done around it: a committed batch is not on disk before `flush`, and `flush` alone does
//! not outlive a power cut (its log is written out with `sync_file_range`), so every write ends with fsyncs. Damage that
//! sled hides (a lost tail, an older state) is found by the manifest at the next opening. Records are read from sled on
//! threads that may wait for the disk, and a panic of sled's is an error of the one read that met it.

use crate::change_feed::ChangeFeed;
use crate::commit::{Commit, CommitError, Durable, Fence, Role};
use crate::engine::{self, Engine, Visit};
use crate::group_commit::GroupCommit;
use crate::manifest::{Accountant, ManifestKey};
use crate::open_error::OpenError;
use crate::opening::{self, Found, Trust};
use crate::own_files;
use crate::power_safe::SyncedFiles;
use crate::published::Published;
use crate::reader::{RecordReader, Walk};
use crate::record_key::RecordKey;
use crate::room::Room;
use crate::store::{Durability, Health, Page, ScanError, Store, StoreError, WatchError};
use crate::stored::{StoreRevision, Stored};
use crate::view::{Entry, History, View};
use async_trait::async_trait;
use std::any::Any;
use std::fmt::Display;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task;

/// sled's page cache in bytes. Its default is 1 GiB. Crypto calls read no records, and what the cache lacks is in the
/// operating system's, so it is small.
const CACHE: u64 = 4 << 20;

/// How long a store that was just closed in this process is waited for: sled locks its file too, and its helper threads
/// let go of it a moment after the store itself.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The store on disk. Its directory and files are closed to other users.
pub struct SledStore {
    writer: GroupCommit,
    published: Arc<Published>,
}

/// Where a store lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SledPaths {
    /// The store's directory; its parent must exist. A lock file `<store>.lock` is kept beside it.
    pub store: PathBuf,
    /// The manifest file, outside the store's directory and best on another disk; its directory must exist. Whoever puts
    /// older files back into the store's place does not thereby put this one back.
    pub manifest: PathBuf,
}

impl SledStore {
    /// Opens the store, or makes a new one where there is neither store nor manifest file. All records are read and
    /// checked against the manifests first. `store_id` and `key` are the keyring's.
    ///
    /// # Errors
    /// [`OpenError`]: no record was changed then.
    pub async fn open(paths: SledPaths, store_id: [u8; 16], key: Arc<dyn ManifestKey>) -> Result<Self, OpenError> {
        let accountant = Accountant { store_id, key };
        let room = Room::of(paths.store.clone());
        let path = paths.store.clone();
        let found = find(paths, accountant.clone(), Trust::Guard).await?;
        let (writer, published) = GroupCommit::start(found, accountant, room, History::default())
            .map_err(|source| OpenError::Io { path, source })?;
        Ok(Self { writer, published })
    }

    /// Makes the manifest file anew from a store that agrees with itself, and returns the store's revision. For operators
    /// who lost the manifest file, or who put a backup in the store's place and know what was changed since: keys disabled
    /// or deleted after that revision are back.
    ///
    /// # Errors
    /// [`OpenError`]; a store that contradicts itself cannot be adopted.
    pub async fn adopt_manifest(
        paths: SledPaths,
        store_id: [u8; 16],
        key: Arc<dyn ManifestKey>,
    ) -> Result<StoreRevision, OpenError> {
        let found = find(paths, Accountant { store_id, key }, Trust::Adopt).await?;
        Ok(found.manifest.revision)
    }

    /// How many rounds of syncs the commits so far took: the fewer, the more commits shared one.
    #[must_use]
    pub fn sync_rounds(&self) -> u64 {
        self.writer.rounds()
    }
}

#[async_trait]
impl Store for SledStore {
    async fn get(&self, key: &RecordKey) -> Result<Stored, StoreError> {
        let key = key.clone();
        self.reading(move |view| view.get(&key)).await?
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&RecordKey>,
        at: Option<StoreRevision>,
        limit: usize,
    ) -> Result<Page, ScanError> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        self.reading(move |view| view.scan(&prefix, after.as_ref(), at, limit)).await?
    }

    async fn commit(&self, commit: Commit) -> Result<Durable, CommitError> {
        self.writer.commit(commit).await
    }

    fn watch(&self, from: StoreRevision) -> Result<ChangeFeed, WatchError> {
        self.published.watch(from)
    }

    async fn acquire(&self, role: Role) -> Result<Fence, StoreError> {
        self.writer.acquire(role).await
    }

    fn started(&self) {
        self.published.write().forget_first_reading();
    }

    fn health(&self) -> Health {
        self.writer.health()
    }

    fn durability(&self) -> Durability {
        Durability::PowerSafe
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.writer.close().await;
        Ok(())
    }
}

impl SledStore {
    /// Reads from the view on a thread that may wait for the disk.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&View) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let published = Arc::clone(&self.published);
        let reading = task::spawn_blocking(move || published.open().map(|view| read(&view)));
        reading.await.unwrap_or_else(|fault| Err(StoreError::Unavailable(fault.to_string())))
    }
}

struct Sled {
    db: sled::Db,
    files: SyncedFiles,
}

/// Reads while [`Sled`] writes: sled makes a batch visible as a whole.
struct SledReader(sled::Db);

impl Sled {
    fn start(path: &Path) -> Result<Self, OpenError> {
        let config = sled::Config::new().path(path).cache_capacity(CACHE).flush_every_ms(None);
        let mut tries = LOCK_TRIES;
        let db = loop {
            match config.open() {
                Err(error) if tries > 0 && is_locked(&error) => thread::sleep(LOCK_PAUSE),
                opened => break opened.map_err(|error| open_error(path, error))?,
            }
            tries -= 1;
        };
        Ok(Self { db, files: SyncedFiles::new(path, &["blobs"], "db") })
    }
}

impl Engine for Sled {
    fn read_all(&self, visit: &mut Visit<'_>) -> Result<(), OpenError> {
        for entry in self.db.iter() {
            let (path, value) = entry.map_err(|error| OpenError::Damaged { what: error.to_string() })?;
            visit(&path, &value)?;
        }
        Ok(())
    }

    fn reader(&self) -> Box<dyn RecordReader> {
        Box::new(SledReader(self.db.clone()))
    }

    fn write(&mut self, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), String> {
        let mut batch = sled::Batch::default();
        for (path, value) in entries {
            batch.insert(path, value);
        }
        self.db.apply_batch(batch).map_err(|error| error.to_string())?;
        self.sync()
    }

    fn sync(&mut self) -> Result<(), String> {
        self.db.flush().map_err(|error| error.to_string())?;
        self.files.sync().map_err(|error| error.to_string())
    }
}

impl RecordReader for SledReader {
    fn entry(&self, key: &RecordKey) -> Result<Option<Entry>, StoreError> {
        contained(|| match self.0.get(key.as_str()).map_err(unavailable)? {
            Some(value) => Ok(Some(engine::decode_entry(key.as_str().as_bytes(), &value).map_err(unavailable)?.1)),
            None => Ok(None),
        })
    }

    fn walk(&self, start: Bound<&str>, visit: &mut Walk<'_>) -> Result<(), StoreError> {
        contained(|| {
            for entry in self.0.range::<&str, _>((start, Bound::Unbounded)) {
                let (path, value) = entry.map_err(unavailable)?;
                if engine::is_system(&path) {
                    continue;
                }
                let (key, entry) = engine::decode_entry(&path, &value).map_err(unavailable)?;
                if visit(key, entry).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }
}

/// Makes a panic of sled's an error.
fn contained<T>(read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|panic| Err(StoreError::Unavailable(format!("the engine panicked: {}", told_by(&*panic)))))
}

fn unavailable(cause: impl Display) -> StoreError {
    StoreError::Unavailable(cause.to_string())
}

/// Opens and checks on a thread of its own, because sled works long there, and panics on some kinds of damage.
async fn find(paths: SledPaths, accountant: Accountant, trust: Trust) -> Result<Found<Sled>, OpenError> {
    let path = paths.store.clone();
    let (reply, answer) = oneshot::channel();
    let work = move || {
        let found = catch_unwind(AssertUnwindSafe(|| {
            opening::open(&paths.store, &paths.manifest, &accountant, trust, Sled::start)
        }));
        let _caller_left = reply.send(found.unwrap_or_else(|panic| {
            let what = format!("the engine panicked while it was opened: {}", told_by(&*panic));
            Err(OpenError::Damaged { what })
        }));
    };
    thread::Builder::new()
        .name("store-opener".to_owned())
        .spawn(work)
        .map_err(|error| own_files::failed(&path, error))?;
    answer.await.unwrap_or_else(|_| Err(OpenError::Damaged { what: "the engine ended while it was opened".to_owned() }))
}

/// Whether sled's file is held; another process cannot be the holder while ours holds the store's lock.
fn is_locked(error: &sled::Error) -> bool {
    match error {
        sled::Error::Io(error) => error.to_string().contains("could not acquire lock"),
        sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_)
        | sled::Error::Corruption { .. } => false,
    }
}

fn open_error(path: &Path, error: sled::Error) -> OpenError {
    if is_locked(&error) {
        return OpenError::Locked { path: path.to_owned() };
    }
    match error {
        // sled answers damage of some of its files with this kind of error.
        sled::Error::Io(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            OpenError::Damaged { what: error.to_string() }
        }
        sled::Error::Io(error) => own_files::failed(path, error),
        sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_)
        | sled::Error::Corruption { .. } => OpenError::Damaged { what: error.to_string() },
    }
}

/// What a panic said.
fn told_by(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a word")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::Write;
    use crate::engine::{META_PATH, encode_entry, encode_meta};
    use crate::manifest::tests::TestKey;
    use crate::stored::{Body, RecordVersion};
    use crate::view::Content;

    const STORE_ID: [u8; 16] = [1; 16];

    fn paths(folder: &Path) -> SledPaths {
        SledPaths { store: folder.join("store"), manifest: folder.join("manifest") }
    }

    async fn open(folder: &Path) -> Result<SledStore, OpenError> {
        SledStore::open(paths(folder), STORE_ID, Arc::new(TestKey([7; 32]))).await
    }

    fn key(last: u8) -> RecordKey {
        RecordKey::parse(&format!("key/acme/019eef19-73ef-7ce3-9ea1-fcaa367ebd{last:02x}")).unwrap()
    }

    /// What somebody writes who knows the format and has the files, but no key.
    fn entry(version: u64, revision: u64, content: Content) -> Vec<u8> {
        encode_entry(&Entry { version: RecordVersion::new(version), revision: StoreRevision::new(revision), content })
    }

    fn live(body: &[u8]) -> Content {
        Content::Live(body.into())
    }

    /// A store in which `key(n)` was written as commit n with the body [n], and `key(3)` again as commit 4.
    async fn a_store(folder: &Path) {
        let store = open(folder).await.unwrap();
        for last in 1..=3 {
            let write = Write::live(key(last), RecordVersion::NEVER, vec![last]);
            let _durable = store.commit(Commit::new(vec![write])).await.unwrap();
        }
        let write = Write::live(key(3), RecordVersion::new(1), vec![3]);
        let _durable = store.commit(Commit::new(vec![write])).await.unwrap();
        store.close().await.unwrap();
    }

    fn tamper(folder: &Path, tampering: impl FnOnce(&sled::Db)) {
        let sled = Sled::start(&paths(folder).store).unwrap();
        tampering(&sled.db);
        sled.db.flush().unwrap();
    }

    #[tokio::test]
    async fn an_altered_body_leaves_the_others_serving() {
        let folder = tempfile::tempdir().unwrap();
        a_store(folder.path()).await;
        tamper(folder.path(), |db| {
            db.insert(key(2).as_str(), entry(1, 2, live(b"altered"))).unwrap();
        });
        let store = open(folder.path()).await.unwrap();
        assert_eq!(store.get(&key(1)).await.unwrap().body, Body::Live(vec![1]));
        assert_eq!(store.get(&key(2)).await.unwrap().body, Body::Live(b"altered".to_vec()), "its seal will tell");
        let write = Write::live(key(1), RecordVersion::new(1), vec![5]);
        assert_eq!(store.commit(Commit::new(vec![write])).await.unwrap().revision().get(), 5);
    }

    #[tokio::test]
    async fn records_added_removed_or_set_back_are_told() {
        type Tampering = fn(&sled::Db);
        let cases: [(&str, Tampering); 8] = [
            ("records were lost", |db| drop(db.remove(key(2).as_str()).unwrap())),
            ("records were lost", |db| drop(db.insert(key(2).as_str(), entry(1, 2, Content::Tombstone)).unwrap())),
            ("records were lost", |db| drop(db.insert(key(9).as_str(), entry(1, 2, live(b""))).unwrap())),
            ("its records differ", |db| drop(db.insert(key(9).as_str(), entry(1, 2, Content::Tombstone)).unwrap())),
            ("its records differ", |db| drop(db.insert(key(3).as_str(), entry(1, 3, live(&[3]))).unwrap())),
            ("its records differ", |db| drop(db.insert(key(2).as_str(), entry(1, 9, live(&[2]))).unwrap())),
            ("its first entry or its manifest", |db| drop(db.remove("!manifest").unwrap())),
            ("its first entry or its manifest", |db| drop(db.remove(META_PATH).unwrap())),
        ];
        for (told, tampering) in cases {
            let folder = tempfile::tempdir().unwrap();
            a_store(folder.path()).await;
            tamper(folder.path(), tampering);
            let error = open(folder.path()).await.err().unwrap();
            assert!(error.to_string().contains(told), "{told}: {error}");
        }
    }

    #[tokio::test]
    async fn a_newer_format_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        a_store(folder.path()).await;
        let mut newer = encode_meta(&STORE_ID);
        newer[13] = 2;
        tamper(folder.path(), |db| drop(db.insert(META_PATH, newer.clone()).unwrap()));
        for _ in 0..2 {
            let error = open(folder.path()).await.err().unwrap();
            assert!(matches!(error, OpenError::NewerFormat { found: 2, known: 1 }), "{error}");
        }
        tamper(folder.path(), |db| assert_eq!(db.get(META_PATH).unwrap().unwrap(), newer));
    }

    #[tokio::test]
    async fn an_unreadable_record_is_named() {
        let folder = tempfile::tempdir().unwrap();
        a_store(folder.path()).await;
        tamper(folder.path(), |db| drop(db.insert(key(2).as_str(), b"short").unwrap()));
        let error = open(folder.path()).await.err().unwrap();
        assert!(error.to_string().contains(key(2).as_str()), "{error}");
    }
}
