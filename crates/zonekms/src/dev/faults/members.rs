//! The members of a JSON object, taken one by one; what is left over was not asked for.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::request::InvalidFault;

/// The members that were not taken yet.
pub(super) struct Members(Map<String, Value>);

impl Members {
    pub(super) fn of(body: &[u8]) -> Result<Self, InvalidFault> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) | Err(_) => Err(InvalidFault::of_the_body("must be a JSON object")),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A text as a value of another type.
    pub(super) fn text<T>(
        &mut self,
        name: &'static str,
        wanted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, InvalidFault> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        let read = value.as_str().and_then(read);
        read.map(Some).ok_or_else(|| InvalidFault::new(name, format!("must be {wanted}")))
    }

    pub(super) fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, InvalidFault> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| InvalidFault::new(name, "must be true or false"))
    }

    pub(super) fn whole_number(
        &mut self,
        name: &'static str,
        limits: &RangeInclusive<u32>,
    ) -> Result<Option<u32>, InvalidFault> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.filter(|number| limits.contains(number)).map(Some).ok_or_else(|| {
            InvalidFault::new(name, format!("must be a whole number from {} to {}", limits.start(), limits.end()))
        })
    }

    pub(super) fn number<T>(
        &mut self,
        name: &'static str,
        wanted: &str,
        read: impl FnOnce(f64) -> Option<T>,
    ) -> Result<Option<T>, InvalidFault> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        let read = value.as_f64().and_then(read);
        read.map(Some).ok_or_else(|| InvalidFault::new(name, format!("must be {wanted}")))
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), InvalidFault> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(InvalidFault::new(name.chars().take(64).collect::<String>(), "is not known here")),
        }
    }
}
