//! A stock of the operating system's random bytes for nonces: one system call for many nonces instead of one each.
//!
//! It is a stock, not a generator: every byte comes from the operating system and is given out once. Each thread has its own, in
//! a page that a forked child finds empty, so that parent and child cannot give out the same nonce. A copy of the whole machine
//! (a snapshot that is resumed twice) does share what was in stock: at most [`STOCK`] bytes per thread.

use crate::entropy::EntropyError;
use crate::secret::wipe;
use kms_pages::Pages;
use std::cell::RefCell;

/// Bytes fetched at once: 64 nonces of 24 bytes. More hardly saves anything, and would be more that a copied machine repeats.
const STOCK: usize = 1536;

/// Fills `out` from this thread's stock, which `refill` fills anew whenever it does not suffice.
pub(crate) fn take(out: &mut [u8], refill: impl Fn(&mut [u8]) -> Result<(), EntropyError>) -> Result<(), EntropyError> {
    let taken = POOL.try_with(|pool| match pool.try_borrow_mut() {
        Ok(mut pool) => pool.as_mut().map(|pool| pool.take(out, &refill)),
        Err(_) => None,
    });
    match taken {
        Ok(Some(taken)) => taken,
        // No such page, or a thread that is ending: then as without a stock.
        Ok(None) | Err(_) => refill(out),
    }
}

thread_local! {
    static POOL: RefCell<Option<Pool>> = RefCell::new(Pool::new());
}

struct Pool {
    /// How many bytes are left, then the stock, used from its end. All of it is zero in a forked child: nothing is left.
    page: Pages,
}

impl Pool {
    fn new() -> Option<Self> {
        Pages::wiped_on_fork(COUNT + STOCK).ok().map(|page| Self { page })
    }

    fn take(
        &mut self,
        out: &mut [u8],
        refill: &impl Fn(&mut [u8]) -> Result<(), EntropyError>,
    ) -> Result<(), EntropyError> {
        if out.len() > STOCK {
            return refill(out);
        }
        let (left, stock) = self.page.bytes_mut().split_first_chunk_mut::<COUNT>().ok_or(EntropyError)?;
        let stock = stock.get_mut(..STOCK).ok_or(EntropyError)?;
        if usize::from(u16::from_le_bytes(*left)) < out.len() {
            // A refill that fails leaves nothing behind that could be given out.
            *left = [0; COUNT];
            refill(stock)?;
            *left = FULL.to_le_bytes();
        }
        let end = usize::from(u16::from_le_bytes(*left));
        let begin = end.checked_sub(out.len()).ok_or(EntropyError)?;
        // Counted as given out before it is.
        *left = u16::try_from(begin).map_err(|_| EntropyError)?.to_le_bytes();
        let given = stock.get_mut(begin..end).ok_or(EntropyError)?;
        out.copy_from_slice(given);
        given.fill(0);
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        wipe(self.page.bytes_mut());
    }
}

const COUNT: usize = size_of::<u16>();

#[expect(clippy::cast_possible_truncation, reason = "the assertion")]
const FULL: u16 = {
    assert!(STOCK <= u16::MAX as usize);
    STOCK as u16
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn every_byte_is_given_out_once() {
        let mut pool = Pool::new().unwrap();
        let fetched = Cell::new(0_u64);
        // Each byte pair of the source is another number, so a byte given out twice would be seen.
        let source = |stock: &mut [u8]| {
            for chunk in stock.chunks_mut(8) {
                fetched.set(fetched.get() + 1);
                chunk.copy_from_slice(&fetched.get().to_le_bytes()[..chunk.len()]);
            }
            Ok(())
        };
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let mut nonce = [0; 24];
            pool.take(&mut nonce, &source).unwrap();
            for number in nonce.as_chunks::<8>().0 {
                assert!(*number != [0; 8] && seen.insert(*number), "given out twice");
            }
        }
        let in_stock = u64::try_from(STOCK / 8).unwrap();
        assert_eq!(fetched.get(), 3000_u64.next_multiple_of(in_stock), "fetched more often than needed");
    }

    #[test]
    fn a_source_that_fails_gives_nothing_and_may_recover() {
        let mut pool = Pool::new().unwrap();
        let failing = |stock: &mut [u8]| {
            stock.fill(0xee);
            Err(EntropyError)
        };
        let mut nonce = [0; 24];
        assert_eq!((pool.take(&mut nonce, &failing), nonce), (Err(EntropyError), [0; 24]));
        assert_eq!((pool.take(&mut nonce, &failing), nonce), (Err(EntropyError), [0; 24]));
        let good = |stock: &mut [u8]| {
            stock.fill(0x11);
            Ok(())
        };
        assert_eq!((pool.take(&mut nonce, &good), nonce), (Ok(()), [0x11; 24]));
    }

    /// What a forked child finds: zeros throughout.
    #[test]
    fn a_pool_of_zeros_is_empty() {
        let mut pool = Pool::new().unwrap();
        let source = |byte| {
            move |stock: &mut [u8]| {
                stock.fill(byte);
                Ok(())
            }
        };
        let mut nonce = [0; 24];
        pool.take(&mut nonce, &source(1)).unwrap();
        pool.page.bytes_mut().fill(0);
        pool.take(&mut nonce, &source(2)).unwrap();
        assert_eq!(nonce, [2; 24]);
    }

    #[test]
    fn longer_than_the_stock_comes_straight_from_the_source() {
        let mut out = vec![0; STOCK + 1];
        let source = |bytes: &mut [u8]| {
            assert_eq!(bytes.len(), STOCK + 1);
            bytes.fill(3);
            Ok(())
        };
        Pool::new().unwrap().take(&mut out, &source).unwrap();
        assert!(out.iter().all(|byte| *byte == 3));
    }
}
