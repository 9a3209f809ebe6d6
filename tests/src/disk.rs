//! A small file system of its own for one test: ext4 in a file, mounted through a loop device.

use crate::server::wait_for;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A small ext4 file system in a file.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    mount: Mount,
}

impl Disk {
    /// A file system of `bytes` bytes with its image and mount point in `directory`; none where this user may not mount.
    #[must_use]
    pub fn create(directory: &Path, bytes: u64) -> Option<Self> {
        let image = directory.join("disk.img");
        fs::File::create(&image).and_then(|file| file.set_len(bytes)).expect("the image is made");
        succeeds(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image)).then_some(())?;
        let mount = Mount::new(&image, &directory.join("disk"))?;
        Some(Self { image, mount })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn mounted_at(&self) -> &Path {
        &self.mount.at
    }

    /// Lets it be read only, or written again; false while something on it is being written.
    #[must_use]
    pub fn set_read_only(&self, read_only: bool) -> bool {
        let option = if read_only { "remount,ro" } else { "remount,rw" };
        succeeds(Command::new("mount").args(["-o", option]).arg(&self.mount.at))
    }

    /// The blocks as they are at one moment, in an image of their own beside this one, and mounted.
    ///
    /// Each copy is a new file: where an earlier one is still in use, the kernel would show that one's file system again.
    #[must_use]
    pub fn copy(&self) -> Disk {
        let beside = self.image.parent().expect("an image lies in a directory");
        let file = tempfile::Builder::new().prefix("copy-").suffix(".img").tempfile_in(beside);
        let image = file.and_then(|file| Ok(file.keep()?.1)).expect("a file for the copy is made");
        // The kernel may write while it is read. What is the same once the copy is whole was so at that moment.
        let is_of_one_moment = (0..COPIES).any(|_| {
            let copied = succeeds(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(&image));
            assert!(copied, "the image is copied");
            succeeds(Command::new("cmp").arg("--silent").arg(&self.image).arg(&image))
        });
        assert!(is_of_one_moment, "the image changed during each of {COPIES} copies");
        let mount = Mount::new(&image, &image.with_extension("d")).expect("the copy is mounted, its journal replayed");
        Disk { image, mount }
    }
}

/// How often an image that changes meanwhile is copied before a test fails. Nobody but the kernel may write to it then.
const COPIES: u32 = 50;

/// A loop mount that is undone when dropped.
#[derive(Debug)]
struct Mount {
    at: PathBuf,
}

impl Mount {
    fn new(image: &Path, at: &Path) -> Option<Self> {
        fs::create_dir_all(at).expect("the mount point is made");
        let mounted = succeeds(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at));
        mounted.then(|| Self { at: at.to_owned() })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A process that another test starts at this moment holds what this one had open, until it runs its program.
        let unmounted =
            wait_for(Duration::from_secs(10), || succeeds(Command::new("umount").arg(&self.at)).then_some(()));
        if unmounted.is_none() {
            succeeds(Command::new("umount").arg("--lazy").arg(&self.at));
        }
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
