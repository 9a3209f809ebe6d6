//! The use of keys as lines to read.

use std::fmt::Write;

use serde_json::Value;

/// One key, with what its owner should know before it goes.
pub(super) fn of_key(told: &Value) -> String {
    let mut text = String::new();
    // Writing to a string does not fail, here and below.
    for (name, member) in
        [("zone", "zone"), ("key", "key"), ("name", "name"), ("organisation", "organisation"), ("status", "status")]
    {
        let _ = writeln!(text, "{name:14} {}", shown(&told[member]));
    }
    if told["delete-at"].is_string() {
        let _ = writeln!(text, "{:14} {}", "deleted at", time(&told["delete-at"]));
    }
    let _ = writeln!(text, "{:14} {}\n", "counted since", time(&told["counted-since"]));
    table(&mut text, [told]);
    if told["used-in-the-last-day"] == true {
        let what = if told["delete-at"].is_string() {
            "it was used in the last day, and its deletion is scheduled: cancel that unless you know who used it"
        } else {
            "it was used in the last day"
        };
        let _ = writeln!(text, "\nwarning: {what}");
    }
    text
}

/// All keys that were asked for.
pub(super) fn of_keys(told: &Value, keys: &[Value], old_versions: bool) -> String {
    let mut text = format!("zone {}, counted since {}\n\n", shown(&told["zone"]), time(&told["counted-since"]));
    match (keys, old_versions) {
        ([], true) => text.push_str("no older version of a key was decrypted with\n"),
        ([], false) => text.push_str("there are no keys\n"),
        (_, true | false) => table(&mut text, keys),
    }
    text
}

fn table<'a>(text: &mut String, keys: impl IntoIterator<Item = &'a Value>) {
    let _ = writeln!(
        text,
        "{:36}  {:>7}  {:>12}  {:20}  {:>12}  {:20}  NAME",
        "KEY", "VERSION", "ENCRYPTS", "LAST", "DECRYPTS", "LAST"
    );
    for key in keys {
        for version in key["versions"].as_array().into_iter().flatten() {
            let number = shown(&version["version"]) + if version["current"] == true { "*" } else { " " };
            let _ = writeln!(
                text,
                "{:36}  {number:>7}  {:>12}  {:20}  {:>12}  {:20}  {}",
                shown(&key["key"]),
                shown(&version["encrypts"]),
                time(&version["encrypted-at"]),
                shown(&version["decrypts"]),
                time(&version["decrypted-at"]),
                shown(&key["name"]),
            );
        }
    }
    text.push_str("* the version that encrypts\n");
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// To the second, which is as fine as uses are known.
fn time(value: &Value) -> String {
    value.as_str().map_or_else(|| "never".to_owned(), |text| text.replace(".000000000", ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_is_told_line_by_line() {
        let told = json!({
            "zone": "ch-gva-2", "key": "01890000-0000-7000-8000-000000000001", "name": "k", "organisation": "acme",
            "status": "pending-deletion", "delete-at": "2026-12-01T00:00:00.000000000Z",
            "counted-since": "2026-11-01T00:00:00.000000000Z", "used-in-the-last-day": true,
            "versions": [
                { "version": 1, "current": false, "encrypts": 3, "decrypts": 0,
                  "encrypted-at": "2026-11-02T03:04:05.000000000Z", "decrypted-at": null },
                { "version": 2, "current": true, "encrypts": 0, "decrypts": 0, "encrypted-at": null, "decrypted-at": null },
            ],
        });
        let expected = "\
zone           ch-gva-2
key            01890000-0000-7000-8000-000000000001
name           k
organisation   acme
status         pending-deletion
deleted at     2026-12-01T00:00:00Z
counted since  2026-11-01T00:00:00Z

KEY                                   VERSION      ENCRYPTS  LAST                      DECRYPTS  LAST                  NAME
01890000-0000-7000-8000-000000000001       1              3  2026-11-02T03:04:05Z             0  never                 k
01890000-0000-7000-8000-000000000001       2*             0  never                            0  never                 k
* the version that encrypts

warning: it was used in the last day, and its deletion is scheduled: cancel that unless you know who used it
";
        assert_eq!(of_key(&told), expected);
        let none = of_keys(&told, &[], true);
        assert_eq!(
            none,
            "zone ch-gva-2, counted since 2026-11-01T00:00:00Z\n\nno older version of a key was decrypted with\n"
        );
    }
}
