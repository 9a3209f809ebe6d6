//! Signatures are made anew while a load runs, before they are too old.

use crate::measuring::{kind, settings, target};
use crate::server::{Fault, Server};
use kms_load::{
    Call, Ciphertext, Endpoint, KeepAlive, KeyHandle, NewKey, Pace, Protocol, Session, Target, UnexpectedAnswer,
    UnixSeconds, VisitSettings,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Another protocol, with signatures that are good for 800 ms.
struct ShortLived {
    inner: Arc<dyn Protocol>,
    signed: AtomicUsize,
}

impl Protocol for ShortLived {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn new_key(&self, name: &str) -> NewKey {
        self.inner.new_key(name)
    }

    fn key_of(&self, name: &str, answer: &[u8]) -> Result<KeyHandle, UnexpectedAnswer> {
        self.inner.key_of(name, answer)
    }

    fn encrypt(&self, key: &KeyHandle, plaintext: &[u8]) -> Call {
        self.inner.encrypt(key, plaintext)
    }

    fn ciphertext_of(&self, answer: &[u8]) -> Result<Ciphertext, UnexpectedAnswer> {
        self.inner.ciphertext_of(answer)
    }

    fn decrypt(&self, key: &KeyHandle, ciphertext: &Ciphertext) -> Call {
        self.inner.decrypt(key, ciphertext)
    }

    fn data_key(&self, key: &KeyHandle) -> Option<Call> {
        self.inner.data_key(key)
    }

    fn decrypted_mark(&self, plaintext: &[u8]) -> Option<String> {
        self.inner.decrypted_mark(plaintext)
    }

    fn ciphertext_mark(&self) -> Option<&'static str> {
        self.inner.ciphertext_mark()
    }

    fn removal(&self, key: &KeyHandle) -> Vec<Call> {
        self.inner.removal(key)
    }

    fn sign(&self, call: &mut Call, endpoint: &Endpoint, now: UnixSeconds) {
        self.signed.fetch_add(1, Ordering::Relaxed);
        self.inner.sign(call, endpoint, now);
    }

    fn signature_life(&self) -> Option<Duration> {
        Some(Duration::from_millis(800))
    }
}

#[test]
fn a_pool_is_signed_again_at_half_of_its_life() {
    let server = Server::start(Fault::None);
    let Target { protocol, wire, .. } = target(&server, "test", KeepAlive::On);
    let protocol = Arc::new(ShortLived { inner: protocol, signed: AtomicUsize::new(0) });
    let mut session = Session::new("test".to_owned(), protocol.clone(), wire, Vec::new(), "test".to_owned());
    let pace = Pace::Open { per_second: 100.0 };
    let settings = VisitSettings { duration: Duration::from_secs(5), ..settings(pace, 1) };
    let visit = session.visit(&kind("encrypt", 1), &settings, &mut |_| {}).unwrap();
    assert_eq!((visit.answered, visit.failed), (500, 0), "{:?}", visit.failures);
    // The key, a first pool of 1024, and at least two more: there is time for twelve.
    let signed = protocol.signed.load(Ordering::Relaxed);
    assert!(signed > 3 * 1_024, "{signed}");
}
