//! The protocol of AWS KMS, spoken to moto: a server that others have written from the protocol's own description.

use crate::peer::{self, Peer};
use kms_load::{AwsCredentials, AwsKms, Endpoint, Secret};
use std::process::Command;

#[test]
fn keys_encrypt_decrypt_and_data_keys() {
    let program = peer::venv("moto").join("bin/moto_server");
    let moto = Peer::start(|address| {
        let mut command = Command::new(program);
        command.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
        command
    });
    let endpoint: Endpoint = format!("http://{}", moto.address).parse().unwrap();
    let credentials = AwsCredentials {
        access_key: "AKIDEXAMPLE".to_owned(),
        secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
        session_token: Some(Secret::new("session".to_owned())),
        region: "eu-central-1".to_owned(),
    };
    let mut session = peer::session(AwsKms::new(&endpoint, credentials), &endpoint);
    peer::works(&mut session, "encrypt=1,decrypt=1,data-key=1");
}
