//! A small file system of its own for one test: ext4 in a file, mounted through a loop device.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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

    /// The blocks as they are at this moment, mounted beside the original.
    #[must_use]
    pub fn copy(&self, image: &Path) -> Disk {
        assert!(succeeds(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(image)), "the image is copied");
        let mount = Mount::new(image, &image.with_extension("d")).expect("the copy is mounted, its journal replayed");
        Disk { image: image.to_owned(), mount }
    }
}

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
        if !succeeds(Command::new("umount").arg(&self.at)) {
            // A process that just ended may hold it a moment longer: detach it when it is free.
            succeeds(Command::new("umount").arg("--lazy").arg(&self.at));
        }
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
