//! `zonekms bench` against a lab: what two commands show, and what they leave behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::dev::env_file;
use crate::program::{Server, run, text, zonekms};

fn bench(env: &str, more: &[&str]) -> Output {
    run(&[&["bench", "--env-file", env], more].concat())
}

#[test]
fn two_commands_measure_and_clean_up() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("data");
    let data = directory.to_str().unwrap();
    let mut dev = zonekms(&["dev", "--listen", "127.0.0.1:0", "--zones", "ch-gva-2", "--data-dir", data]);
    let mut server = Server::start(dev.env("ZONEKMS_LOG", "warn,kms_service=info"));
    let secrets = env_file(&directory);
    let env = format!("{data}/dev.env");
    let file = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let (json, page, drawings) = (file("r.json"), file("r.html"), file("drawings"));
    let pid = server.pid().to_string();
    let short = ["--duration", "1s", "--warmup", "0s", "--repeats", "1", "--connections", "4", "--keys", "3"];
    let files = ["--server-pid", &pid, "--json", &json, "--report", &page, "--svg", &drawings];
    let output = bench(&env, &[&short[..], &files[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));

    let table = text(&output.stdout);
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("exoscale ")).collect();
    assert!(rows.len() == 2 && rows[0].contains(" encrypt ") && rows[1].contains(" decrypt "), "{table}");
    assert!(text(&output.stderr).contains("ceiling of the generator"));
    let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    for result in report["results"].as_array().unwrap() {
        assert_eq!((&result["failed"], &result["unanswered"]), (&Value::from(0), &Value::from(0)), "{result}");
        assert!(result["visits"][0]["answered"].as_u64() > Some(0));
        assert!(result["server_cpu_us"].as_f64() > Some(1.0), "{result}");
    }
    assert!(fs::read_dir(&drawings).unwrap().count() >= 4);
    for shown in [table, text(&output.stderr), &fs::read_to_string(&json).unwrap(), &fs::read_to_string(&page).unwrap()]
    {
        assert!(!shown.contains(&secrets["EXOSCALE_API_SECRET"]), "the secret is shown");
    }

    // A key that is given is used, and none is made.
    let given =
        ["--mix", "encrypt", "--duration", "1s", "--repeats", "1", "--key", "00000000-0000-0000-0000-000000000000"];
    let output = bench(&env, &given);
    assert!(!output.status.success() && text(&output.stderr).contains("status 404"), "{}", text(&output.stderr));

    // Ctrl-C ends a long run in order.
    let mut long = zonekms(&["bench", "--env-file", &env, "--mix", "encrypt", "--duration", "10m", "--no-ceiling"]);
    let mut long = long.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&long);
    let mut lines = BufReader::new(long.stderr.as_mut().unwrap()).lines();
    lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("1 of 3: "))).unwrap().unwrap();
    kill_process(pid, Signal::INT).unwrap();
    drop(lines);
    let output = long.wait_with_output().unwrap();
    assert!(output.status.success() && text(&output.stdout).contains("INTERRUPTED"), "{output:?}");

    // Every key that was made is scheduled for deletion.
    server.signal(Signal::TERM);
    let (status, log) = server.end();
    assert_eq!(status.code(), Some(0), "{log}");
    let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!((count("key created"), count("change=DeletionScheduled")), (4, 4), "{log}");
}

#[test]
fn what_is_missing_is_said() {
    let output = zonekms(&["bench"]).env_remove("EXOSCALE_API_ENDPOINT").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("EXOSCALE_API_ENDPOINT is not set"), "{}", text(&output.stderr));
    let output =
        zonekms(&["bench", "--target", "vault=http://127.0.0.1:1"]).env_remove("VAULT_TOKEN").output().unwrap();
    assert!(text(&output.stderr).contains("VAULT_TOKEN is not set"), "{}", text(&output.stderr));
    let output = run(&["bench", "--target", "noop=https://127.0.0.1:1"]);
    assert!(text(&output.stderr).contains("needs --ca-file"), "{}", text(&output.stderr));
    let output = run(&["bench", "--target", "noop=http://127.0.0.1:1", "--server-pid", "1", "--server-pid", "2"]);
    assert!(text(&output.stderr).contains("once for each"), "{}", text(&output.stderr));
}
