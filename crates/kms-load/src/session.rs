//! A target that is being measured: its keys and ciphertexts, made through its own API outside the measured time.

use crate::call::Call;
use crate::clock::Clock;
use crate::connection::{AnswerBuffer, Wire};
use crate::failure::{ExchangeFailure, FailureKind};
use crate::key_choice::Distribution;
use crate::operation::{Mix, Operation};
use crate::protocol::{Ciphertext, KeyHandle, NewKey, Protocol, UnexpectedAnswer};
use crate::requests::{Material, PLAINTEXTS, Requests};
use crate::visit::{Stretch, Visit, VisitSettings, visit};
use crate::worker::Check;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::JoinSet;

/// Set-up requests at the same time.
const AT_ONCE: usize = 32;

/// Why a target cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A set-up request failed.
    #[error("{target}: {what}: {failure}")]
    SetUp {
        /// The target's label.
        target: String,
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        failure: ExchangeFailure,
    },
    /// The service has no such call.
    #[error("{target}: there is no {operation} call in what {protocol} offers: leave it out of the mix")]
    NotOffered {
        /// The target's label.
        target: String,
        /// What its service speaks.
        protocol: &'static str,
        /// What was asked for.
        operation: Operation,
    },
    /// The machine did not give what measuring needs: threads, timers, a processor.
    #[error("the load could not be made: {0}")]
    Machine(#[from] io::Error),
}

/// One kind of load.
#[derive(Clone, Debug)]
pub struct LoadKind {
    /// The operations.
    pub mix: Mix,
    /// The size of plaintexts, in bytes.
    pub size: usize,
    /// How many keys are used.
    pub keys: usize,
    /// How they are chosen.
    pub distribution: Distribution,
    /// At least so many different requests are made, as far as memory allows, and each is sent before any is sent again. Loads that are compared need the
    /// same number: to send many different requests costs the generator and the caches more than to send a few.
    pub requests: usize,
    /// What the random choices begin with.
    pub seed: u64,
}

/// A target with its keys.
pub struct Session {
    label: String,
    protocol: Arc<dyn Protocol>,
    wire: Arc<Wire>,
    keys: Vec<KeyHandle>,
    /// Keys of the target that were there before, at the beginning of `keys`: they are left alone at the end.
    given: usize,
    /// Keys that loads have made.
    made: Vec<KeyHandle>,
    /// By plaintext size: one for each of the first keys.
    ciphertexts: BTreeMap<usize, Vec<Ciphertext>>,
    name_prefix: String,
    loads: usize,
}

/// Told what set-up and clean-up are doing: what, how many are done, of how many.
pub type OnStep<'a> = &'a mut dyn FnMut(&str, usize, usize);

impl Session {
    /// A target. `given` are keys to use before any are made. Keys that are made have names that begin with `name_prefix`.
    #[must_use]
    pub fn new(
        label: String,
        protocol: Arc<dyn Protocol>,
        wire: Wire,
        given: Vec<KeyHandle>,
        name_prefix: String,
    ) -> Self {
        Self {
            label,
            protocol,
            wire: Arc::new(wire),
            given: given.len(),
            keys: given,
            made: Vec::new(),
            ciphertexts: BTreeMap::new(),
            name_prefix,
            loads: 0,
        }
    }

    /// What the target is called in reports.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// How it is connected to.
    #[must_use]
    pub fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// The keys there are, in the order of their making.
    #[must_use]
    pub fn keys(&self) -> &[KeyHandle] {
        &self.keys
    }

