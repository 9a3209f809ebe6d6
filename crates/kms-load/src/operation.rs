//! What a load consists of: operations, and in which shares.

use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// One thing that a key management service is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Encrypt a plaintext.
    Encrypt,
    /// Decrypt a ciphertext that was made before the measurement.
    Decrypt,
    /// Generate a data key of 32 bytes, in plain and encrypted.
    DataKey,
    /// Make a new key.
    CreateKey,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Encrypt, Self::Decrypt, Self::DataKey, Self::CreateKey];

    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::DataKey => "data-key",
            Self::CreateKey => "create-key",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Operations and their shares: `encrypt=70,decrypt=25,data-key=5`. One name alone is all of the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Each operation once, in the order given, with a share above 0.
    shares: Vec<(Operation, u32)>,
}

/// Why a text is no mix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMix {
    /// An operation that does not exist.
    #[error("{0:?} is no operation: encrypt, decrypt, data-key and create-key are")]
    Operation(String),
    /// A share that is not a whole number from 1 to 1,000,000.
    #[error("{0:?}: a share must be a whole number from 1 to 1000000, such as encrypt=70")]
    Share(String),
    /// The same operation twice.
    #[error("{0} is there twice")]
    Twice(Operation),
    /// Several operations, one of them without a share.
    #[error("{0} needs a share, such as {0}=50, because there are several operations")]
    NoShare(Operation),
}

impl Mix {
    /// Nothing but `operation`.
    #[must_use]
    pub fn only(operation: Operation) -> Self {
        Self { shares: vec![(operation, 1)] }
    }

    /// Operations and shares.
    pub fn shares(&self) -> impl ExactSizeIterator<Item = (Operation, u32)> + '_ {
        self.shares.iter().copied()
    }

    /// Whether `operation` is part of it.
    #[must_use]
    pub fn has(&self, operation: Operation) -> bool {
        self.shares.iter().any(|(own, _)| *own == operation)
    }

    /// `count` operations whose numbers are as close to the shares as whole numbers can be, evenly interleaved: each next one
    /// is the operation that is furthest behind its share.
    #[must_use]
    pub fn sequence(&self, count: usize) -> Vec<Operation> {
        let total: i64 = self.shares.iter().map(|(_, share)| i64::from(*share)).sum();
        let mut credit = vec![0_i64; self.shares.len()];
        let next = |credit: &mut Vec<i64>| {
            let mut chosen = 0;
            for (at, (_, share)) in self.shares.iter().enumerate() {
                credit[at] += i64::from(*share);
                if credit[at] > credit[chosen] {
                    chosen = at;
                }
            }
            credit[chosen] -= total;
            self.shares[chosen].0
        };
        (0..count).map(|_| next(&mut credit)).collect()
    }
}

impl FromStr for Mix {
    type Err = InvalidMix;

    fn from_str(text: &str) -> Result<Self, InvalidMix> {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let mut shares: Vec<(Operation, u32)> = Vec::new();
        for part in &parts {
            let (name, share) = part.split_once('=').map_or((*part, None), |(name, share)| (name, Some(share)));
            let operation = Operation::ALL.into_iter().find(|operation| operation.name() == name);
            let operation = operation.ok_or_else(|| InvalidMix::Operation(name.to_owned()))?;
            let share = match share {
                None if parts.len() == 1 => 1,
                None => return Err(InvalidMix::NoShare(operation)),
                Some(share) => match share.parse() {
                    Ok(share @ 1..=1_000_000) => share,
                    Ok(_) | Err(_) => return Err(InvalidMix::Share((*part).to_owned())),
                },
            };
            if shares.iter().any(|(own, _)| *own == operation) {
                return Err(InvalidMix::Twice(operation));
            }
            shares.push((operation, share));
        }
        Ok(Self { shares })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [(operation, _)] = self.shares[..] {
            return operation.fmt(f);
        }
        for (at, (operation, share)) in self.shares.iter().enumerate() {
            write!(f, "{}{operation}={share}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_read_and_shown() {
        for text in ["encrypt", "encrypt=70,decrypt=25,data-key=5", "create-key"] {
            assert_eq!(text.parse::<Mix>().unwrap().to_string(), text);
        }
        let fault = |text: &str| text.parse::<Mix>().unwrap_err();
        assert_eq!(fault("sign"), InvalidMix::Operation("sign".to_owned()));
        assert_eq!(fault(""), InvalidMix::Operation(String::new()));
        assert_eq!(fault("encrypt,decrypt=1"), InvalidMix::NoShare(Operation::Encrypt));
        assert_eq!(fault("encrypt=0,decrypt=1"), InvalidMix::Share("encrypt=0".to_owned()));
        assert_eq!(fault("encrypt=1,encrypt=1"), InvalidMix::Twice(Operation::Encrypt));
    }

    #[test]
    fn a_sequence_keeps_the_shares_and_spreads_them() {
        let mix: Mix = "encrypt=70,decrypt=25,data-key=5".parse().unwrap();
        let sequence = mix.sequence(200);
        let count = |operation| sequence.iter().filter(|own| **own == operation).count();
        assert_eq!([Operation::Encrypt, Operation::Decrypt, Operation::DataKey].map(count), [140, 50, 10]);
        // Spread: every stretch of 40 has close to its share of the rarest.
        for stretch in sequence.chunks(40) {
            let rare = stretch.iter().filter(|own| **own == Operation::DataKey).count();
            assert!((1..=3).contains(&rare), "{rare}");
        }
    }
}
