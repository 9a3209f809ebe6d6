//! Giving freed memory back to the operating system.
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
