//! Requests that are made and signed before they are needed.

use crate::clock::UnixSeconds;
use crate::connection::{Encoded, Wire};
use crate::operation::Operation;
use crate::protocol::{Ciphertext, KeyHandle, NewKey, Protocol};
use crate::session::LoadKind;
use fastrand::Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One request that can be sent as it is.
pub(crate) struct Ready {
    pub(crate) operation: Operation,
    pub(crate) encoded: Encoded,
    /// In bytes, with its head over HTTP/1.1.
    pub(crate) length: usize,
    /// What a good answer holds.
    pub(crate) mark: Option<Arc<str>>,
}

/// One request before it is signed.
#[derive(Clone, Copy, Debug)]
struct Recipe {
    operation: Operation,
    key: usize,
    plaintext: usize,
}

/// What requests are made from: keys, plaintexts of one size, and what they were encrypted to.
pub(crate) struct Material {
    pub(crate) keys: Vec<KeyHandle>,
    pub(crate) plaintexts: Vec<Vec<u8>>,
    /// One for each key, of the plaintext with the same index modulo their number; empty if nothing is to be decrypted.
    pub(crate) ciphertexts: Vec<Ciphertext>,
}

/// A recipe book for one kind of load, from which pools are made anew before their signatures are too old.
pub(crate) struct Requests {
    protocol: Arc<dyn Protocol>,
    wire: Arc<Wire>,
    material: Material,
    recipes: Vec<Recipe>,
    names: Names,
}

/// Names for keys that are made while the load runs: each is used once.
struct Names {
    prefix: String,
    next: AtomicU64,
}

/// The requests of all connections, in the order in which they are sent, again and again.
pub(crate) struct Pool {
    ready: Vec<Slot>,
}

/// One place in the order.
pub(crate) enum Slot {
    Ready(Ready),
    /// A request that cannot be sent twice: it is made when its turn comes.
    CreateKey,
}

/// So many different plaintexts are enough that no server gains from seeing one again.
pub(crate) const PLAINTEXTS: usize = 64;

/// The most memory for prepared requests, in bytes.
const POOL_BYTES: usize = 256 * 1024 * 1024;
/// What a request needs beside its body, about.
const HEAD_BYTES: usize = 512;

impl Requests {
    pub(crate) fn new(
        protocol: Arc<dyn Protocol>,
        wire: Arc<Wire>,
        material: Material,
        kind: &LoadKind,
        name_prefix: String,
    ) -> Self {
        let LoadKind { mix, distribution, requests, seed, .. } = kind;
        let mut random = Rng::with_seed(*seed);
        let keys = material.keys.len();
        let size = material.plaintexts.first().map_or(0, Vec::len);
        // Each operation on each key, as far as memory allows.
        let most = POOL_BYTES / (HEAD_BYTES + size * 3 / 2);
        let count = (keys * mix.shares().len()).max(*requests).max(1_024).min(most.max(64));
        let chosen = distribution.draw(keys, count, &mut random);
        let recipes = mix.sequence(count).into_iter().zip(chosen).map(|(operation, key)| {
            let plaintext = match operation {
                Operation::Decrypt => key % material.plaintexts.len(),
                Operation::Encrypt | Operation::DataKey | Operation::CreateKey => {
                    random.usize(..material.plaintexts.len())
                }
            };
            Recipe { operation, key, plaintext }
        });
        let recipes = recipes.collect();
        Self { protocol, wire, material, recipes, names: Names { prefix: name_prefix, next: AtomicU64::new(0) } }
    }

    /// Makes and signs all requests.
    pub(crate) fn pool(&self, now: UnixSeconds) -> Pool {
        Pool { ready: self.recipes.iter().map(|recipe| self.slot(*recipe, now)).collect() }
    }

    /// How many different requests there are.
    pub(crate) fn len(&self) -> usize {
        self.recipes.len()
    }

    pub(crate) fn protocol(&self) -> &Arc<dyn Protocol> {
        &self.protocol
    }

    pub(crate) fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// A request for a key with a new name, and that name; none if the service has no keys.
    pub(crate) fn create_key(&self, now: UnixSeconds) -> Option<(Ready, String)> {
        let name = format!("{}-{}", self.names.prefix, self.names.next.fetch_add(1, Ordering::Relaxed));
        match self.protocol.new_key(&name) {
            NewKey::Ask(call) => Some((self.ready(Operation::CreateKey, call, None, now), name)),
            NewKey::None(_) => None,
        }
    }

    fn slot(&self, recipe: Recipe, now: UnixSeconds) -> Slot {
        let key = &self.material.keys[recipe.key];
        let plaintext = &self.material.plaintexts[recipe.plaintext];
        let ciphertext_mark = || self.protocol.ciphertext_mark().map(Arc::from);
        let (call, mark) = match recipe.operation {
            Operation::Encrypt => (self.protocol.encrypt(key, plaintext), ciphertext_mark()),
            Operation::Decrypt => {
                let call = self.protocol.decrypt(key, &self.material.ciphertexts[recipe.key]);
                (call, self.protocol.decrypted_mark(plaintext).map(Arc::from))
            }
            Operation::DataKey => {
                let call = self.protocol.data_key(key);
                (call.expect("a target is not prepared for what its service does not offer"), ciphertext_mark())
            }
            Operation::CreateKey => return Slot::CreateKey,
        };
        Slot::Ready(self.ready(recipe.operation, call, mark, now))
    }

    fn ready(
        &self,
        operation: Operation,
        mut call: crate::call::Call,
        mark: Option<Arc<str>>,
        now: UnixSeconds,
    ) -> Ready {
        self.protocol.sign(&mut call, self.wire.endpoint(), now);
        let encoded = self.wire.encode(&call);
        let length = match &encoded {
            Encoded::Http1(bytes) => bytes.len(),
            Encoded::Http2(_, body) => body.len(),
        };
        Ready { operation, encoded, length, mark }
    }
}

impl Pool {
    /// The slot at `turn`, beginning anew after the last one.
    pub(crate) fn slot(&self, turn: usize) -> &Slot {
        &self.ready[turn % self.ready.len()]
    }

    /// The first request, for measuring its size.
    pub(crate) fn first(&self) -> Option<&Ready> {
        self.ready.iter().find_map(|slot| match slot {
            Slot::Ready(ready) => Some(ready),
            Slot::CreateKey => None,
        })
    }
}
