//! The README's promises to a newcomer.

use crate::root;
use std::fs;

#[test]
fn the_readme_names_both_commands() {
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README");
    for command in ["cargo run --release -- dev", "cargo test --workspace --locked"] {
        assert!(readme.contains(command), "the README does not name `{command}`");
    }
}
