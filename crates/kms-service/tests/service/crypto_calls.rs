//! Encrypt, decrypt, re-encrypt, data keys.

use crate::zone::{NO_CONTEXT, World};
use kms_crypto::{EncryptionContext, OVERHEAD};
use kms_lifecycle::{Command, Rejection};
use kms_service::{KmsError, ReEncryptDestination, ReEncryptSource};
use kms_types::{DataKeyLength, DeletionDelay};
use std::time::Duration;

const NANO: Duration = Duration::from_nanos(1);

#[tokio::test]
async fn what_was_encrypted_opens_with_its_context_only() {
    let zone = World::new().start().await;
    let id = zone.create("k1").await.unwrap().id();
    let context = EncryptionContext::from_bytes(b"ctx");
    let made = zone.kms.encrypt(&zone.acme, id, b"hello", context).unwrap();
    assert_eq!(made.ciphertext.len(), 5 + OVERHEAD);
    let opened = zone.kms.decrypt(&zone.acme, id, &made.ciphertext, context).unwrap();
    assert_eq!(opened.plaintext.expose(), b"hello");
    for other in [NO_CONTEXT, EncryptionContext::from_bytes(b"ctx2")] {
        assert_eq!(zone.kms.decrypt(&zone.acme, id, &made.ciphertext, other).err(), Some(KmsError::DecryptFailed));
    }
    assert_eq!(zone.decrypt(id, b"").err(), Some(KmsError::DecryptFailed));
    assert_eq!(zone.decrypt(id, &[1; 300]).err(), Some(KmsError::DecryptFailed));
}

#[tokio::test]
async fn a_ciphertext_belongs_to_one_key_of_one_organisation() {
    let world = World::new();
    let zone = world.start().await;
    let id = zone.create("k1").await.unwrap().id();
    world.time.run(NANO);
    let twin = zone.create("k2").await.unwrap().id();
    let theirs = zone.create_for(&zone.other, "k1").await.unwrap().id();
    let made = zone.encrypt(id, b"x").unwrap();
    assert_eq!(zone.decrypt(twin, &made), Err(KmsError::DecryptFailed));
    assert_eq!(zone.decrypt(theirs, &made), Err(KmsError::KeyNotFound));
    assert_eq!(zone.get(theirs).err(), Some(KmsError::KeyNotFound));
    assert_eq!(zone.change(theirs, Command::Disable).await.err(), Some(KmsError::KeyNotFound));
    assert_eq!(zone.kms.list_keys(&zone.other).unwrap().len(), 1);
    assert_eq!(zone.kms.list_keys(&zone.acme).unwrap().iter().map(|key| key.id()).collect::<Vec<_>>(), [id, twin]);
}

#[tokio::test]
async fn old_versions_open_after_rotation_and_new_ones_are_used() {
    let zone = World::new().start().await;
    let id = zone.create("k1").await.unwrap().id();
    let mut made = vec![zone.kms.encrypt(&zone.acme, id, b"0", NO_CONTEXT).unwrap()];
    for round in 1..=10_u8 {
        zone.change(id, Command::Rotate).await.unwrap();
        made.push(zone.kms.encrypt(&zone.acme, id, &[b'0' + round], NO_CONTEXT).unwrap());
    }
    assert_eq!(zone.change(id, Command::Rotate).await.err(), Some(KmsError::Rejected(Rejection::ManualRotationLimit)));
    for (round, one) in (0..).zip(&made) {
        assert_eq!(one.version.get(), u32::from(round) + 1);
        let opened = zone.kms.decrypt(&zone.acme, id, &one.ciphertext, NO_CONTEXT).unwrap();
        assert_eq!(opened.plaintext.expose(), &[b'0' + round]);
        assert_eq!(opened.version, one.version);
    }
    let mut later = made[10].ciphertext.clone();
    later[20] = 12;
    assert_eq!(zone.decrypt(id, &later), Err(KmsError::DecryptFailed), "a version that does not exist");
}

#[tokio::test]
async fn re_encryption_checks_both_keys_and_both_contexts() {
    let zone = World::new().start().await;
    let from = zone.create("from").await.unwrap().id();
    let to = zone.create("to").await.unwrap().id();
    let (old, new) = (EncryptionContext::from_bytes(b"old"), EncryptionContext::from_bytes(b"new"));
    let made = zone.kms.encrypt(&zone.acme, from, b"hello", old).unwrap();
    let again = |source, context, destination| {
        let source = ReEncryptSource { key: source, ciphertext: &made.ciphertext, context };
        zone.kms.re_encrypt(&zone.acme, source, ReEncryptDestination { key: destination, context: new })
    };
    let moved = again(from, old, to).unwrap();
    assert_eq!(zone.kms.decrypt(&zone.acme, to, &moved.ciphertext, new).unwrap().plaintext.expose(), b"hello");
    assert_eq!(again(from, new, to).err(), Some(KmsError::DecryptFailed));
    let theirs = zone.create_for(&zone.other, "theirs").await.unwrap().id();
    assert_eq!(again(from, old, theirs).err(), Some(KmsError::KeyNotFound));
    zone.change(to, Command::Disable).await.unwrap();
    assert_eq!(again(from, new, to).err(), Some(KmsError::Rejected(Rejection::KeyDisabled)), "states come first");
    zone.change(to, Command::Enable).await.unwrap();
    zone.change(from, Command::ScheduleDeletion { delay: DeletionDelay::DEFAULT }).await.unwrap();
    assert_eq!(again(from, old, to).err(), Some(KmsError::Rejected(Rejection::KeyPendingDeletion)));
}

#[tokio::test]
async fn data_keys_have_their_length_and_open() {
    let zone = World::new().start().await;
    let id = zone.create("k1").await.unwrap().id();
    for length in [1, 32, 1024] {
        let bytes = DataKeyLength::try_from(length).unwrap();
        let made = zone.kms.generate_data_key(&zone.acme, id, bytes, NO_CONTEXT).unwrap();
        assert_eq!(made.plaintext.len(), usize::try_from(length).unwrap());
        assert_eq!(zone.decrypt(id, &made.ciphertext).unwrap(), made.plaintext.expose());
    }
}

#[tokio::test]
async fn a_key_that_may_not_be_used_says_so_whatever_the_ciphertext() {
    let zone = World::new().start().await;
    let id = zone.create("k1").await.unwrap().id();
    let made = zone.encrypt(id, b"x").unwrap();
    zone.change(id, Command::Disable).await.unwrap();
    let disabled = KmsError::Rejected(Rejection::KeyDisabled);
    for ciphertext in [&made[..], b"", b"garbage"] {
        assert_eq!(zone.decrypt(id, ciphertext), Err(disabled));
    }
    assert_eq!(zone.encrypt(id, b"x"), Err(disabled));
    zone.change(id, Command::Enable).await.unwrap();
    assert_eq!(zone.decrypt(id, &made).unwrap(), b"x");
}
