//! Keeps the use of keys in a file beside the keyring: each minute in which there was some, and at the stop (ADR 0034).
//!
//! It is told, never relied on: without the file, or when it cannot be written, the zone serves as ever.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use kms_service::{Kms, UsageText};
use tokio::task::JoinHandle;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::private_files::{beside, replace_private_file};

/// The time between two saves: what a crash loses at most.
const PERIOD: Duration = Duration::from_secs(60);

/// The task that saves, to be stopped before the service is.
pub(crate) struct UsageKeeper {
    task: JoinHandle<()>,
    ending: CancellationToken,
}

impl UsageKeeper {
    /// Takes over what was saved beside `keyring`, and saves from now on. To be called before the zone answers anyone.
    pub(crate) fn start(kms: &Kms, keyring: &Path) -> Self {
        let file = beside(keyring, ".usage");
        take_over(kms, &file);
        let ending = CancellationToken::new();
        let (kms, until) = (kms.clone(), ending.clone());
        let task = tokio::spawn(async move {
            let mut unsaved = Unsaved::None;
            loop {
                let last = tokio::select! {
                    () = tokio::time::sleep(PERIOD) => false,
                    () = until.cancelled() => true,
                };
                unsaved = save(&kms, &file, unsaved).await;
                if last {
                    return;
                }
            }
        });
        Self { task, ending }
    }

    /// Saves for the last time.
    pub(crate) async fn stop(self) {
        self.ending.cancel();
        if let Err(fault) = self.task.await {
            tracing::error!(%fault, "saving the use of keys ended in a panic");
        }
    }
}

/// Whether the last attempt to save failed, which is said once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unsaved {
    None,
    Told,
}

fn take_over(kms: &Kms, file: &Path) {
    let saved = match fs::read(file) {
        Ok(saved) => UsageText(saved),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "the use of keys is counted anew: what was saved cannot be read");
            return;
        }
    };
    if let Err(cause) = kms.go_on_from_usage(&saved) {
        tracing::warn!(file = %file.display(), %cause, "the use of keys is counted anew: what was saved cannot be used");
    }
}

async fn save(kms: &Kms, file: &Path, before: Unsaved) -> Unsaved {
    let (worker, path) = (kms.clone(), file.to_owned());
    let saved = spawn_blocking(move || write(&worker, &path)).await.unwrap_or_else(|fault| Err(fault.to_string()));
    match (saved, before) {
        (Ok(()), Unsaved::None | Unsaved::Told) => Unsaved::None,
        (Err(cause), Unsaved::None) => {
            tracing::warn!(file = %file.display(), cause, "the use of keys cannot be saved; it is tried again each minute");
            Unsaved::Told
        }
        (Err(_), Unsaved::Told) => Unsaved::Told,
    }
}

fn write(kms: &Kms, file: &Path) -> Result<(), String> {
    let Some((text, mark)) = kms.usage_to_save().map_err(|cause| cause.to_string())? else { return Ok(()) };
    replace_private_file(file, &text.0).map_err(|error| error.to_string())?;
    kms.usage_saved(mark);
    Ok(())
}
