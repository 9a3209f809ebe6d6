//! The socket itself: where it lies, who may connect, and its end.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::routes::router;
use super::zones::Control;
use crate::private_files::{check_directory_of, create_private_directory, directory_of};

/// How long commands under way may go on once the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// The user who may do everything anyway.
const ROOT: u32 = 0;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketFault {
    #[error("control socket {0}: another process listens on it; give each server a control.socket of its own")]
    InUse(PathBuf),
    #[error("control socket {0}: something else of this name is there; move it away, or change control.socket")]
    NotASocket(PathBuf),
    #[error("control socket {path}: {reason}")]
    Directory { path: PathBuf, reason: String },
    #[error("control socket {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// A control socket that answers.
pub(crate) struct ControlServer {
    path: PathBuf,
    task: JoinHandle<io::Result<()>>,
    ending: CancellationToken,
}

impl ControlServer {
    /// Listens at `path`. A socket that a server left there when it was killed is replaced.
    pub(crate) fn open(path: &Path, control: Control) -> Result<Self, SocketFault> {
        let listener = bind(path)?;
        let ending = CancellationToken::new();
        let until = ending.clone();
        let router = router(Arc::new(control));
        let task = tokio::spawn(async move {
            axum::serve(Operators(listener), router).with_graceful_shutdown(until.cancelled_owned()).await
        });
        tracing::info!(path = %path.display(), "control socket open");
        Ok(Self { path: path.to_owned(), task, ending })
    }

    /// Takes no more commands, lets those under way end for a few seconds, and removes the socket.
    pub(crate) async fn stop(mut self) {
        self.ending.cancel();
        if tokio::time::timeout(GRACE, &mut self.task).await.is_err() {
            tracing::warn!("a control command was cut off by the end of the server");
            self.task.abort();
        }
        // The next start would replace it anyway.
        let _ = fs::remove_file(&self.path);
    }
}

/// Connections of the server's own user and of root; of others, none.
struct Operators(UnixListener);

impl Listener for Operators {
    type Io = UnixStream;
    type Addr = ();

    async fn accept(&mut self) -> (UnixStream, ()) {
        loop {
            let stream = match self.0.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a control connection was not accepted");
                    // Out of files, most likely: that ends, and nobody waits here but an operator.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            match stream.peer_cred() {
                Ok(peer) if is_operator(peer.uid(), rustix::process::geteuid().as_raw()) => return (stream, ()),
                Ok(peer) => tracing::warn!(user = peer.uid(), "a control connection of another user was refused"),
                Err(error) => tracing::warn!(%error, "a control connection of an unknown user was refused"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

const fn is_operator(peer: u32, server: u32) -> bool {
    peer == server || peer == ROOT
}

fn bind(path: &Path) -> Result<UnixListener, SocketFault> {
    let fault = |source| SocketFault::Io { path: path.to_owned(), source };
    let directory = directory_of(path);
    if !directory.exists() {
        create_private_directory(directory).map_err(fault)?;
    }
    check_directory_of(path)
        .map_err(|unfit| SocketFault::Directory { path: path.to_owned(), reason: unfit.to_string() })?;
    let short = ShortPath::of(path).map_err(fault)?;
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(SocketFault::NotASocket(path.to_owned())),
        Ok(_) => {
            if std::os::unix::net::UnixStream::connect(short.path()).is_ok() {
                return Err(SocketFault::InUse(path.to_owned()));
            }
            fs::remove_file(path).map_err(fault)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fault(error)),
    }
    // The process's umask keeps others out from the first instant.
    let listener = UnixListener::bind(short.path()).map_err(fault)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(fault)?;
    Ok(listener)
}

/// A way to a socket that fits into the 108 bytes that the system has for it, however deep the directory lies.
pub(super) struct ShortPath {
    path: PathBuf,
    /// Open as long as the path is used, because the path leads through it.
    _directory: File,
}

impl ShortPath {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let directory = File::open(directory_of(path))?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _directory: directory })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_own_user_and_root_are_operators() {
        assert!(is_operator(1000, 1000) && is_operator(0, 1000) && is_operator(0, 0));
        assert!(!is_operator(1001, 1000) && !is_operator(1000, 0));
    }

    #[tokio::test]
    async fn the_socket_is_private_and_a_dead_one_is_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("deep".repeat(40)).join("control.sock");
        assert!(path.as_os_str().len() > 108, "longer than the system's own limit");
        let listener = bind(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(directory_of(&path))), (0o600, 0o700));
        assert!(matches!(bind(&path), Err(SocketFault::InUse(_))));
        drop(listener);
        assert!(path.exists(), "as after a kill");
        drop(bind(&path).unwrap());

        fs::remove_file(&path).unwrap();
        fs::write(&path, b"mine").unwrap();
        assert!(matches!(bind(&path), Err(SocketFault::NotASocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn a_directory_that_others_can_write_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("open");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        let Err(refused) = bind(&directory.join("control.sock")) else { panic!("bound in a directory for all") };
        assert!(refused.to_string().contains("can be written by others"), "{refused}");
    }
}
