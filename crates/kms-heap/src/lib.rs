//! When freed memory is given back to the operating system, and when it is kept.
//!
//! glibc keeps what was freed for later use, unless it lies at the end of a heap. After a start that read a whole store that
//! is more than what stays in use. Other allocators see to it by themselves, and there nothing is done here.

/// Gives back whole pages that nothing uses any more. Other threads that allocate meanwhile may wait for some milliseconds.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it has no precondition, and neither moves nor changes memory in use (malloc_trim(3)).
        #[expect(unsafe_code, reason = "a call into the C library without arguments that could be wrong")]
        let _pages_were_given_back = unsafe { libc::malloc_trim(0) };
    }
}

/// Keeps up to `bytes` of freed memory for each of glibc's heaps, of which threads have some each. Blocks of up to a quarter of that come out of
/// these heaps.
///
/// Without it glibc gives back whatever is over 128 KiB at a heap's end. A server that needs some blocks of 64 KiB for each request would
/// give memory back and ask for it again with each, and the kernel would fill it with zeros page by page.
pub fn keep_freed(bytes: u32) {
    #[cfg(target_env = "gnu")]
    {
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        for (parameter, value) in [(libc::M_TRIM_THRESHOLD, bytes), (libc::M_MMAP_THRESHOLD, bytes / 4)] {
            // SAFETY: it takes any numbers and refuses those it does not know (mallopt(3)); that memory in use moves or changes is not
            // among what it does.
            #[expect(unsafe_code, reason = "a call into the C library with two numbers")]
            let _taken = unsafe { libc::mallopt(parameter, value) };
        }
    }
    #[cfg(not(target_env = "gnu"))]
    let _other_allocators_keep_what_they_like = bytes;
}

#[cfg(test)]
#[cfg(target_env = "gnu")]
mod tests {
    use super::*;

    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    #[test]
    fn what_was_freed_between_pieces_in_use_goes_back() {
        const PIECE: usize = 1_000;
        const PIECES: usize = 64 << 10;
        let mut pieces: Vec<Option<Vec<u8>>> = (0..PIECES).map(|_| Some(vec![7; PIECE])).collect();
        let full = resident();
        for (number, piece) in pieces.iter_mut().enumerate() {
            // The last one keeps the heap's end where it is.
            if !number.is_multiple_of(100) && number != PIECES - 1 {
                *piece = None;
            }
        }
        give_back();
        let given_back = full.saturating_sub(resident());
        assert!(given_back > PIECE * PIECES / 2, "{given_back} bytes");
        assert!(
            pieces.iter().flatten().all(|piece| piece.iter().all(|byte| *byte == 7)),
            "what is in use is as it was"
        );
    }
}
