//! What the process does about itself before it holds a secret.

use kms_crypto::LockedMemory;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask};
use rustix::thread::set_no_new_privs;

/// New files are the owner's alone, and a crash leaves no core with keys in it.
///
/// # Errors
/// When the kernel refuses: then no secret should be loaded.
pub(crate) fn guard_secrets() -> Result<(), Errno> {
    umask(Mode::RWXG | Mode::RWXO);
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // A core handler that is a pipe ignores the limit; this it does not. It also keeps other processes of the same user
    // from reading this one's memory.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // Nothing this process might ever run, such as a helper of a PKCS#11 module, can gain the rights of another user.
    set_no_new_privs(true)
}

/// Lets the process open as many files as its hard limit allows: the usual soft limit is below the connections of one server.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Says in the log that key material could not be locked, and what to do. To be called once the keys are loaded.
pub(crate) fn warn_of_unlocked_keys() {
    let LockedMemory { locked_bytes, unlocked_bytes } = kms_crypto::locked_memory();
    if unlocked_bytes > 0 {
        tracing::warn!(
            locked_bytes,
            unlocked_bytes,
            "key material is in memory that may be swapped: raise RLIMIT_MEMLOCK (LimitMEMLOCK=infinity in the unit, or ulimit \
             -l unlimited)"
        );
    }
}

/// Keeps the memory out of swap where the system allows a process to lock all of it.
///
/// A finite limit is left alone: with it, the first allocation beyond the limit would end the server.
pub(crate) fn lock_memory() {
    if getrlimit(Resource::Memlock).current.is_some() {
        tracing::info!("memory may be swapped: set LimitMEMLOCK=infinity (ulimit -l unlimited), or use encrypted swap");
        return;
    }
    match mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT) {
        Ok(()) => tracing::debug!("memory is locked"),
        Err(error) => tracing::warn!(%error, "memory could not be locked and may be swapped"),
    }
}
