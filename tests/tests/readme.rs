//! The README's examples do what it says.

use crate::sdk::with_environment;
use crate::{program, root, scratch, venv};
use std::fs;
use std::path::Path;
use std::process::Command;
use zonekms_tests::python::{Sdk, run};
use zonekms_tests::server::Dev;

/// The fenced examples of one language, in order.
fn examples(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let mut examples = Vec::new();
    let mut open: Option<(String, Vec<&str>)> = None;
    for line in readme.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(_), Some((found, lines))) if found == language => examples.push(lines.join("\n") + "\n"),
            (Some(_), Some(_)) | (None, None) => {}
            (Some(found), None) => open = Some((found.to_owned(), Vec::new())),
            (None, Some((found, mut lines))) => {
                lines.push(line);
                open = Some((found, lines));
            }
        }
    }
    assert!(open.is_none(), "an example of the README is not closed");
    examples
}

#[test]
fn the_two_commands_are_there() {
    let shell = examples("sh");
    for command in ["cargo run --release -- dev\n", "cargo test --workspace --locked\n"] {
        assert!(shell.iter().any(|example| example == command), "the README does not give `{}`", command.trim());
    }
}

#[test]
fn the_python_examples_run() {
    let directory = scratch();
    let server = Dev::new(program(), directory.path()).zones(&["ch-gva-2", "ch-dk-2", "de-fra-1"]).start();
    let examples = examples("python");
    assert!(examples.len() >= 3, "an example of encrypting, one of zones and one of data keys");
    for example in &examples {
        let python = venv(Sdk::V0_16_4).interpreter();
        run(with_environment(Command::new(python).args(["-c", example]), &server), "PyPI");
    }
    let mut client = server.client();
    let keys = client.get("/v2/kms-key").ok();
    let orders = keys["kms-keys"].as_array().unwrap().iter().find(|key| key["name"] == "orders").unwrap();
    assert_eq!(orders["material"]["version"], 2, "the first example rotates its key");
    server.stop();
}

/// All shell examples in one shell, in the directory where `dev` left its environment file.
#[test]
fn the_shell_examples_run() {
    let directory = scratch();
    let dev = Dev::new(program(), directory.path());
    let server = dev.start();
    let usual = directory.path().join("zonekms-data");
    std::os::unix::fs::symlink(dev.data(), &usual).unwrap();
    let examples: Vec<String> = examples("sh").into_iter().filter(|example| !example.starts_with("cargo ")).collect();
    let script = examples.concat();
    for needed in ["source zonekms-data/dev.env", "openssl", "/lab/clock"] {
        assert!(script.contains(needed), "the README shows {needed}");
    }
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &script]).current_dir(directory.path()).env_clear();
    shell.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let output = run(&mut shell, "bash, curl and openssl");
    println!("{output}");
    let keys = server.client().get("/v2/kms-key").ok();
    let made = keys["kms-keys"].as_array().unwrap().iter().find(|key| key["name"] == "from-curl");
    let made = made.expect("curl made a key");
    assert_eq!(
        (&made["material"]["version"], &made["material"]["automatic"]),
        (&2.into(), &true.into()),
        "a year later"
    );
    server.stop();
}

/// A link of the README or of a page in `docs` that leads nowhere.
#[test]
fn links_lead_somewhere() {
    let mut pages = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    let mut directories = vec![root().join("docs")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    let mut broken = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let elsewhere = file.is_empty() || target.contains("://") || target.contains(' ');
            if !elsewhere && !page.parent().unwrap_or(Path::new(".")).join(file).exists() {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}
