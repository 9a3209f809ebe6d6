//! The golden matrix of states and commands, cell by cell against running zones through the official client.

use crate::sdk::with_environment;
use crate::{program, root, scratch_in_memory, venv};
use serde_json::{Value, json};
use std::fs;
use zonekms_tests::python::{Sdk, run};
use zonekms_tests::server::Dev;

#[test]
fn every_cell_holds_on_running_zones() {
    let golden = root().join("crates/kms-lifecycle/tests/golden/state-matrix.txt");
    let (cells, left_out) = cells(&fs::read_to_string(golden).unwrap());
    assert!(cells.len() > 170, "the matrix has {} cells that can be checked", cells.len());

    let directory = scratch_in_memory();
    let plan = directory.path().join("cells.json");
    fs::write(&plan, json!(cells).to_string()).unwrap();
    let dev =
        Dev::new(program(), directory.path()).zones(&["ch-gva-2", "ch-dk-2", "de-fra-1"]).default_key("default-key");
    let server = dev.start();
    let figures = run(with_environment(venv(Sdk::V0_16_4).script("matrix.py").arg(&plan), &server), "PyPI");
    println!("{}; {left_out} cells left out", figures.trim());
    server.stop();
}

/// The cells to check, and how many are left out: those that are empty, default keys, which are never replicated, and the
/// passing of time on replicas, where what the origin does cannot be told from what the replica would do.
fn cells(matrix: &str) -> (Vec<Value>, usize) {
    let rows = matrix.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut rows = rows.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let names = rows.next().expect("the line that names the columns");
    assert_eq!(names[..3], ["place", "operation", "case"], "the first columns");
    let (mut cells, mut left_out) = (Vec::new(), 0);
    for row in rows {
        assert_eq!(row.len(), names.len(), "a row of as many cells: {row:?}");
        let is_replica = row[0] == "replica";
        for (state, cell) in names[3..].iter().zip(&row[3..]) {
            if *cell == "-" || (is_replica && (*state == "default" || row[1] == "time")) {
                left_out += 1;
            } else {
                cells.push(
                    json!({ "place": row[0], "operation": row[1], "case": row[2], "state": state, "cell": cell }),
                );
            }
        }
    }
    (cells, left_out)
}
