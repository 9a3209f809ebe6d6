//! What others can see of the process's memory: nothing, whoever they are but root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{copy_program, read_when_there};

const USER: u32 = 12_345;

/// A program of the same user tries to read the memory, and the crash of the server is to leave no core. Only root can become that
/// user; says so where it cannot.
#[test]
fn another_process_of_the_same_user_cannot_read_it_and_a_crash_leaves_no_core() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let home = scratch.path().join("home");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(USER), Some(USER)).unwrap();
    let program = scratch.path().join("zonekms");
    copy_program(&program);

    // In a shell that allows cores of any size, as a careless operator would have it.
    let data = home.join("data");
    let script = format!(
        "ulimit -c unlimited 2>/dev/null; cd {} && exec {} dev --data-dir {} --listen 127.0.0.1:0 --zones ch-gva-2",
        home.display(),
        program.display(),
        data.display()
    );
    let mut server =
        Ended(as_user("bash", &["-c", &script]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    read_when_there(&data.join("dev.env"));
    let id = server.0.id();

    // The same attempt on a process that does not guard itself succeeds: it is the guard that is tested.
    let plain = Ended(as_user("sleep", &["3600"]).spawn().unwrap());
    let attempts = [
        format!("dd if=/proc/{id}/maps bs=1 count=1"),
        format!("dd if=/proc/{id}/environ bs=1 count=1"),
        format!("dd if=/proc/{id}/mem bs=1 count=0"),
        format!("ls /proc/{id}/fd/0"),
    ];
    for attempt in attempts {
        let allowed = |attempt: &str| as_user("bash", &["-c", attempt]).output().unwrap().status.success();
        assert!(
            allowed(&attempt.replace(&id.to_string(), &plain.0.id().to_string())),
            "{attempt}: of an unguarded process"
        );
        assert!(!allowed(&attempt), "{attempt}: another process of the same user may");
    }
    drop(plain);

    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");

    kill_process(Pid::from_child(&server.0), Signal::ABORT).unwrap();
    let ended = server.0.wait().unwrap();
    assert!(!std::os::unix::process::ExitStatusExt::core_dumped(&ended), "{ended}");
    assert!(cores_in(&home).is_empty() && cores_in(&data).is_empty());
}

/// A process that ends with the test, however that ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn as_user(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_remove("ZONEKMS_LOG").uid(USER).gid(USER).stdin(Stdio::null());
    command
}

fn cores_in(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("core")).collect()
}
