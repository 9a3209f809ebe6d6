//! The figures of this process in the text format that Prometheus reads (exposition format 0.0.4).
//!
//! They are few and read on demand, so they are written out by hand. Zone names need no escaping: they consist of `a-z`, `0-9`
//! and `-`.

use std::fmt::{Display, Write};
use std::time::Duration;

use kms_crypto::LockedMemory;
use kms_http::{OperationFigures, RequestOutcome};
use kms_service::Lag;
use kms_storage::Health;
use kms_types::ZoneName;

use crate::status::ServedZone;

/// The media type of [`exposition`].
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One reading of one figure: the labels in braces, and the value.
type Sample = (String, u64);

/// All figures of these zones.
pub(crate) fn exposition(zones: &[ServedZone]) -> String {
    let (mut keys, mut oldest) = (Vec::new(), Vec::new());
    for ServedZone { kms, .. } in zones {
        for (target, lag) in kms.replication_lag() {
            let labels = format!("{{zone=\"{}\",target=\"{target}\"}}", kms.zone_name());
            let (behind, age) = match lag {
                Lag::None => (0, 0),
                Lag::Behind { keys, since } => {
                    (u64::try_from(keys).unwrap_or(u64::MAX), kms.uptime().since(since).as_secs())
                }
            };
            keys.push((labels.clone(), behind));
            oldest.push((labels, age));
        }
    }
    let of_zone = |zone: &ServedZone| format!("{{zone=\"{}\"}}", zone.kms.zone_name());
    let takes_changes = zones.iter().map(|zone| {
        let takes = matches!(zone.kms.health(), Health::Ready);
        (of_zone(zone), u64::from(takes))
    });
    let held = zones.iter().map(|zone| (of_zone(zone), zone.kms.clock().held.map_or(0, |ahead| ahead.as_secs())));
    let broken = zones.iter().map(|zone| (of_zone(zone), u64::from(zone.kms.audit().trouble().is_some())));
    let LockedMemory { locked_bytes, unlocked_bytes } = kms_crypto::locked_memory();
    let of_process = |bytes: usize| [(String::new(), u64::try_from(bytes).unwrap_or(u64::MAX))];
    let mut text = String::new();
    gauge(&mut text, "zonekms_takes_changes", "Whether the zone takes changes: 1 if it does.", takes_changes);
    gauge(&mut text, "zonekms_audit_broken", "Whether the audit log cannot be written: 1 if it cannot.", broken);
    gauge(
        &mut text,
        "zonekms_locked_memory_bytes",
        "Memory for keys that is kept out of swap.",
        of_process(locked_bytes),
    );
    gauge(
        &mut text,
        "zonekms_unlocked_secret_bytes",
        "Memory for keys that may be swapped, because the system would not lock it.",
        of_process(unlocked_bytes),
    );
    gauge(&mut text, "zonekms_clock_held_seconds", "How far the wall clock is ahead while it is not believed.", held);
    gauge(&mut text, "zonekms_replication_keys_behind", "Keys that the target zone has not confirmed.", keys);
    gauge(
        &mut text,
        "zonekms_replication_oldest_seconds",
        "How long the key waits that the target zone has not confirmed for longest.",
        oldest,
    );
    let requests: Vec<_> = zones.iter().map(|zone| (zone.kms.zone_name(), zone.requests.figures())).collect();
    usage(&mut text, zones);
    outcomes(&mut text, &requests);
    durations(&mut text, &requests);
    text
}

/// In aggregate only: a label a key would be a series a key.
fn usage(text: &mut String, zones: &[ServedZone]) {
    let (mut used, mut old) = (Vec::new(), Vec::new());
    for ServedZone { kms, .. } in zones {
        let labels = format!("{{zone=\"{}\"}}", kms.zone_name());
        let (keys, of_old) = kms.keys_used_recently();
        used.push((labels.clone(), keys));
        old.push((labels, of_old));
    }
    gauge(text, "zonekms_keys_used_last_day", "Keys that were used in the last 24 hours.", used);
    gauge(
        text,
        "zonekms_keys_old_version_decrypted_last_day",
        "Keys of which an older version was decrypted with in the last 24 hours.",
        old,
    );
}

/// What the operations of a zone have come to.
type OfZone<'a> = (&'a ZoneName, Vec<OperationFigures>);

