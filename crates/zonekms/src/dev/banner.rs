//! What `zonekms dev` tells the one who started it: the env file, and what to paste next.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use kms_http::ZoneEntry;
use zeroize::Zeroizing;

use super::credentials::ApiKey;
use crate::duration::show_duration;

/// What a shell sources to reach the lab. The first zone is the one it names.
pub(super) fn env_file(api_key: &ApiKey, zones: &[ZoneEntry], lab_url: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(1_024));
    text.push_str("# Written by `zonekms dev` at every start.\n");
    let mut export = |name: &str, value: &str| {
        for part in ["export ", name, "=", value, "\n"] {
            text.push_str(part);
        }
    };
    export("EXOSCALE_API_KEY", api_key.id());
    export("EXOSCALE_API_SECRET", api_key.expose_secret());
    if let Some(zone) = zones.first() {
        export("EXOSCALE_API_ENDPOINT", &zone.api_endpoint);
        export("EXOSCALE_ZONE", zone.name.as_str());
    }
    export("ZONEKMS_LAB", lab_url);
    text
}

/// The lines on standard output once everything listens.
pub(super) struct Banner<'a> {
    pub(super) data_dir: &'a Path,
    pub(super) zones: &'a [ZoneEntry],
    pub(super) lab_url: &'a str,
    pub(super) offset: Duration,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n  ZoneKMS {} is a lab on this machine\n", env!("CARGO_PKG_VERSION"))?;
        let width = self.zones.iter().map(|zone| zone.name.as_str().len()).max().unwrap_or(0).max(4);
        for zone in self.zones {
            writeln!(f, "    {:width$}  {}", zone.name.as_str(), zone.api_endpoint)?;
        }
        write!(f, "    {:width$}  {}", "lab", self.lab_url)?;
        if self.offset.is_zero() {
            writeln!(f)?;
        } else {
            writeln!(f, "  (clock moved forward by {})", show_duration(self.offset))?;
        }
        writeln!(f, "    {:width$}  {}", "data", self.data_dir.display())?;
        write!(
            f,
            "\n  Paste into another shell:\n\nsource {}\n{NEXT}\n  Ctrl-C stops it; the data stays.\n",
            shell_word(&self.data_dir.join("dev.env"))
        )
    }
}

/// Flush left, so that it can be pasted as it stands.
const NEXT: &str = r#"
exo kms key create k1

pip install exoscale==0.16.4
python3 - <<'EOF'
import os
from exoscale.api.v2 import Client
env = os.environ
kms = Client(env["EXOSCALE_API_KEY"], env["EXOSCALE_API_SECRET"], url=env["EXOSCALE_API_ENDPOINT"])
key = kms.create_kms_key(name="k2")
print(kms.generate_data_key(id=key["id"]))
EOF

curl "$EXOSCALE_API_ENDPOINT/zone"
curl -d '{"advance":"365d"}' "$ZONEKMS_LAB/lab/clock"
"#;

/// A path as one word of a shell.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | ',' | '=' | ':' | '@');
    // Without a slash, `source` looks the name up in PATH.
    let text = if text.contains('/') { text } else { format!("./{text}") };
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_where_a_shell_needs_it() {
        for (path, word) in [
            ("./zonekms-data/dev.env", "./zonekms-data/dev.env"),
            ("dev.env", "./dev.env"),
            ("/tmp/my lab/dev.env", "'/tmp/my lab/dev.env'"),
            ("/tmp/it's/dev.env", r"'/tmp/it'\''s/dev.env'"),
        ] {
            assert_eq!(shell_word(Path::new(path)), word);
        }
    }
}
