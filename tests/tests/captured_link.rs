//! What somebody between two zones sees: a plain TCP proxy keeps every byte of their links.

use crate::{program, scratch_in_memory};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use zonekms_tests::client::base64;
use zonekms_tests::relay::Relay;
use zonekms_tests::server::Serve;
use zonekms_tests::zones::{Site, ZonePlan, settled};

const ZONES: [&str; 2] = ["ch-gva-2", "ch-dk-2"];

/// D14, for links: nothing but TLS 1.3 records, and in them nothing that either zone or its keys are known by. The most
/// talkative log has none of the secrets either.
#[test]
fn a_captured_link_shows_tls_records_and_the_log_no_secrets() {
    let directory = scratch_in_memory();
    let relays = [Relay::open(), Relay::open()];
    let plan = ZonePlan::new(program(), directory.path(), &ZONES);
    let sites = plan.via(ZONES[0], ZONES[1], &relays[0]).via(ZONES[1], ZONES[0], &relays[1]).set_up();
    relays[0].lead_to(sites[1].peer_listener);
    relays[1].lead_to(sites[0].peer_listener);
    let running: Vec<Serve> = sites.iter().map(Site::start_talkative).collect();

    let plaintext = b"canary plaintext of 32 bytes....";
    let mut known = vec![base64(plaintext).into_bytes(), plaintext.to_vec(), b"canary".to_vec()];
    for (origin, target) in [(&sites[0], &sites[1]), (&sites[1], &sites[0])] {
        let mut client = origin.client();
        for number in 0..5 {
            let name = format!("canary {} {number}", origin.zone);
            let key = origin.create_replicated(&mut client, &name, &[&target.zone]);
            for _ in 0..2 {
                client.post_empty(&format!("/v2/kms-key/{key}/rotate")).ok();
            }
            let seen = settled(&mut client, &key);
            let (ciphertext, _) = client.encrypt(&key, plaintext);
            assert_eq!(target.client().decrypt(&key, &ciphertext).ok()["plaintext"], base64(plaintext));
            let data_key = client.post_empty(&format!("/v2/kms-key/{key}/generate-data-key")).ok();
            known.push(data_key["plaintext"].as_str().unwrap().as_bytes().to_vec());
            known.push(hex::decode(key.replace('-', "")).unwrap());
            known.push(key.into_bytes());
            known.push(seen["created-at"].as_str().unwrap().as_bytes().to_vec());
        }
        client.post("/v2/kms-key", json!({ "name": format!("canary only in {}", origin.zone) })).ok();
    }
    let of_zones = ["acme", ZONES[0], ZONES[1], "exoscale-kms", "encrypt-decrypt", "\"zone\"", "hpke"];
    known.extend(of_zones.map(|text| text.as_bytes().to_vec()));
    let secrets = secrets_of(&sites);
    running.into_iter().for_each(Serve::stop);

    let captured: Vec<Vec<u8>> = relays.iter().flat_map(Relay::recorded).collect();
    let bytes: usize = captured.iter().map(Vec::len).sum();
    let mut records = BTreeMap::new();
    for stream in &captured {
        count_records(stream, &mut records);
        for text in known.iter().chain(secrets.iter().map(|(_, secret)| secret)) {
            assert!(!contains(stream, text), "the link shows {:?}", String::from_utf8_lossy(text));
        }
    }
    println!("{bytes} bytes of {} directions, records by type {records:?}", captured.len());
    assert!(captured.len() >= 4 && bytes > 10_000, "keys went over both links");
    assert!(records[&APPLICATION_DATA] >= 20, "{records:?}");

    for site in &sites {
        let log = site.log();
        assert!(log.contains("TRACE") && log.contains("DEBUG"), "everything was logged");
        for (what, secret) in &secrets {
            assert!(!contains(log.as_bytes(), secret), "the log of {} contains {what}", site.zone);
        }
        for text in known.iter().filter(|text| text.starts_with(b"canary") || text.starts_with(b"Y2FuYXJ5")) {
            assert!(!contains(log.as_bytes(), text), "the log contains {:?}", String::from_utf8_lossy(text));
        }
    }
}

/// Everything secret that these zones have in files, in the forms in which it might show up.
fn secrets_of(sites: &[Site]) -> Vec<(String, Vec<u8>)> {
    let mut secrets = Vec::new();
    for site in sites {
        for file in ["root.key", "identity/hpke.key"] {
            let digits = fs::read_to_string(site.path(file)).unwrap().trim().to_owned();
            let raw = hex::decode(&digits).unwrap();
            secrets.push((format!("{file} of {} in base64", site.zone), base64(&raw).into_bytes()));
            secrets.push((format!("{file} of {} as a list", site.zone), list(&raw)));
            secrets.push((format!("{file} of {} as bytes", site.zone), raw));
            secrets.push((format!("{file} of {}", site.zone), digits.into_bytes()));
        }
        let pem = fs::read_to_string(site.path("identity/certificate.key")).unwrap();
        let line = pem.lines().nth(1).expect("a key of several lines").to_owned();
        secrets.push((format!("the certificate's key of {}", site.zone), line.into_bytes()));
        secrets.push((format!("the API secret of {}", site.zone), site.credential().secret.clone().into_bytes()));
    }
    secrets
}

/// The first bytes as `Debug` writes them.
fn list(bytes: &[u8]) -> Vec<u8> {
    let text = format!("{:?}", &bytes[..8]);
    text.trim_matches(['[', ']']).as_bytes().to_vec()
}

const APPLICATION_DATA: u8 = 23;
/// Change cipher spec (sent for the sake of old middleboxes), alert, handshake, application data.
const RECORD_TYPES: [u8; 4] = [20, 21, 22, APPLICATION_DATA];

/// Takes a direction of a connection for what it must be: whole TLS records (RFC 8446, 5.1), of which the handshake's come
/// first and everything after its first flight is application data.
fn count_records(stream: &[u8], records: &mut BTreeMap<u8, usize>) {
    let mut rest = stream;
    while let [kind, 3, 1 | 3, high, low, body @ ..] = rest {
        assert!(RECORD_TYPES.contains(kind), "a record of type {kind}");
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        assert!(length <= 16_384 + 256, "a record of {length} bytes");
        *records.entry(*kind).or_default() += 1;
        // The last record of a connection that was ended may be cut short.
        rest = body.get(length..).unwrap_or_default();
    }
    assert!(rest.is_empty(), "{} bytes that are no TLS record: {:?}", rest.len(), &rest[..rest.len().min(16)]);
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
