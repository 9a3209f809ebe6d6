//! The dependencies that crates really have are those that `docs/architecture.md` allows.

use crate::root;
use cargo_metadata::{DependencyKind, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

#[test]
fn every_crate_uses_what_the_architecture_allows() {
    let allowed = allowed(&fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md"));
    let metadata = MetadataCommand::new()
        .current_dir(root())
        .other_options(["--offline".to_owned(), "--locked".to_owned()])
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let crates_directory = metadata.workspace_root.join("crates");
    let crates: Vec<&Package> =
        metadata.workspace_packages().into_iter().filter(|p| p.manifest_path.starts_with(&crates_directory)).collect();
    let own: BTreeSet<&str> = crates.iter().map(|package| package.name.as_str()).collect();
    assert!(own.len() >= 8, "the crates were found: {own:?}");

    let mut wrong = Vec::new();
    for package in &crates {
        let name = package.name.as_str();
        let normal = package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
        let used: BTreeSet<&str> = normal.map(|dependency| dependency.name.as_str()).collect();
        let Some(may_use) = allowed.get(name) else {
            wrong.push(format!("{name} has no row"));
            continue;
        };
        for dependency in &used {
            if !may_use.contains(*dependency) {
                wrong.push(format!("{name} uses {dependency}, which its row does not allow"));
            }
        }
        for dependency in may_use {
            if own.contains(dependency.as_str()) && !used.contains(dependency.as_str()) {
                wrong.push(format!("{name} does not use {dependency}, which its row names"));
            }
        }
    }
    for name in allowed.keys().filter(|name| !own.contains(name.as_str())) {
        wrong.push(format!("{name} has a row and is no crate"));
    }
    assert!(wrong.is_empty(), "docs/architecture.md and the manifests disagree:\n{}", wrong.join("\n"));
}

/// Crate name -> what its `may use` cell lists, from the table under `## Crates`.
fn allowed(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let section = text.split("\n## Crates\n").nth(1).expect("a section `## Crates`");
    let section = section.split("\n## ").next().unwrap_or(section);
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert!(cells.len() >= 3, "a row of crate, what lives there, may use: {line}");
        let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
        (quoted(cells[0]).pop_first().expect("a crate"), quoted(cells[2]))
    };
    let table: BTreeMap<_, _> = rows.map(row).collect();
    assert!(!table.is_empty(), "the table has rows");
    table
}
