//! A small ext4 file system whose power can be cut.
//!
//! The file system lies in an image file mounted through a loop device. What its kernel has not yet sent to the block layer
//! is not in the image; a copy of the image at some instant is what a disk would hold had the power failed then. (A disk
//! with a volatile cache may hold less; a barrier that was issued and honoured makes the two the same.)
//!
//! Needs root, `mkfs.ext4` and loop devices. Use: [`LoopDisk::create`], let a child process write below
//! [`LoopDisk::path`], stop it with SIGSTOP, [`LoopDisk::copy_image`], kill it, [`LoopDisk::continue_from_copy`], look.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A mounted file system in an image file; unmounted when dropped.
pub struct LoopDisk {
    image: PathBuf,
    copy: PathBuf,
    mount: PathBuf,
}

impl LoopDisk {
    /// Makes a file system of that many bytes in `folder`, and mounts it there.
    ///
    /// # Errors
    /// Whatever `mkfs.ext4` or `mount` say, in words; mostly that this user may not.
    pub fn create(folder: &Path, bytes: u64) -> io::Result<Self> {
        let disk = Self { image: folder.join("image"), copy: folder.join("copy"), mount: folder.join("mount") };
        fs::create_dir(&disk.mount)?;
        fs::File::create(&disk.image)?.set_len(bytes)?;
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&disk.image))?;
        disk.mount_image()?;
        Ok(disk)
    }

    /// Where the file system is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Copies what the disk holds at this instant, while the file system stays mounted. Nobody may write meanwhile.
    ///
    /// # Errors
    /// The operating system's.
    pub fn copy_image(&self) -> io::Result<()> {
        run(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(&self.copy))
    }

    /// Takes the disk as it was copied last, as after a power cut at that instant, and mounts it.
    ///
    /// # Errors
    /// Whatever `umount` or `mount` say.
    pub fn continue_from_copy(&self) -> io::Result<()> {
        self.unmount()?;
        fs::rename(&self.copy, &self.image)?;
        self.mount_image()
    }

    fn mount_image(&self) -> io::Result<()> {
        // The journal is written when it is asked for, not every five seconds: nothing becomes durable by chance.
        run(Command::new("mount").args(["-o", "loop,commit=300"]).arg(&self.image).arg(&self.mount))
    }

    fn unmount(&self) -> io::Result<()> {
        let mut result = run(Command::new("umount").arg(&self.mount));
        // A process that another test starts at this moment holds what this one had open, until it runs its program.
        for _ in 0..200 {
            if !result.as_ref().is_err_and(|error| error.to_string().contains("busy")) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
            result = run(Command::new("umount").arg(&self.mount));
        }
        result
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Not mounted any more when an earlier step failed.
        let _unmounted = self.unmount();
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}
