//! The request that breaks something, read from JSON.

use std::time::Duration;

use kms_http::{FaultStatus, operation_id};
use kms_types::ZoneName;

use super::call::CallFault;
use super::link::{Impairment, LinkFault, Probability};
use super::members::Members;

/// The longest delay of a frame, in milliseconds.
const LONGEST_DELAY: u32 = 60_000;

/// The most calls that one fault makes fail.
const MOST_TIMES: u32 = 1_000_000;

/// Why nothing was broken: the member that is wrong, and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::dev) struct InvalidFault {
    field: Option<String>,
    detail: String,
}

impl InvalidFault {
    pub(super) fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: Some(field.into()), detail: detail.into() }
    }

    pub(super) fn of_the_body(detail: impl Into<String>) -> Self {
        Self { field: None, detail: detail.into() }
    }

    /// The name of the member; none when the body as a whole is wrong.
    pub(in crate::dev) fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }
}

impl std::fmt::Display for InvalidFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.field().unwrap_or("the body"), self.detail)
    }
}

/// What to break.
#[derive(Debug)]
pub(super) enum FaultRequest {
    /// One direction of one link; it is repaired when there is no fault.
    Link { from: ZoneName, to: ZoneName, fault: Option<LinkFault> },
    /// Calls on a key.
    Call(CallFault),
}

impl FaultRequest {
    /// Reads `{"from","to","cut"}`, `{"from","to","delay-ms","drop","duplicate","reorder"}` or
    /// `{"key","operation","status","times","zone"}`.
    pub(super) fn read(body: &[u8], zones: &[ZoneName]) -> Result<Self, InvalidFault> {
        let mut members = Members::of(body)?;
        let request = if members.has("key") {
            Self::call(&mut members, zones)
        } else if members.has("from") || members.has("to") {
            Self::link(&mut members, zones)
        } else {
            Err(InvalidFault::of_the_body("must name a link (from, to) or calls (key, operation, status)"))
        }?;
        members.finish()?;
        Ok(request)
    }

    fn link(members: &mut Members, zones: &[ZoneName]) -> Result<Self, InvalidFault> {
        let from = required("from", zone(members, "from", zones)?)?;
        let to = required("to", zone(members, "to", zones)?)?;
        if from == to {
            return Err(InvalidFault::new("to", "must be another zone than from"));
        }
        let delay = members.whole_number("delay-ms", &(0..=LONGEST_DELAY))?;
        let [drop, duplicate, reorder] =
            [probability(members, "drop")?, probability(members, "duplicate")?, probability(members, "reorder")?];
        let impaired = delay.is_some() || drop.is_some() || duplicate.is_some() || reorder.is_some();
        let fault = match members.boolean("cut")? {
            Some(_) if impaired => return Err(InvalidFault::new("cut", "stands alone: a link is cut or impaired")),
            Some(true) => Some(LinkFault::Cut),
            Some(false) => None,
            None if impaired => {
                let impairment = Impairment {
                    delay: Duration::from_millis(delay.unwrap_or(0).into()),
                    drop: drop.unwrap_or_default(),
                    duplicate: duplicate.unwrap_or_default(),
                    reorder: reorder.unwrap_or_default(),
                };
                (impairment != Impairment::default()).then_some(LinkFault::Impaired(impairment))
            }
            None => {
                let detail = "must say what is wrong with the link: cut, or delay-ms, drop, duplicate, reorder";
                return Err(InvalidFault::of_the_body(detail));
            }
        };
        Ok(Self::Link { from, to, fault })
    }

    fn call(members: &mut Members, zones: &[ZoneName]) -> Result<Self, InvalidFault> {
        let key = members.text("key", "the id of a key", |text| text.parse().ok())?;
        let operation = members.text("operation", "an operation on a key, such as encrypt or rotate", operation_id)?;
        let status = members.whole_number("status", &(400..=599))?;
        Ok(Self::Call(CallFault {
            key: required("key", key)?,
            operation: required("operation", operation)?,
            status: required("status", status.and_then(|status| FaultStatus::new(u16::try_from(status).ok()?)))?,
            times: members.whole_number("times", &(1..=MOST_TIMES))?.unwrap_or(1),
            zone: zone(members, "zone", zones)?,
        }))
    }
}

