//! Crash points are for tests alone.

use crate::program;
use zonekms_tests::crash_at::VARIABLE;

/// The program under test has crash points only when it was asked for with the feature, which nothing turns on by default.
#[test]
fn the_program_has_crash_points_only_where_they_were_asked_for() {
    let program = std::fs::read(program()).unwrap();
    let found = program.windows(VARIABLE.len()).any(|window| window == VARIABLE.as_bytes());
    assert_eq!(found, cfg!(feature = "crashpoints"));
}