fn outcomes(text: &mut String, zones: &[OfZone<'_>]) {
    const NAME: &str = "zonekms_requests_total";
    heading(text, NAME, "counter", "Requests by operation and by how they ended.");
    for (zone, operations) in zones {
        for OperationFigures { operation, outcomes, .. } in operations {
            for (outcome, count) in outcomes {
                let outcome = word(*outcome);
                line(
                    text,
                    &format!("{NAME}{{zone=\"{zone}\",operation=\"{operation}\",outcome=\"{outcome}\"}}"),
                    count,
                );
            }
        }
    }
}

fn durations(text: &mut String, zones: &[OfZone<'_>]) {
    const NAME: &str = "zonekms_request_seconds";
    heading(text, NAME, "histogram", "From a request's head to its answer, by operation.");
    for (zone, operations) in zones {
        for figures in operations {
            let labels = format!("zone=\"{zone}\",operation=\"{}\"", figures.operation);
            for (bound, count) in &figures.at_most {
                line(text, &format!("{NAME}_bucket{{{labels},le=\"{}\"}}", Seconds(*bound)), count);
            }
            line(text, &format!("{NAME}_bucket{{{labels},le=\"+Inf\"}}"), figures.count);
            line(text, &format!("{NAME}_sum{{{labels}}}"), Seconds(figures.total));
            line(text, &format!("{NAME}_count{{{labels}}}"), figures.count);
        }
    }
}

const fn word(outcome: RequestOutcome) -> &'static str {
    match outcome {
        RequestOutcome::Success => "success",
        RequestOutcome::Refused => "refused",
        RequestOutcome::Failed => "failed",
    }
}

/// A duration in seconds, to the nanosecond and without zeros at its end.
struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = format!("{}.{:09}", self.0.as_secs(), self.0.subsec_nanos());
        f.write_str(digits.trim_end_matches('0').trim_end_matches('.'))
    }
}

fn gauge(text: &mut String, name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) {
    heading(text, name, "gauge", help);
    for (labels, value) in samples {
        line(text, &format!("{name}{labels}"), value);
    }
}

// Writing to a String does not fail.

fn heading(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, series: &str, value: impl Display) {
    let _ = writeln!(text, "{series} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_has_help_type_and_a_line_a_sample() {
        let mut text = String::new();
        gauge(&mut text, "x_behind", "What it is.", [("{target=\"de-fra-1\"}".to_owned(), 7)]);
        assert_eq!(text, "# HELP x_behind What it is.\n# TYPE x_behind gauge\nx_behind{target=\"de-fra-1\"} 7\n");
    }

    #[test]
    fn seconds_have_no_needless_digits() {
        for (micros, expected) in [(0, "0"), (20, "0.00002"), (1_500_000, "1.5"), (10_000_000, "10")] {
            assert_eq!(Seconds(Duration::from_micros(micros)).to_string(), expected);
        }
    }

    #[test]
    fn a_histogram_ends_with_all_there_are() {
        let zone = "ch-gva-2".parse().unwrap();
        let figures = OperationFigures {
            operation: "encrypt",
            outcomes: [(RequestOutcome::Success, 2), (RequestOutcome::Refused, 1), (RequestOutcome::Failed, 0)],
            at_most: vec![(Duration::from_micros(20), 1), (Duration::from_micros(50), 2)],
            count: 3,
            total: Duration::from_micros(131),
        };
        let mut text = String::new();
        outcomes(&mut text, &[(&zone, vec![figures.clone()])]);
        durations(&mut text, &[(&zone, vec![figures])]);
        let expected = r#"# HELP zonekms_requests_total Requests by operation and by how they ended.
# TYPE zonekms_requests_total counter
zonekms_requests_total{zone="ch-gva-2",operation="encrypt",outcome="success"} 2
zonekms_requests_total{zone="ch-gva-2",operation="encrypt",outcome="refused"} 1
zonekms_requests_total{zone="ch-gva-2",operation="encrypt",outcome="failed"} 0
# HELP zonekms_request_seconds From a request's head to its answer, by operation.
# TYPE zonekms_request_seconds histogram
zonekms_request_seconds_bucket{zone="ch-gva-2",operation="encrypt",le="0.00002"} 1
zonekms_request_seconds_bucket{zone="ch-gva-2",operation="encrypt",le="0.00005"} 2
zonekms_request_seconds_bucket{zone="ch-gva-2",operation="encrypt",le="+Inf"} 3
zonekms_request_seconds_sum{zone="ch-gva-2",operation="encrypt"} 0.000131
zonekms_request_seconds_count{zone="ch-gva-2",operation="encrypt"} 3
"#;
        assert_eq!(text, expected);
    }
}