    /// Makes what is missing for `kind`: keys, and ciphertexts if it decrypts.
    ///
    /// # Errors
    /// When the service does not offer an operation of `kind`, and when the target refuses or cannot be reached. What was
    /// made until then is known and can be cleaned up.
    pub fn prepare(&mut self, kind: &LoadKind, on_step: OnStep<'_>) -> Result<(), SessionError> {
        self.offers(&kind.mix)?;
        while self.keys.len() < kind.keys {
            // In portions, so that keys made before a failure are known.
            let count = (kind.keys - self.keys.len()).min(1_000);
            on_step("keys", self.keys.len(), kind.keys);
            self.make_keys(count)?;
        }
        if kind.mix.has(Operation::Decrypt) {
            let plaintexts = plaintexts(kind.size);
            let mut have = self.ciphertexts.remove(&kind.size).unwrap_or_default();
            while have.len() < kind.keys {
                let upto = kind.keys.min(have.len() + 1_000);
                on_step("ciphertexts", have.len(), kind.keys);
                let calls =
                    (have.len()..upto).map(|at| self.protocol.encrypt(&self.keys[at], &plaintexts[at % PLAINTEXTS]));
                for answer in self.exchange_all("encrypting in advance", calls.collect())? {
                    let ciphertext = self.protocol.ciphertext_of(&answer);
                    have.push(ciphertext.map_err(|error| self.unexpected("encrypting in advance", error))?);
                }
            }
            self.ciphertexts.insert(kind.size, have);
        }
        Ok(())
    }

    /// The requests of `kind`, for which the target must have been prepared.
    pub(crate) fn requests(&mut self, kind: &LoadKind) -> Arc<Requests> {
        self.loads += 1;
        let ciphertexts = match kind.mix.has(Operation::Decrypt) {
            true => self.ciphertexts.get(&kind.size).cloned().unwrap_or_default(),
            false => Vec::new(),
        };
        let material =
            Material { keys: self.keys[..kind.keys.max(1)].to_vec(), plaintexts: plaintexts(kind.size), ciphertexts };
        Arc::new(Requests::new(
            Arc::clone(&self.protocol),
            Arc::clone(&self.wire),
            material,
            kind,
            format!("{}-{}", self.name_prefix, self.loads),
        ))
    }

    /// One visit with `kind`: prepares what is missing, signs the requests, and measures.
    ///
    /// # Errors
    /// When preparing fails, or the machine does not give threads or timers. A server that fails is no error: it is counted.
    pub fn visit(
        &mut self,
        kind: &LoadKind,
        settings: &VisitSettings,
        on_second: &mut dyn FnMut(&Stretch),
    ) -> Result<Visit, SessionError> {
        self.prepare(kind, &mut |_, _, _| {})?;
        let requests = self.requests(kind);
        let (visit, made) = visit(&requests, &self.wire, Check::Some, settings, on_second)?;
        self.made.extend(made);
        Ok(visit)
    }

