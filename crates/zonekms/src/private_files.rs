//! Files and directories that only their owner may read, whatever the umask.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kms_crypto::SecretBytes;
use zeroize::Zeroizing;

/// Why a secret could not be read from a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnreadableSecret {
    #[error("cannot be opened: {0}")]
    NotOpened(io::Error),
    #[error(transparent)]
    Unfit(#[from] UnfitSecret),
}

/// Why a file that was opened is not taken for a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnfitSecret {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    #[error("{path} can be read by others (mode {mode:04o}); run: chmod 600 {path}")]
    Loose { path: PathBuf, mode: u32 },
    #[error(
        "{path} belongs to user {owner}, but must belong to user {user}, who runs this process, or to root; {hint}",
        hint = hint_for_foreign(path, *owner, *user)
    )]
    Foreign { path: PathBuf, owner: u32, user: u32 },
    #[error(transparent)]
    Replaceable(#[from] OpenDirectory),
    #[error("{path} is larger than {limit} bytes")]
    TooLong { path: PathBuf, limit: usize },
}

/// A directory in which others could put a file of theirs in the place of one of ours.
#[derive(Debug, thiserror::Error)]
#[error(
    "{directory} can be written by others (mode {mode:04o}), who could replace {file}; run: chmod go-w {directory}",
    directory = directory.display(), file = file.display()
)]
pub(crate) struct OpenDirectory {
    directory: PathBuf,
    file: PathBuf,
    mode: u32,
}

/// Who may be able to read a file that holds a secret, and who to replace it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Only the owner, who is this process's user or root: looser permissions are refused.
    Owner,
    /// The same, for a file that this program keeps itself: looser permissions are taken away.
    Tightened,
    /// Something outside the file guards it. A systemd credential lies in a directory of its own and may show group
    /// bits that are only the mask of an access list.
    Elsewhere,
}

/// The user who may do everything anyway.
const ROOT: u32 = 0;

/// Root is told whose file it is, rather than to take it away from the server.
fn hint_for_foreign(path: &Path, owner: u32, user: u32) -> String {
    if user == ROOT { format!("run this as user {owner}") } else { format!("run: chown {user} {}", path.display()) }
}

/// Makes the directory with its missing parents, all of mode 0700. An existing one is tightened to 0700.
pub(crate) fn create_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // The mode above passes through the umask and does not touch a directory that was there.
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Writes a new file of mode 0600 and forces it to disk, with its directory entry. An existing file is an error.
pub(crate) fn write_new_private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    write_private(path, content)?;
    sync_directory_of(path)
}

/// Writes a file of mode 0600 in place of whatever is there: after a crash at any instant, the old content or the new
/// one is there as a whole. The caller is the only writer of `path`.
pub(crate) fn replace_private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = write_temporary(path, content)?;
    kms_crashpoint::passed("file:written-beside");
    fs::rename(&temporary, path)?;
    kms_crashpoint::passed("file:replaced");
    sync_directory_of(path)
}

/// Writes a file of mode 0600 where there is none: after a crash at any instant it is there as a whole or not at all. An
/// existing file is an error, and is left as it is. The caller is the only writer of `path`.
pub(crate) fn place_private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = write_temporary(path, content)?;
    let placed = rename_to_free_name(&temporary, path);
    kms_crashpoint::passed("file:linked");
    if placed.is_err() {
        fs::remove_file(&temporary)?;
    }
    placed?;
    sync_directory_of(path)
}

/// Gives a file another name, which must be free. Where the file system cannot do that in one step, a crash in the midst of
/// it may leave the file with both names.
fn rename_to_free_name(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            // Unlike a rename without that flag, a link never takes the place of what is there.
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

/// Removes what a process that was killed left of writing one of the files `paths`, durably. Nobody else writes them now.
pub(crate) fn remove_left_over_parts(paths: &[&Path]) -> io::Result<()> {
    for path in paths {
        if remove_if_there(&part_of(path))? {
            sync_directory_of(path)?;
        }
    }
    Ok(())
}

/// Gives a file its final name, durably.
pub(crate) fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_directory_of(to)
}

/// Forces the directory entry of `path` to disk.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

