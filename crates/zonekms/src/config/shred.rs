//! The section of shredding.

use std::time::Duration;

use kms_service::SHRED_AFTER;

use super::report::Report;
use super::section::Section;

/// Longer, and what users take for gone would not be.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// Reads `[shred]`, all of which may be left out: how long after the first final deletion a pass begins.
pub(super) fn read_shred(root: &mut Section<'_>, report: &mut Report) -> Duration {
    let mut after = SHRED_AFTER;
    if let Some(mut section) = root.optional_section("shred", report) {
        section.duration("after", Duration::from_secs(1)..=LONGEST, &mut after, report);
        section.finish(report);
    }
    after
}
