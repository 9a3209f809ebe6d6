//! The commands of `docs/operations/root-keys.md` do what it says, in its order, on a zone that is served all the while.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::token::SoftHsm;
use super::zone::{Zone, stop};

#[test]
fn the_commands_of_the_page_are_one_story() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations/root-keys.md");
    let page = fs::read_to_string(page).unwrap();
    let mut scripts: Vec<&str> = Vec::new();
    for block in page.split("\n```sh\n").skip(1) {
        scripts.push(block.split_once("\n```").unwrap().0);
    }
    assert_eq!(scripts.len(), 4, "status and rotation, to a passphrase, tidying up, to a token");
    let soft_hsm = SoftHsm::find();

    let zone = Zone::new("[root-key]\nfile = \"root.key\"");
    zone.make_root_key("root.key");
    fs::create_dir(zone.path("tokens")).unwrap();
    zone.write("softhsm2.conf", &format!("directories.tokendir = {}\n", zone.path("tokens").display()));
    let conf = zone.path("softhsm2.conf").to_str().unwrap().to_owned();
    let zone = zone.with_variable("SOFTHSM2_CONF", &conf);
    let server = zone.start();
    let mut shown = String::new();
    for script in scripts {
        let script = script.replace("/usr/lib/softhsm/libsofthsm2.so", soft_hsm.module.to_str().unwrap());
        let program = Path::new(env!("CARGO_BIN_EXE_zonekms")).parent().unwrap();
        let tool = soft_hsm.tool.parent().unwrap();
        let path = format!("{}:{}:{}", program.display(), tool.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &script]).env("PATH", path).env("SOFTHSM2_CONF", &conf);
        let output = shell.current_dir(zone.path(".")).output().unwrap();
        shown += &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{script}\n{shown}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    for told in ["provider     passphrase\n", "provider     PKCS#11 token\n", "zonekms.toml: ok", "generation   4\n"] {
        assert!(shown.contains(told), "{told}:\n{shown}");
    }
    stop(server);
    stop(zone.start());
}
