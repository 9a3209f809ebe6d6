//! Between age's writer and where the file goes: an output that keeps its first error to itself.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Takes everything, and after its first error throws it away. So age's buffer can be filled to its end, and thereby
/// cleared of what was in it, even when nothing can be written any more.
pub(crate) struct Output<W> {
    inner: W,
    fault: Fault,
}

/// The first error of an [`Output`], seen from outside.
#[derive(Clone, Default)]
pub(crate) struct Fault(Arc<Mutex<Option<io::Error>>>);

impl<W> Output<W> {
    pub(crate) const fn new(inner: W, fault: Fault) -> Self {
        Self { inner, fault }
    }

    pub(crate) fn into_inner(self) -> W {
        self.inner
    }
}

impl Fault {
    /// Fails with the error, once there was one.
    pub(crate) fn check(&self) -> io::Result<()> {
        match &*self.lock() {
            None => Ok(()),
            Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<io::Error>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut fault = self.fault.lock();
        if fault.is_none() {
            *fault = self.inner.write_all(bytes).err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut fault = self.fault.lock();
        if fault.is_none() {
            *fault = self.inner.flush().err();
        }
        Ok(())
    }
}
