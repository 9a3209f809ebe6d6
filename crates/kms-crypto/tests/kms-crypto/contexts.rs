//! No two different contexts, and no two different headers, give the same associated data.

use kms_crypto::{EncryptionContext, HEADER_LEN, associated_data};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// The context as a caller states it, before absent and empty become the same.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stated {
    None,
    Bytes(Vec<u8>),
    Map(BTreeMap<String, String>),
}

impl Stated {
    pub(crate) fn context(&self) -> EncryptionContext<'_> {
        match self {
            Self::None => EncryptionContext::None,
            Self::Bytes(bytes) => EncryptionContext::from_bytes(bytes),
            Self::Map(map) => EncryptionContext::from_map(map),
        }
    }

    fn encoded(&self) -> Vec<u8> {
        associated_data(&[1; HEADER_LEN], self.context())
    }

    fn is_nothing(&self) -> bool {
        match self {
            Self::None => true,
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Map(map) => map.is_empty(),
        }
    }

    fn means_the_same_as(&self, other: &Self) -> bool {
        self == other || (self.is_nothing() && other.is_nothing())
    }
}

/// Contexts of few letters, among them the bytes that lengths and kinds are made of, so that near-collisions are common.
pub(crate) fn stated() -> impl Strategy<Value = Stated> {
    let text = "[\0\u{1}\u{2}\u{8}ab]{0,3}";
    prop_oneof![
        1 => Just(Stated::None),
        4 => vec(prop_oneof![0_u8..=3, Just(8), Just(b'a'), any::<u8>()], 0..24).prop_map(Stated::Bytes),
        4 => btree_map(text, text, 0..4).prop_map(Stated::Map),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn contexts_encode_equal_only_when_they_mean_the_same(one in stated(), other in stated()) {
        prop_assert_eq!(one.encoded() == other.encoded(), one.means_the_same_as(&other));
    }
}

proptest! {
    #[test]
    fn headers_encode_equal_only_when_they_are_equal(
        one: [u8; HEADER_LEN], at in 0..HEADER_LEN, bit in 0_u8..8, context in stated(),
    ) {
        let mut other = one;
        other[at] ^= 1 << bit;
        prop_assert_ne!(associated_data(&one, context.context()), associated_data(&other, context.context()));
    }
}

/// Every way to cut a few short texts into names, values and plain bytes, and the encodings of some contexts used as the
/// bytes of another.
#[test]
fn structured_near_collisions_stay_apart() {
    let mut all = vec![Stated::None];
    for text in ["abcd", "aaaa", "\0\0\0\0", "\u{1}\u{2}\u{8}a"] {
        all.push(Stated::Bytes(text.into()));
        let cuts: Vec<usize> = (0..=text.len()).collect();
        for first in &cuts {
            all.push(map([(&text[..*first], &text[*first..])]));
            all.push(Stated::Bytes(text[..*first].into()));
            for second in cuts.iter().filter(|second| *second >= first) {
                for third in cuts.iter().filter(|third| *third >= second) {
                    let (name, value) = (&text[..*first], &text[*first..*second]);
                    all.push(map([(name, value), (&text[*second..*third], &text[*third..])]));
                }
            }
        }
    }
    for index in 0..all.len() {
        let encoded = all[index].encoded();
        // The whole, and the part after label and header: kind, lengths and texts as they stand.
        all.extend([encoded.clone(), encoded[8 + 18 + 8 + HEADER_LEN..].to_vec()].map(Stated::Bytes));
    }
    let mut seen: HashMap<Vec<u8>, &Stated> = HashMap::new();
    for stated in &all {
        if let Some(other) = seen.insert(stated.encoded(), stated) {
            assert!(stated.means_the_same_as(other), "{stated:?} and {other:?} encode equal");
        }
    }
    assert!(seen.len() > 200, "only {} different contexts", seen.len());
}

fn map<const N: usize>(entries: [(&str, &str); N]) -> Stated {
    Stated::Map(entries.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
}
