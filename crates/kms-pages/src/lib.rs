//! Memory pages about which the operating system promises something that an allocator cannot: that they are never written to
//! swap, are left out of core dumps, or are empty after a fork.
//!
//! The one crate, beside the cipher kernel, that holds `unsafe` code: mapping memory needs it. What it gives are plain slices.

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap_anonymous, munmap};
use rustix::param::page_size;
use std::ptr::NonNull;
use std::{fmt, io, slice};

/// Whole pages of zeros, owned, and given back when dropped.
pub struct Pages {
    start: NonNull<u8>,
    len: usize,
}

/// Whether memory is kept out of swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locking {
    /// It is: the pages stay in memory.
    Locked,
    /// It is not: the process may lock no more (`RLIMIT_MEMLOCK`).
    Refused,
}

/// The operating system gave no memory, or not of the kind that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the operating system refused memory pages")]
pub struct MapError(#[from] io::Error);

impl Pages {
    /// At least `len` bytes for secrets: left out of core dumps and, as far as the process may, locked in memory.
    ///
    /// # Errors
    ///
    /// When there is no memory, or the pages cannot be left out of core dumps.
    pub fn for_secrets(len: usize) -> Result<(Self, Locking), MapError> {
        let pages = Self::map(len)?;
        pages.advise(Advice::LinuxDontDump)?;
        // SAFETY: the range is this mapping's own; locking changes no byte of it. It ends with the mapping.
        #[expect(unsafe_code, reason = "a system call on memory that is ours")]
        let locked = unsafe { mlock(pages.start.as_ptr().cast(), pages.len) };
        Ok((pages, if locked.is_ok() { Locking::Locked } else { Locking::Refused }))
    }

    /// At least `len` bytes that a forked child finds full of zeros.
    ///
    /// # Errors
    ///
    /// When there is no memory, or the kernel (before 4.14) does not know of this.
    pub fn wiped_on_fork(len: usize) -> Result<Self, MapError> {
        let pages = Self::map(len)?;
        pages.advise(Advice::LinuxWipeOnFork)?;
        Ok(pages)
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is the beginning of `len` readable bytes, which the kernel has set to zero and which only this value
        // gives access to; the borrow keeps it alive.
        #[expect(unsafe_code, reason = "the mapping is seen as a slice")]
        unsafe {
            slice::from_raw_parts(self.start.as_ptr(), self.len)
        }
    }

    /// The bytes, to be changed.
    pub const fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the bytes are writable; the exclusive borrow keeps every other access away.
        #[expect(unsafe_code, reason = "the mapping is seen as a slice")]
        unsafe {
            slice::from_raw_parts_mut(self.start.as_ptr(), self.len)
        }
    }

    /// The bytes for as long as the process lives.
    #[must_use]
    pub fn leak(self) -> &'static mut [u8] {
        Box::leak(Box::new(self)).bytes_mut()
    }

    fn map(len: usize) -> Result<Self, MapError> {
        let page = page_size();
        let len = len.max(1).checked_next_multiple_of(page).ok_or(Errno::NOMEM).map_err(io::Error::from)?;
        // SAFETY: the kernel chooses the place, so no memory of anybody else is replaced.
        #[expect(unsafe_code, reason = "memory is asked for from the operating system")]
        let start =
            unsafe { mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE) };
        let start = start.map_err(io::Error::from)?;
        let start = NonNull::new(start.cast()).ok_or(Errno::NOMEM).map_err(io::Error::from)?;
        Ok(Self { start, len })
    }

    fn advise(&self, advice: Advice) -> Result<(), MapError> {
        // SAFETY: the range is this mapping's own, and neither advice used here (core dumps, fork) touches its bytes in
        // this process.
        #[expect(unsafe_code, reason = "a system call on memory that is ours")]
        let advised = unsafe { madvise(self.start.as_ptr().cast(), self.len, advice) };
        advised.map_err(|errno| MapError(errno.into()))
    }
}

// SAFETY: the pages belong to this value alone, like the memory of a `Box<[u8]>`; no thread is special to them.
#[expect(unsafe_code, reason = "owned memory behind a raw pointer")]
unsafe impl Send for Pages {}

// SAFETY: through a shared reference the bytes can only be read.
#[expect(unsafe_code, reason = "owned memory behind a raw pointer")]
unsafe impl Sync for Pages {}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no borrow of it is left. An error would only mean that the memory stays.
        #[expect(unsafe_code, reason = "memory is given back to the operating system")]
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn pages_are_whole_and_zero() {
        let page = page_size();
        for (asked, given) in [(0, page), (1, page), (page, page), (page + 1, 2 * page)] {
            let mut pages = Pages::wiped_on_fork(asked).unwrap();
            assert_eq!(pages.bytes().len(), given);
            assert!(pages.bytes().iter().all(|byte| *byte == 0));
            pages.bytes_mut().fill(7);
            assert!(pages.bytes().iter().all(|byte| *byte == 7));
        }
        assert!(Pages::wiped_on_fork(usize::MAX).is_err());
    }

    /// The kernel's own account of the mapping: `dd` not dumped, `wf` wiped on fork, `lo` locked.
    #[test]
    fn the_kernel_knows_what_was_promised() {
        let (secret, locking) = Pages::for_secrets(1).unwrap();
        let flags = flags_of(&secret);
        assert!(flags.contains(&"dd".to_owned()), "{flags:?}");
        assert_eq!(flags.contains(&"lo".to_owned()), locking == Locking::Locked, "{flags:?}");
        let forked = Pages::wiped_on_fork(1).unwrap();
        assert!(flags_of(&forked).contains(&"wf".to_owned()));
    }

    /// More than the address space of a process holds, one after the other.
    #[test]
    fn dropped_pages_are_given_back() {
        for _ in 0..20_000 {
            assert!(Pages::wiped_on_fork(8 << 30).is_ok());
        }
    }

    /// The flags of the mapping that `pages` lie in; the kernel joins neighbours of the same kind.
    fn flags_of(pages: &Pages) -> Vec<String> {
        let address = pages.bytes().as_ptr() as usize;
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let number = |text: &str| usize::from_str_radix(text, 16).ok();
        let holds = |line: &str| {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let ends = range.and_then(|(start, end)| Some((number(start)?, number(end)?)));
            ends.is_some_and(|(start, end)| (start..end).contains(&address))
        };
        let own = smaps.lines().skip_while(|line| !holds(line));
        let flags = own.skip(1).find_map(|line| line.strip_prefix("VmFlags:")).unwrap();
        flags.split_whitespace().map(str::to_owned).collect()
    }
}
