//! `zonekms backup`: of a running server through its control socket, or of its files when none runs.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use http_body_util::BodyExt;
use kms_backup::Lock;
use kms_crypto::{Entropy, OsEntropy};
use kms_service::{BackupPart, BackupSummary, ServiceClock, StoppedZone};
use kms_storage::{SledPaths, SledStore, Store};
use tokio::sync::mpsc;

use super::locks::LockText;
use super::progress::Progress;
use super::stretch::Stretch;
use super::target_file::{Replace, TargetFile};
use crate::cli::BackupArguments;
use crate::control::{ClientFault, Target, ZoneFiles};
use crate::failure::Failure;
use crate::keyring_file::{OpenKeyring, ZoneLock};
use crate::root_key::PROCESS_ENVIRONMENT;
use crate::serve::runtime;
use crate::zone_server::ManifestTags;

/// Parts that wait for the disk.
const AHEAD: usize = 4;

/// Takes a backup, and says what is in it.
pub(crate) fn take(arguments: &BackupArguments) -> Result<String, Failure> {
    let target = Target::find(&arguments.target)?;
    let text = LockText::find(&arguments.lock)?;
    let request = text.request();
    let lock = text.into_lock().map_err(|fault| Failure::input(format!("whoever is to open the backup: {fault}")))?;
    let replace = if arguments.force { Replace::Whatever } else { Replace::Never };
    let path = &arguments.to;
    let file = TargetFile::begin(path, replace, &OsEntropy).map_err(|error| failed(path, &error))?;
    let mut file = Writing { path, file, progress: Progress::new("backed up") };
    let summary = runtime()?.block_on(async {
        let asked = async {
            let (mut client, zone) = target.connect().await?;
            client.stream(&format!("{zone}/backup"), &request).await
        };
        match asked.await {
            Ok(mut answer) => {
                let mut waiting = Vec::new();
                while let Some(frame) = answer.frame().await {
                    let frame = frame.map_err(|_| Failure::run(ClientFault::CutOff))?;
                    waiting.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                    while let Some(stretch) = Stretch::take(&mut waiting).map_err(Failure::run)? {
                        match stretch {
                            Stretch::Part(part) => file.append(&part.sealed, part.records)?,
                            Stretch::Done(summary) => return Ok(summary),
                            Stretch::Failed(why) => return Err(Failure::run(why)),
                        }
                    }
                }
                Err(Failure::run(ClientFault::CutOff))
            }
            Err(ClientFault::NoServer { .. }) => of_files(target.files()?, lock, &mut file).await,
            Err(fault) => Err(Failure::run(fault)),
        }
    })?;
    let bytes = file.file.bytes();
    let Writing { file, progress, .. } = file;
    drop(progress);
    file.keep().map_err(|error| failed(path, &error))?;
    Ok(describe(path, bytes, &summary))
}

struct Writing<'a> {
    path: &'a Path,
    file: TargetFile,
    progress: Progress,
}

impl Writing<'_> {
    fn append(&mut self, sealed: &[u8], records: u64) -> Result<(), Failure> {
        self.file.append(sealed).map_err(|error| failed(self.path, &error))?;
        self.progress.show(records, Some(self.file.bytes()));
        Ok(())
    }
}

/// Under the zone's lock, so that no server starts meanwhile.
async fn of_files(files: ZoneFiles, lock: Lock, file: &mut Writing<'_>) -> Result<BackupSummary, Failure> {
    let ZoneFiles { zone, store: location, root_keys, .. } = files;
    let keys = root_keys.load(PROCESS_ENVIRONMENT)?;
    let held = ZoneLock::take(&location).map_err(Failure::run)?;
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let opened = OpenKeyring::open_existing(&held, &zone, &keys, &entropy).await.map_err(Failure::run)?;
    let OpenKeyring { keyring, for_manifest, .. } = opened;
    let paths = SledPaths { store: location.directory, manifest: location.manifest };
    let tags = Arc::new(ManifestTags(for_manifest));
    let store = SledStore::open(paths, *keyring.store_id(), tags).await.map_err(Failure::run)?;
    let (parts, mut taken) = mpsc::channel::<BackupPart>(AHEAD);
    let now = ServiceClock::system().wall();
    let stopped = StoppedZone { zone: &zone, store: &store, keyring, now };
    let writing = async {
        while let Some(part) = taken.recv().await {
            file.append(&part.sealed, part.records)?;
        }
        drop(taken);
        Ok(())
    };
    let (made, written) = tokio::join!(stopped.backup(lock, parts), writing);
    let closed = store.close().await;
    written?;
    let summary = made.map_err(Failure::run)?;
    closed.map_err(Failure::run)?;
    Ok(summary)
}

fn describe(path: &Path, bytes: u64, summary: &BackupSummary) -> String {
    let BackupSummary { records, as_of, digest } = summary;
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "file      {} ({bytes} bytes)", path.display());
    let _ = writeln!(text, "records   {records}");
    let _ = writeln!(text, "as of     revision {as_of}");
    let _ = writeln!(text, "content   {}", hex::encode(digest));
    let _ = writeln!(text, "\nProve that it can be restored: zonekms verify-backup {}", path.display());
    text
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::run(format!("{}: {error}", path.display()))
}
