//! Numbers with limits, as the Exoscale API states them.

use std::fmt;

/// A number outside its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be between {min} and {max} {unit}")]
pub struct OutOfRange {
    min: u32,
    max: u32,
    unit: &'static str,
}

macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident, $min:literal..=$max:literal $unit:literal, default $default:literal, $getter:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "u32", into = "u32")]
        pub struct $name(u32);

        impl $name {
            /// The smallest value allowed.
            pub const MIN: u32 = $min;
            /// The largest value allowed.
            pub const MAX: u32 = $max;
            /// What applies when a request names none.
            pub const DEFAULT: Self = Self($default);

            /// The number, in the unit the type's name says.
            #[must_use]
            pub const fn $getter(self) -> u32 {
                self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::DEFAULT
            }
        }

        impl TryFrom<u32> for $name {
            type Error = OutOfRange;

            fn try_from(value: u32) -> Result<Self, OutOfRange> {
                if (Self::MIN..=Self::MAX).contains(&value) {
                    Ok(Self(value))
                } else {
                    Err(OutOfRange { min: Self::MIN, max: Self::MAX, unit: $unit })
                }
            }
        }

        impl From<$name> for u32 {
            fn from(value: $name) -> u32 {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

bounded! {
    /// Days between two automatic rotations of a key: 90 to 2560, 365 by default.
    RotationPeriod, 90..=2560 "days", default 365, days
}

bounded! {
    /// Days between the request to delete a key and the deletion: 7 to 30, 30 by default.
    DeletionDelay, 7..=30 "days", default 30, days
}

bounded! {
    /// Length of a data key in bytes: 1 to 1024, 32 by default.
    DataKeyLength, 1..=1024 "bytes", default 32, bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_inclusive() {
        for (value, accepted) in [(89, false), (90, true), (2560, true), (2561, false)] {
            assert_eq!(RotationPeriod::try_from(value).is_ok(), accepted, "rotation period {value}");
        }
        for (value, accepted) in [(6, false), (7, true), (30, true), (31, false)] {
            assert_eq!(DeletionDelay::try_from(value).is_ok(), accepted, "deletion delay {value}");
        }
        for (value, accepted) in [(0, false), (1, true), (1024, true), (1025, false)] {
            assert_eq!(DataKeyLength::try_from(value).is_ok(), accepted, "data key length {value}");
        }
    }

    #[test]
    fn the_error_tells_the_limits() {
        assert_eq!(DeletionDelay::try_from(31).unwrap_err().to_string(), "must be between 7 and 30 days");
    }
}