/// Checks that nobody else can put another file in the place of `path`: others may not write its directory, unless its
/// sticky bit keeps them from each other's files. This process's own group may.
pub(crate) fn check_directory_of(path: &Path) -> Result<(), UnfitSecret> {
    let directory = directory_of(path);
    let io_error = |source| UnfitSecret::Io { path: directory.to_owned(), source };
    let metadata = fs::metadata(directory).map_err(io_error)?;
    let mode = metadata.mode() & 0o7777;
    let our_group = metadata.gid() == rustix::process::getegid().as_raw();
    let others = if our_group { 0o002 } else { 0o022 };
    if mode & others != 0 && mode & 0o1000 == 0 {
        let (directory, file) = (directory.to_owned(), path.to_owned());
        return Err(UnfitSecret::Replaceable(OpenDirectory { directory, file, mode }));
    }
    Ok(())
}

/// Reads a secret of at most `limit` bytes. The permissions checked are those of the file that is read.
///
/// When it cannot be opened, the error does not repeat the path: it may be the secret itself, put there by mistake.
pub(crate) fn read_secret(path: &Path, limit: usize, guard: Guard) -> Result<SecretBytes, UnreadableSecret> {
    let io_error = |source| UnfitSecret::Io { path: path.to_owned(), source };
    // Without O_NONBLOCK, opening a named pipe would wait for a writer.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let opened = OpenOptions::new().read(true).custom_flags(nonblocking).open(path);
    let file = opened.map_err(UnreadableSecret::NotOpened)?;
    let metadata = file.metadata().map_err(io_error)?;
    if !metadata.is_file() {
        return Err(UnfitSecret::NotAFile(path.to_owned()).into());
    }
    match guard {
        Guard::Owner | Guard::Tightened => {
            let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
            if owner != user && owner != ROOT {
                return Err(UnfitSecret::Foreign { path: path.to_owned(), owner, user }.into());
            }
            check_directory_of(path)?;
            // The path may be a link: the file's own place counts as well.
            check_directory_of(&fs::canonicalize(path).map_err(io_error)?)?;
        }
        Guard::Elsewhere => {}
    }
    let mode = metadata.mode() & 0o7777;
    match guard {
        Guard::Owner if mode & 0o077 != 0 => {
            return Err(UnfitSecret::Loose { path: path.to_owned(), mode }.into());
        }
        Guard::Tightened if mode & 0o077 != 0 => {
            file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(io_error)?;
        }
        Guard::Owner | Guard::Tightened | Guard::Elsewhere => {}
    }
    // Room for one byte too many: the buffer never grows, so no copy is left behind unwiped.
    let mut content = Zeroizing::new(Vec::with_capacity(limit + 1));
    file.take(limit as u64 + 1).read_to_end(&mut content).map_err(io_error)?;
    if content.len() > limit {
        return Err(UnfitSecret::TooLong { path: path.to_owned(), limit }.into());
    }
    Ok(SecretBytes::copy_from(&content))
}

/// Whether others than the owner may read the file.
pub(crate) fn is_readable_by_others(path: &Path) -> io::Result<bool> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o044 != 0)
}

/// The file that has the name of `path` and `ending` after it, in the same directory.
pub(crate) fn beside(keyring: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(keyring);
    name.push(ending);
    PathBuf::from(name)
}

/// The directory that holds `path`.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// Writes the content beside `path`, over what an earlier process left there half written.
fn write_temporary(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let temporary = part_of(path);
    remove_if_there(&temporary)?;
    write_private(&temporary, content)?;
    Ok(temporary)
}

/// The name of a file as long as it is written.
fn part_of(path: &Path) -> PathBuf {
    beside(path, ".part")
}