    /// How large the body of the answer to the first request of `requests` is, in bytes.
    pub(crate) fn answer_size(&self, requests: &Requests) -> Result<usize, SessionError> {
        let what = "a first request";
        let failed = |failure| SessionError::SetUp { target: self.label.clone(), what, failure };
        let pool = requests.pool(Clock::new().unix_seconds());
        let Some(ready) = pool.first() else { return Ok(0) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut lane = self.wire.lanes(1).pop().expect("there is at least one lane");
        runtime.block_on(async {
            let mut buffer = AnswerBuffer::default();
            let answer = lane.exchange(&ready.encoded, &mut buffer).await.map_err(failed)?;
            success(answer.status, answer.body).map_err(failed)?;
            Ok(answer.body.len())
        })
    }

    /// Takes all keys out of use that were made here, unless there is no way. Gives how many.
    ///
    /// # Errors
    /// When the target refuses.
    pub fn clean_up(&mut self, on_step: OnStep<'_>) -> Result<usize, SessionError> {
        let mut keys = self.keys.split_off(self.given);
        keys.append(&mut self.made);
        self.ciphertexts.clear();
        let mut removed = 0;
        for portion in keys.chunks(1_000) {
            on_step("keys taken out of use", removed, keys.len());
            let mut steps: Vec<_> = portion.iter().map(|key| self.protocol.removal(key).into_iter()).collect();
            // The first step of all keys, then the second.
            loop {
                let calls: Vec<Call> = steps.iter_mut().filter_map(Iterator::next).collect();
                if calls.is_empty() {
                    break;
                }
                self.exchange_all("taking keys out of use", calls)?;
            }
            removed += portion.len();
        }
        Ok(removed)
    }

    /// Asked before anything is made.
    fn offers(&self, mix: &Mix) -> Result<(), SessionError> {
        let operation = Operation::DataKey;
        if !mix.has(operation) || self.protocol.data_key(&KeyHandle::new("any")).is_some() {
            return Ok(());
        }
        Err(SessionError::NotOffered { target: self.label.clone(), protocol: self.protocol.name(), operation })
    }

    fn make_keys(&mut self, count: usize) -> Result<(), SessionError> {
        let what = "making keys";
        let first = self.keys.len();
        let names: Vec<String> = (first..first + count).map(|at| format!("{}-{at}", self.name_prefix)).collect();
        let mut calls = Vec::with_capacity(count);
        for name in &names {
            match self.protocol.new_key(name) {
                NewKey::Ask(call) => calls.push(call),
                NewKey::None(key) => self.keys.push(key),
            }
        }
        if calls.is_empty() {
            return Ok(());
        }
        for (name, answer) in names.iter().zip(self.exchange_all(what, calls)?) {
            let key = self.protocol.key_of(name, &answer).map_err(|error| self.unexpected(what, error))?;
            self.keys.push(key);
        }
        Ok(())
    }

    fn unexpected(&self, what: &'static str, error: UnexpectedAnswer) -> SessionError {
        let failure = ExchangeFailure::new(FailureKind::WrongAnswer, error);
        SessionError::SetUp { target: self.label.clone(), what, failure }
    }

    /// Sends all calls, many at a time; the answers' bodies in the same order. All must succeed.
    fn exchange_all(&self, what: &'static str, calls: Vec<Call>) -> Result<Vec<Vec<u8>>, SessionError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answers = runtime.block_on(exchange_all(Arc::clone(&self.protocol), Arc::clone(&self.wire), calls));
        answers.map_err(|failure| SessionError::SetUp { target: self.label.clone(), what, failure })
    }
}

async fn exchange_all(
    protocol: Arc<dyn Protocol>,
    wire: Arc<Wire>,
    calls: Vec<Call>,
) -> Result<Vec<Vec<u8>>, ExchangeFailure> {
    let mut answers = vec![Vec::new(); calls.len()];
    let calls = Arc::new(calls);
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE.min(calls.len()) {
        let mut lane = wire.lanes(1).pop().expect("there is at least one lane");
        let (protocol, wire, calls, next) = (protocol.clone(), wire.clone(), calls.clone(), next.clone());
        tasks.spawn(async move {
            let clock = Clock::new();
            let mut buffer = AnswerBuffer::default();
            let mut answers = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(call) = calls.get(at) else { return Ok(answers) };
                let mut call = call.clone();
                protocol.sign(&mut call, wire.endpoint(), clock.unix_seconds());
                let answer = lane.exchange(&wire.encode(&call), &mut buffer).await?;
                success(answer.status, answer.body)?;
                answers.push((at, answer.body.to_vec()));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        let done = done.map_err(|error| ExchangeFailure::new(FailureKind::Closed, error))?;
        for (at, answer) in done? {
            answers[at] = answer;
        }
    }
    Ok(answers)
}

fn success(status: u16, body: &[u8]) -> Result<(), ExchangeFailure> {
    if (200..300).contains(&status) {
        return Ok(());
    }
    let excerpt: String = String::from_utf8_lossy(body).chars().take(400).collect();
    Err(ExchangeFailure::new(FailureKind::Status(status), excerpt))
}

/// The same for every target, so that all of them do the same work.
fn plaintexts(size: usize) -> Vec<Vec<u8>> {
    let mut random = Rng::with_seed(size as u64);
    let plaintext = |random: &mut Rng| {
        let mut bytes = vec![0; size];
        random.fill(&mut bytes);
        bytes
    };
    (0..PLAINTEXTS).map(|_| plaintext(&mut random)).collect()
}