fn zone(members: &mut Members, name: &'static str, zones: &[ZoneName]) -> Result<Option<ZoneName>, InvalidFault> {
    let wanted = zones.iter().map(ZoneName::as_str).collect::<Vec<_>>().join(", ");
    let known = |text: &str| zones.iter().find(|zone| zone.as_str() == text).cloned();
    members.text(name, &format!("a zone of this lab: {wanted}"), known)
}

fn probability(members: &mut Members, name: &'static str) -> Result<Option<Probability>, InvalidFault> {
    members.number(name, "a number from 0 to 1", Probability::new)
}

fn required<T>(name: &'static str, value: Option<T>) -> Result<T, InvalidFault> {
    value.ok_or_else(|| InvalidFault::new(name, "is required"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = r#""key":"019eef19-73ef-7ce3-9ea1-fcaa367ebd8d""#;

    fn refusal(body: &str) -> (Option<String>, String) {
        let zones = ["a", "b"].map(|zone| zone.parse().unwrap());
        let error = FaultRequest::read(body.as_bytes(), &zones).expect_err(body);
        (error.field().map(str::to_owned), error.detail)
    }

    #[test]
    fn a_refusal_names_the_member() {
        for (body, field, detail) in [
            ("", None, "must be a JSON object"),
            ("[]", None, "must be a JSON object"),
            ("{}", None, "must name a link (from, to) or calls (key, operation, status)"),
            (r#"{"from":"a"}"#, Some("to"), "is required"),
            (r#"{"to":"a"}"#, Some("from"), "is required"),
            (r#"{"from":"a","to":"x","cut":true}"#, Some("to"), "must be a zone of this lab: a, b"),
            (r#"{"from":7,"to":"a","cut":true}"#, Some("from"), "must be a zone of this lab: a, b"),
            (r#"{"from":"a","to":"a","cut":true}"#, Some("to"), "must be another zone than from"),
            (
                r#"{"from":"a","to":"b"}"#,
                None,
                "must say what is wrong with the link: cut, or delay-ms, drop, duplicate, reorder",
            ),
            (r#"{"from":"a","to":"b","cut":1}"#, Some("cut"), "must be true or false"),
            (r#"{"from":"a","to":"b","cut":true,"drop":0.1}"#, Some("cut"), "stands alone: a link is cut or impaired"),
            (r#"{"from":"a","to":"b","drop":1.5}"#, Some("drop"), "must be a number from 0 to 1"),
            (r#"{"from":"a","to":"b","duplicate":-0.1}"#, Some("duplicate"), "must be a number from 0 to 1"),
            (r#"{"from":"a","to":"b","reorder":"1"}"#, Some("reorder"), "must be a number from 0 to 1"),
            (r#"{"from":"a","to":"b","delay-ms":60001}"#, Some("delay-ms"), "must be a whole number from 0 to 60000"),
            (r#"{"from":"a","to":"b","delay-ms":1.5}"#, Some("delay-ms"), "must be a whole number from 0 to 60000"),
            (r#"{"from":"a","to":"b","dorp":1}"#, None, ""),
            (r#"{"from":"a","to":"b","cut":true,"dorp":1}"#, Some("dorp"), "is not known here"),
            (r#"{"key":"x","operation":"encrypt","status":503}"#, Some("key"), "must be the id of a key"),
        ] {
            let (found_field, found_detail) = refusal(body);
            assert_eq!(found_field.as_deref(), field, "{body}");
            assert!(detail.is_empty() || found_detail == detail, "{body}: {found_detail}");
        }
        for (members, field) in [
            ("", "operation"),
            (r#","operation":"create-kms-key","status":503"#, "operation"),
            (r#","operation":"encrypt""#, "status"),
            (r#","operation":"encrypt","status":200"#, "status"),
            (r#","operation":"encrypt","status":600"#, "status"),
            (r#","operation":"encrypt","status":503,"times":0"#, "times"),
            (r#","operation":"encrypt","status":503,"times":1000001"#, "times"),
            (r#","operation":"encrypt","status":503,"zone":"x""#, "zone"),
            (r#","operation":"encrypt","status":503,"from":"a""#, "from"),
        ] {
            assert_eq!(refusal(&format!("{{{KEY}{members}}}")).0.as_deref(), Some(field), "{members}");
        }
    }
}
