//! Operators' commands over the control socket.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Output;

use rustix::process::Signal;

use crate::program::{Server, run, text, zonekms};

fn status(arguments: &[&str]) -> Output {
    run(&[&["root-key", "status"], arguments].concat())
}

fn config(directory: &Path, extra: &str) -> String {
    let file = directory.join("zonekms.toml");
    let root_key = directory.join("root.key");
    assert!(run(&["root-key", "new", root_key.to_str().unwrap()]).status.success());
    let config = format!(
        "zone = \"ch-gva-2\"\nzones = [{{ name = \"ch-gva-2\", api-endpoint = \"http://127.0.0.1:8080/v2\" }}]\n\
         listen.address = \"127.0.0.1:0\"\nstore.directory = \"state/store\"\nroot-key.file = \"root.key\"\n\
         log.format = \"json\"\n{extra}\n[[organisation]]\nname = \"example\"\n[[organisation.api-key]]\n\
         id = \"EXO0123456789abcdef01234567\"\nsecret = \"kmsTestSecret_0123456789abcdefghijklmnopq\"\n"
    );
    fs::write(&file, config).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn a_server_is_found_through_its_configuration_from_start_to_stop() {
    for (extra, socket) in [("", "state/control.sock"), ("control.socket = \"run/kms.sock\"", "run/kms.sock")] {
        let scratch = tempfile::tempdir().unwrap();
        let file = config(scratch.path(), extra);
        let mut server = Server::start(&mut zonekms(&["serve", "--config", &file]));
        server.wait_for("serving");
        let socket = scratch.path().join(socket);
        let metadata = fs::metadata(&socket).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(socket.parent().unwrap()).unwrap().permissions().mode() & 0o077, 0);

        // A running server is found without its secrets.
        fs::rename(scratch.path().join("root.key"), scratch.path().join("elsewhere")).unwrap();
        let shown = status(&["--config", &file]);
        assert!(text(&shown.stdout).contains("ch-gva-2"), "{shown:?}");
        let other = status(&["--config", &file, "--zone", "de-fra-1"]);
        assert_eq!(other.status.code(), Some(2));
        assert!(text(&other.stderr).ends_with("is for zone ch-gva-2, not de-fra-1\n"), "{other:?}");

        server.signal(Signal::TERM);
        assert_eq!(server.end().0.code(), Some(0));
        assert!(!socket.exists(), "the socket of a server that stopped");
    }
}

#[test]
fn a_lab_is_asked_for_one_of_its_zones() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().to_str().unwrap();
    let missing = status(&["--data-dir", data, "--zone", "ch-gva-2"]);
    let told = text(&missing.stderr);
    assert!(
        told.starts_with(&format!(
            "zonekms: no server runs on {data}: {data}/control.sock is not there; and of its files: "
        )),
        "{told}"
    );
    assert_eq!(missing.status.code(), Some(1));

    let arguments = ["dev", "--data-dir", data, "--listen", "127.0.0.1:0", "--zones", "ch-gva-2,de-fra-1"];
    let mut lab = Server::start(&mut zonekms(&arguments));
    crate::program::read_when_there(&scratch.path().join("dev.env"));
    let which = status(&["--data-dir", data]);
    assert_eq!(text(&which.stderr), "zonekms: which zone? give --zone, one of: ch-gva-2, de-fra-1\n");
    for zone in ["ch-gva-2", "de-fra-1"] {
        let shown = status(&["--data-dir", data, "--zone", zone]);
        assert!(text(&shown.stdout).contains(zone), "{shown:?}");
    }
    let unknown = status(&["--data-dir", data, "--zone", "at-vie-1"]);
    assert_eq!(text(&unknown.stderr), "zonekms: this server has no zone at-vie-1\n");

    lab.signal(Signal::KILL);
    lab.end();
    let dead = status(&["--data-dir", data, "--zone", "ch-gva-2"]);
    assert!(text(&dead.stdout).contains("none runs: as the keyring file says, not verified"), "{dead:?}");

    fs::remove_file(scratch.path().join("dev.env")).unwrap();
    let mut again = Server::start(&mut zonekms(&arguments));
    crate::program::read_when_there(&scratch.path().join("dev.env"));
    assert!(status(&["--data-dir", data, "--zone", "ch-gva-2"]).status.success());
    again.signal(Signal::TERM);
    assert_eq!(again.end().0.code(), Some(0));
}

/// Another user than the server's is refused by the file system, and by the server where the file system let him through. Only
/// root can run a command as another user; says so where it cannot.
#[test]
fn another_user_is_refused() {
    const STRANGER: u32 = 12_345;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Where everyone may run it from.
    let program = scratch.path().join("zonekms");
    crate::program::copy_program(&program);
    let data = scratch.path().join("data");
    let data_dir = data.to_str().unwrap();
    let arguments = ["dev", "--data-dir", data_dir, "--listen", "127.0.0.1:0", "--zones", "ch-gva-2"];
    let mut lab = Server::start(&mut zonekms(&arguments));
    crate::program::read_when_there(&data.join("dev.env"));
    let stranger = || {
        let mut command = std::process::Command::new(&program);
        command.args(["root-key", "status", "--data-dir", data_dir, "--zone", "ch-gva-2"]).env_clear();
        command.uid(STRANGER).gid(STRANGER).output().unwrap()
    };
    let kept_out = stranger();
    assert_eq!(
        text(&kept_out.stderr),
        format!(
            "zonekms: permission denied to {data_dir}/control.sock: run this as user 0, as whom the server runs, or as root\n"
        )
    );
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(data.join("control.sock"), fs::Permissions::from_mode(0o666)).unwrap();
    let cut_off = stranger();
    assert_eq!(cut_off.status.code(), Some(1));
    assert!(text(&cut_off.stdout).is_empty());
    assert!(text(&cut_off.stderr).contains("closed the connection before it answered"), "{cut_off:?}");
    assert!(status(&["--data-dir", data_dir]).status.success(), "root is still served");
    lab.signal(Signal::TERM);
    let (ended, log) = lab.end();
    assert_eq!(ended.code(), Some(0));
    assert!(log.contains("a control connection of another user was refused"), "{log}");
}
