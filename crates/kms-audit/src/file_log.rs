//! The log in files, as the service sees it.

use crate::buffer::Buffer;
use crate::directory::{DirectoryLock, private_directory};
use crate::keys::LogKeys;
use crate::recovery::{OpenError, resume};
use crate::settings::AuditSettings;
use crate::writer::Writer;
use async_trait::async_trait;
use kms_service::{Accounted, AuditEntry, AuditLog, NotRecorded, ServiceClock};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A log in the files of one directory.
pub struct FileAuditLog {
    buffer: Arc<Buffer>,
    accounted: Accounted,
    synchronous: bool,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl FileAuditLog {
    /// Opens the log, or begins it, and starts its writer. One log at a time has a directory: until it is closed or dropped,
    /// no other opens there.
    ///
    /// What the log tells of itself has the lifecycle time of `clock`; the age of files and the interval between checkpoints
    /// go by its elapsed time, which nobody can set back.
    ///
    /// # Errors
    ///
    /// [`OpenError`], whose message says what to do.
    pub fn open(settings: AuditSettings, keys: LogKeys, clock: Arc<ServiceClock>) -> Result<Self, OpenError> {
        let io_error = |source| OpenError::Io { directory: settings.directory.clone(), source };
        private_directory(&settings.directory).map_err(io_error)?;
        let lock = DirectoryLock::take(&settings.directory).map_err(io_error)?;
        let resumed = resume(&settings.directory, &keys)?;
        let accounted = resumed.accounted.clone();
        let buffer = Arc::new(Buffer::new(Arc::new(keys), &settings));
        let synchronous = settings.synchronous;
        let writer = Writer::begin(Arc::clone(&buffer), settings, clock, resumed)?;
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || {
            // As long as something can be written.
            let _held = lock;
            writer.run();
        });
        let writer = Mutex::new(Some(thread.map_err(OpenError::Thread)?));
        Ok(Self { buffer, accounted, synchronous, writer })
    }

    fn stop(&self) -> Option<JoinHandle<()>> {
        self.buffer.queue().stop = true;
        self.buffer.called.notify_one();
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl AuditLog for FileAuditLog {
    fn takes_changes(&self) -> Result<(), NotRecorded> {
        if self.buffer.is_broken.load(Ordering::SeqCst) { Err(NotRecorded::Broken) } else { Ok(()) }
    }

    fn trouble(&self) -> Option<String> {
        self.buffer.trouble()
    }

    async fn record_change(&self, entry: &AuditEntry<'_>) -> Result<(), NotRecorded> {
        self.buffer.take_change(entry).await.unwrap_or(Err(NotRecorded::Broken))
    }

    fn record_use(&self, entry: &AuditEntry<'_>) -> Result<(), NotRecorded> {
        self.buffer.take_use(entry)
    }

    fn record_refusal(&self, entry: &AuditEntry<'_>) {
        self.buffer.take_refusal(entry);
    }

    fn is_synchronous(&self) -> bool {
        self.synchronous
    }

    async fn settle_uses(&self) -> Result<(), NotRecorded> {
        self.buffer.take_barrier().await.unwrap_or(Err(NotRecorded::Broken))
    }

    fn accounted(&self) -> Accounted {
        self.accounted.clone()
    }

    async fn close(&self) {
        if let Some(writer) = self.stop() {
            // The writer ends after its last sync, which is no wait for a task.
            let ended = tokio::task::spawn_blocking(move || writer.join()).await;
            if !matches!(ended, Ok(Ok(()))) {
                tracing::error!("the writer of the audit log ended in a panic");
            }
        }
    }
}

impl Drop for FileAuditLog {
    fn drop(&mut self) {
        if let Some(writer) = self.stop() {
            // Its panic was told where it happened.
            let _panicked = writer.join();
        }
    }
}
