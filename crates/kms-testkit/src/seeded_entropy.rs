//! Randomness that repeats, remembers what it gave, and can run dry.

use kms_crypto::{Entropy, EntropyError};
use ring::digest::{Context, SHA256};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// SHA-256 over a seed and a counter. Not secret, not for products: the same seed gives the same bytes.
pub struct SeededEntropy {
    seed: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    blocks: u64,
    given: Vec<Vec<u8>>,
    supply: Supply,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Supply {
    #[default]
    Flowing,
    Dry,
}

impl SeededEntropy {
    /// Entropy of that seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, state: Mutex::default() }
    }

    /// Every answer given so far, in order.
    #[must_use]
    pub fn given(&self) -> Vec<Vec<u8>> {
        self.state().given.clone()
    }

    /// Fails from now on, as an operating system without random bytes would.
    pub fn run_dry(&self) {
        self.state().supply = Supply::Dry;
    }

    /// Gives bytes again.
    pub fn flow(&self) {
        self.state().supply = Supply::Flowing;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        let mut state = self.state();
        if state.supply == Supply::Dry {
            return Err(EntropyError);
        }
        for chunk in out.chunks_mut(32) {
            state.blocks += 1;
            let mut block = Context::new(&SHA256);
            block.update(&self.seed.to_be_bytes());
            block.update(&state.blocks.to_be_bytes());
            chunk.copy_from_slice(&block.finish().as_ref()[..chunk.len()]);
        }
        state.given.push(out.to_vec());
        Ok(())
    }
}
