//! Links that are broken on purpose, each direction for itself.

use std::collections::BTreeMap;
use std::time::Duration;

use kms_crypto::Entropy;
use kms_link::FrameVerdict;
use kms_types::ZoneName;
use serde_json::{Map, Value, json};

/// What is wrong with one direction of a link.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LinkFault {
    /// Nothing gets through.
    Cut,
    /// Frames get through late, or not as they were sent.
    Impaired(Impairment),
}

/// What may happen to a frame. It is dropped, or held back behind the next, or sent twice, or delayed: the first that the dice
/// choose, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Impairment {
    pub(super) delay: Duration,
    pub(super) drop: Probability,
    pub(super) duplicate: Probability,
    pub(super) reorder: Probability,
}

/// 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Probability(f64);

impl Probability {
    pub(super) fn new(value: f64) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value))
    }

    /// Whether it happens this time: never at 0, always at 1. Without randomness it does not.
    fn happens(self, entropy: &dyn Entropy) -> bool {
        /// The steps that a number of 53 bits divides 0 to 1 into; each is exact in an `f64`.
        const STEPS: f64 = 9_007_199_254_740_992.0;
        let mut dice = [0; 8];
        if self.0 == 0.0 || entropy.fill(&mut dice).is_err() {
            return false;
        }
        (u64::from_be_bytes(dice) >> 11) as f64 / STEPS < self.0
    }
}

/// The directions that are broken.
#[derive(Default)]
pub(super) struct LinkFaults(BTreeMap<(ZoneName, ZoneName), LinkFault>);

impl LinkFaults {
    /// Breaks one direction, or repairs it.
    pub(super) fn set(&mut self, from: ZoneName, to: ZoneName, fault: Option<LinkFault>) {
        match fault {
            Some(fault) => self.0.insert((from, to), fault),
            None => self.0.remove(&(from, to)),
        };
    }

    /// What happens to a frame on its way.
    pub(super) fn verdict(&self, from: &ZoneName, to: &ZoneName, entropy: &dyn Entropy) -> FrameVerdict {
        match self.0.get(&(from.clone(), to.clone())) {
            None => FrameVerdict::Deliver,
            Some(LinkFault::Cut) => FrameVerdict::Cut,
            Some(LinkFault::Impaired(impairment)) => impairment.verdict(entropy),
        }
    }

    pub(super) fn is_cut(&self, from: &ZoneName, to: &ZoneName) -> bool {
        self.0.get(&(from.clone(), to.clone())) == Some(&LinkFault::Cut)
    }

    pub(super) fn list(&self) -> impl Iterator<Item = Value> {
        self.0.iter().map(|((from, to), fault)| {
            let mut shown = Map::new();
            shown.insert("from".to_owned(), json!(from.as_str()));
            shown.insert("to".to_owned(), json!(to.as_str()));
            match fault {
                LinkFault::Cut => {
                    shown.insert("cut".to_owned(), json!(true));
                }
                LinkFault::Impaired(Impairment { delay, drop, duplicate, reorder }) => {
                    if !delay.is_zero() {
                        // Far below the end of u64: a request's delay is at most a minute.
                        shown
                            .insert("delay-ms".to_owned(), json!(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)));
                    }
                    for (name, Probability(value)) in [("drop", drop), ("duplicate", duplicate), ("reorder", reorder)] {
                        if *value > 0.0 {
                            shown.insert(name.to_owned(), json!(value));
                        }
                    }
                }
            }
            Value::Object(shown)
        })
    }
}

impl Impairment {
    fn verdict(&self, entropy: &dyn Entropy) -> FrameVerdict {
        if self.drop.happens(entropy) {
            FrameVerdict::Drop
        } else if self.reorder.happens(entropy) {
            FrameVerdict::Reorder
        } else if self.duplicate.happens(entropy) {
            FrameVerdict::Duplicate
        } else if self.delay.is_zero() {
            FrameVerdict::Deliver
        } else {
            FrameVerdict::Delay(self.delay)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kms_crypto::{EntropyError, OsEntropy};

    fn always(name: &str) -> Impairment {
        let one = Probability::new(1.0).unwrap();
        let mut impairment = Impairment { delay: Duration::from_millis(5), ..Impairment::default() };
        match name {
            "drop" => impairment.drop = one,
            "duplicate" => impairment.duplicate = one,
            "reorder" => impairment.reorder = one,
            _ => {}
        }
        impairment
    }

    #[test]
    fn certain_faults_hit_every_frame_and_only_their_direction() {
        let (a, b): (ZoneName, ZoneName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let mut faults = LinkFaults::default();
        for (name, expected) in [
            ("drop", FrameVerdict::Drop),
            ("duplicate", FrameVerdict::Duplicate),
            ("reorder", FrameVerdict::Reorder),
            ("", FrameVerdict::Delay(Duration::from_millis(5))),
        ] {
            faults.set(a.clone(), b.clone(), Some(LinkFault::Impaired(always(name))));
            assert!((0..100).all(|_| faults.verdict(&a, &b, &OsEntropy) == expected), "{name}");
            assert_eq!(faults.verdict(&b, &a, &OsEntropy), FrameVerdict::Deliver);
        }
        faults.set(a.clone(), b.clone(), Some(LinkFault::Cut));
        assert_eq!(faults.verdict(&a, &b, &OsEntropy), FrameVerdict::Cut);
        faults.set(a.clone(), b.clone(), None);
        assert_eq!(faults.verdict(&a, &b, &OsEntropy), FrameVerdict::Deliver);
    }

    #[test]
    fn probabilities_mean_what_they_say() {
        let third = Probability::new(0.3).unwrap();
        let hits = (0..20_000).filter(|_| third.happens(&OsEntropy)).count();
        // Ten standard deviations either way.
        assert!((5_350..=6_650).contains(&hits), "{hits}");
        assert_eq!((0..1_000).filter(|_| Probability::default().happens(&OsEntropy)).count(), 0);
        for value in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Probability::new(value), None, "{value}");
        }
    }

    #[test]
    fn without_randomness_frames_are_delivered() {
        struct Dry;
        impl Entropy for Dry {
            fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
                Err(EntropyError)
            }
        }
        assert!(!Probability::new(1.0).unwrap().happens(&Dry));
    }
}
