//! S16: TLS for official clients, and nothing but TLS where it is configured.

use crate::{program, scratch_in_memory, venv};
use std::process::Command;
use std::time::Duration;
use zonekms_tests::client::{Connection, Request};
use zonekms_tests::configuration::{Configuration, credential};
use zonekms_tests::python::{Sdk, run};

const USE: &str = "
import os
from exoscale.api.v2 import Client
c = Client(os.environ['EXOSCALE_API_KEY'], os.environ['EXOSCALE_API_SECRET'], url=os.environ['EXOSCALE_API_ENDPOINT'])
k = c.create_kms_key(name='over TLS')['id']
sealed = c.encrypt(id=k, plaintext='YQ==')['ciphertext']
assert c.decrypt(id=k, ciphertext=sealed)['plaintext'] == 'YQ=='
";

const OLD_VERSIONS: &str = "
import os, socket, ssl, warnings
warnings.simplefilter('ignore')
port = int(os.environ['PORT'])
for version, welcome in [(ssl.TLSVersion.TLSv1, False), (ssl.TLSVersion.TLSv1_1, False),
                         (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers('ALL:@SECLEVEL=0')
    context.minimum_version = context.maximum_version = version
    try:
        with socket.create_connection(('127.0.0.1', port)) as raw, context.wrap_socket(raw) as tls:
            assert welcome, f'{tls.version()} is accepted'
    except (ssl.SSLError, ConnectionError) as error:
        assert not welcome, f'{version}: {error}'
";

#[test]
fn official_clients_over_tls() {
    let directory = scratch_in_memory();
    let owner = credential("owner");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let configuration = Configuration::new(program(), directory.path())
        .organisation("red", &[(&owner, &[])])
        .tls(&made.cert.pem(), &made.signing_key.serialize_pem());
    let server = configuration.serve();
    let port = server.address.port();

    let python = venv(Sdk::V0_16_4).interpreter();
    let call = |script: &str| {
        let mut command = Command::new(&python);
        command.args(["-c", script]).env("EXOSCALE_API_KEY", &owner.id).env("EXOSCALE_API_SECRET", &owner.secret);
        command.env("EXOSCALE_API_ENDPOINT", format!("https://localhost:{port}/v2")).env("PORT", port.to_string());
        command.env_remove("REQUESTS_CA_BUNDLE");
        command
    };
    let bundle = directory.path().join("certificate.pem");
    run(call(USE).env("REQUESTS_CA_BUNDLE", &bundle), "PyPI");
    let without_trust = call(USE).output().unwrap();
    assert!(!without_trust.status.success(), "a client that does not know the certificate does not talk to it");
    run(&mut call(OLD_VERSIONS), "PyPI");

    // Plain HTTP gets no HTTP answer, and a handshake that never ends does not keep others out.
    let mut plain = Connection::open(server.address).unwrap();
    assert!(plain.call(&Request::new("GET", "/v2/zone", b"")).is_err(), "plain HTTP is answered on a TLS port");
    let mut silent: Vec<Connection> = (0..20).map(|_| Connection::open(server.address).unwrap()).collect();
    silent[0].send(&[0x16, 0x03, 0x01]).unwrap();
    run(
        call("import os, requests\nassert requests.get(os.environ['EXOSCALE_API_ENDPOINT'] + '/zone').ok")
            .env("REQUESTS_CA_BUNDLE", &bundle),
        "PyPI",
    );
    assert!(silent[0].closes_within(Duration::from_secs(60)), "a handshake that never ends is given up");
    server.stop();
}
