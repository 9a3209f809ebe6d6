//! The list of promises names tests that exist.

use crate::root;
use std::fs;

/// Lines such as ``* `path/file.rs`: `test`, `test` ``.
fn named(line: &str) -> Option<(&str, Vec<&str>)> {
    let mut quoted = line.strip_prefix("* ")?.split('`').skip(1).step_by(2);
    let file = quoted.next().filter(|file| file.ends_with(".rs"))?;
    Some((file, quoted.collect()))
}

#[test]
fn every_test_that_guards_a_promise_exists() {
    let promises = fs::read_to_string(root().join("docs/promises.md")).unwrap();
    let mut found = 0;
    for (file, tests) in promises.lines().filter_map(named) {
        let source = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(!tests.is_empty(), "{file} is named without a test");
        for test in tests {
            assert!(source.contains(&format!("fn {test}(")), "{file} has no test {test}");
            found += 1;
        }
    }
    assert!(found >= 20, "only {found} tests are named");
}