/// Whether there was such a file.
fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn directories_and_files_are_the_owners_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("a/b");
        create_private_directory(&directory).unwrap();
        assert_eq!(mode(&directory), 0o700);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        create_private_directory(&directory).unwrap();
        assert_eq!(mode(&directory), 0o700);

        let file = directory.join("f");
        write_new_private_file(&file, b"one").unwrap();
        assert_eq!(mode(&file), 0o600);
        assert_eq!(write_new_private_file(&file, b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        replace_private_file(&file, b"two").unwrap();
        assert_eq!((fs::read(&file).unwrap().as_slice(), mode(&file)), (&b"two"[..], 0o600));
        fs::write(directory.join("f.part"), b"half").unwrap();
        assert_eq!(place_private_file(&file, b"three").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&file).unwrap(), b"two");
        fs::remove_file(&file).unwrap();
        fs::write(directory.join("f.part"), b"half").unwrap();
        place_private_file(&file, b"three").unwrap();
        assert_eq!((fs::read(&file).unwrap().as_slice(), mode(&file)), (&b"three"[..], 0o600));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("secret");
        write_new_private_file(&file, b"0123456789").unwrap();
        assert_eq!(read_secret(&file, 10, Guard::Owner).unwrap().expose(), b"0123456789");
        assert!(matches!(
            read_secret(&file, 9, Guard::Owner),
            Err(UnreadableSecret::Unfit(UnfitSecret::TooLong { limit: 9, .. }))
        ));
        for loose in [0o640, 0o604, 0o644, 0o610, 0o620] {
            fs::set_permissions(&file, fs::Permissions::from_mode(loose)).unwrap();
            let refused = read_secret(&file, 10, Guard::Owner);
            assert!(
                matches!(refused, Err(UnreadableSecret::Unfit(UnfitSecret::Loose { mode, .. })) if mode == loose),
                "{loose:o}"
            );
            assert!(read_secret(&file, 10, Guard::Elsewhere).is_ok(), "{loose:o}");
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(read_secret(&file, 10, Guard::Owner).is_ok());
        assert!(matches!(
            read_secret(scratch.path(), 10, Guard::Owner),
            Err(UnreadableSecret::Unfit(UnfitSecret::NotAFile(_)))
        ));
    }

    #[test]
    fn a_file_of_our_own_is_tightened() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("keyring");
        write_new_private_file(&file, b"x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
        assert_eq!(read_secret(&file, 10, Guard::Tightened).unwrap().expose(), b"x");
        assert_eq!(mode(&file), 0o600);
    }

    /// Only root can give a file away; says so where it cannot run.
    #[test]
    fn a_secret_of_another_user_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("secret");
        write_new_private_file(&file, b"x").unwrap();
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        std::os::unix::fs::chown(&file, Some(12_345), None).unwrap();
        for guard in [Guard::Owner, Guard::Tightened] {
            let refused = read_secret(&file, 10, guard);
            assert!(
                matches!(refused, Err(UnreadableSecret::Unfit(UnfitSecret::Foreign { owner: 12_345, user: 0, .. }))),
                "{guard:?}"
            );
            let told = refused.err().unwrap().to_string();
            assert!(told.ends_with("; run this as user 12345"), "{told}");
        }
        assert!(read_secret(&file, 10, Guard::Elsewhere).is_ok());
    }

    #[test]
    fn a_secret_that_others_can_replace_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("open");
        create_private_directory(&directory).unwrap();
        let file = directory.join("secret");
        let link = scratch.path().join("link");
        write_new_private_file(&file, b"x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for (mode, accepted) in [
            (0o700, true),
            (0o755, true),
            (0o775, true),
            (0o757, false),
            (0o777, false),
            (0o1777, true),
            (0o1757, true),
        ] {
            fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
            for (path, guard) in [(&file, Guard::Owner), (&file, Guard::Tightened), (&link, Guard::Owner)] {
                match read_secret(path, 10, guard) {
                    Ok(_) => assert!(accepted, "{mode:o}"),
                    Err(error) => {
                        let told = format!("{} can be written by others (mode {mode:04o})", directory.display());
                        assert!(!accepted && error.to_string().starts_with(&told), "{mode:o}: {error}");
                    }
                }
            }
            assert!(read_secret(&file, 10, Guard::Elsewhere).is_ok());
        }
    }

    #[test]
    fn a_named_pipe_is_not_waited_for() {
        let scratch = tempfile::tempdir().unwrap();
        let pipe = scratch.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        let (done, answer) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            for guard in [Guard::Owner, Guard::Tightened, Guard::Elsewhere] {
                let refused = read_secret(&pipe, 10, guard);
                assert!(matches!(refused, Err(UnreadableSecret::Unfit(UnfitSecret::NotAFile(_)))), "{guard:?}");
            }
            done.send(()).unwrap();
        });
        answer.recv_timeout(std::time::Duration::from_secs(20)).expect("an answer instead of a wait");
        reader.join().unwrap();
    }

    #[test]
    fn a_path_that_leads_nowhere_is_not_repeated() {
        for path in ["/nowhere/hunter2", &"hunter2".repeat(1_000)] {
            let message = read_secret(Path::new(path), 10, Guard::Owner).err().unwrap().to_string();
            assert!(message.starts_with("cannot be opened: ") && !message.contains("hunter2"), "{message}");
        }
    }
}
