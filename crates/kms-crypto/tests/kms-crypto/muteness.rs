//! Secrets cannot be printed, cloned, compared or serialised: asked of the compiler, type by type.

use kms_crypto::{CheckValue, KeyMaterial, Keyring, MacKey, RootKey, Secret, SecretBytes, XaesKey, ZonePrivateKey};
use std::fmt::{Debug, Display};

/// `implements!(Type: Trait)` is whether the type implements the trait. An inherent constant is preferred to a trait's, and
/// it exists only where the bound holds.
macro_rules! implements {
    ($type:ty: $($bound:tt)+) => {{
        #[allow(dead_code, reason = "one of the two constants is not asked, and which one is the question")]
        trait Otherwise {
            const IMPLEMENTED: bool = false;
        }
        impl<T: ?Sized> Otherwise for T {}
        struct Probe<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code, reason = "as above")]
        impl<T: ?Sized + $($bound)+> Probe<T> {
            const IMPLEMENTED: bool = true;
        }
        <Probe<$type>>::IMPLEMENTED
    }};
}

macro_rules! mute {
    ($($type:ty),+) => {$(
        assert!(!implements!($type: Debug), "{} can be printed", stringify!($type));
        assert!(!implements!($type: Display), "{} can be printed", stringify!($type));
        assert!(!implements!($type: Clone), "{} can be cloned", stringify!($type));
        assert!(!implements!($type: PartialEq), "{} can be compared", stringify!($type));
        assert!(!implements!($type: std::hash::Hash), "{} can be hashed", stringify!($type));
        assert!(!implements!($type: serde::Serialize), "{} can be serialised", stringify!($type));
        assert!(!implements!($type: serde::de::DeserializeOwned), "{} can be deserialised", stringify!($type));
        assert!(!implements!($type: AsRef<[u8]>), "{} is read without a visible expose", stringify!($type));
        assert!(!implements!($type: std::ops::Deref), "{} is read without a visible expose", stringify!($type));
        // Shared between the tasks of a server.
        assert!(implements!($type: Send) && implements!($type: Sync), "{}", stringify!($type));
    )+};
}

#[test]
fn secrets_are_mute() {
    mute!(Secret<32>, SecretBytes, KeyMaterial, MacKey, RootKey, Keyring, XaesKey, ZonePrivateKey);
}

/// The question itself works: it says yes where yes is right.
#[test]
fn the_question_can_be_answered_with_yes() {
    assert!(implements!(CheckValue: Debug) && implements!(CheckValue: Clone) && implements!(CheckValue: PartialEq));
    assert!(implements!(String: serde::Serialize) && implements!(String: serde::de::DeserializeOwned));
    assert!(implements!(String: AsRef<[u8]>) && implements!(String: std::ops::Deref));
    assert!(implements!(String: Display) && implements!(String: std::hash::Hash));
}
