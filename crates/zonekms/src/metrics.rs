//! The figures of this process in the text format that Prometheus reads (exposition format 0.0.4).
//!
//! They are few and read on demand, so they are written out by hand. Zone names need no escaping: they consist of `a-z`, `0-9`
//! and `-`.

use std::fmt::Write;

use kms_service::{Kms, Lag};
use kms_storage::Health;

/// The media type of [`exposition`].
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One reading of one figure: the labels in braces, and the value.
type Sample = (String, u64);

/// All figures of these zones.
pub(crate) fn exposition(zones: &[Kms]) -> String {
    let (mut keys, mut oldest) = (Vec::new(), Vec::new());
    for kms in zones {
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
    let takes_changes = zones
        .iter()
        .map(|kms| (format!("{{zone=\"{}\"}}", kms.zone_name()), u64::from(matches!(kms.health(), Health::Ready))));
    let held = zones
        .iter()
        .map(|kms| (format!("{{zone=\"{}\"}}", kms.zone_name()), kms.clock().held.map_or(0, |ahead| ahead.as_secs())));
    let mut text = String::new();
    gauge(&mut text, "zonekms_takes_changes", "Whether the zone takes changes: 1 if it does.", takes_changes);
    gauge(&mut text, "zonekms_clock_held_seconds", "How far the wall clock is ahead while it is not believed.", held);
    gauge(&mut text, "zonekms_replication_keys_behind", "Keys that the target zone has not confirmed.", keys);
    gauge(
        &mut text,
        "zonekms_replication_oldest_seconds",
        "How long the key waits that the target zone has not confirmed for longest.",
        oldest,
    );
    usage(&mut text, zones);
    text
}

/// In aggregate only: a label a key would be a series a key.
fn usage(text: &mut String, zones: &[Kms]) {
    let (mut used, mut old) = (Vec::new(), Vec::new());
    for kms in zones {
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

fn gauge(text: &mut String, name: &str, help: &str, samples: impl IntoIterator<Item = Sample>) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    for (labels, value) in samples {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
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
}
