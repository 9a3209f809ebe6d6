//! Several organisations on one server: what belongs to one does not exist for another.

use crate::bad_requests::everything;
use crate::{program, scratch_in_memory};
use serde_json::json;
use std::collections::BTreeSet;
use zonekms_tests::client::{Answer, Client};
use zonekms_tests::configuration::{Configuration, credential};

const UNKNOWN: &str = "019eef19-73ef-7ce3-9ea1-fcaa367ebd8d";

#[test]
fn what_belongs_to_one_organisation_does_not_exist_for_another() {
    let directory = scratch_in_memory();
    let (red, red_too, blue) = (credential("red1"), credential("red2"), credential("blue"));
    let configuration = Configuration::new(program(), directory.path())
        .organisation("red", &[(&red, &[]), (&red_too, &["ch-gva-2"])])
        .organisation("blue", &[(&blue, &[])]);
    let server = configuration.serve();
    let (mut red, mut red_too, mut blue) =
        (configuration.client(&red), configuration.client(&red_too), configuration.client(&blue));

    let key = red.create("same name");
    let disabled = red.create("disabled");
    red.post_empty(&format!("/v2/kms-key/{disabled}/disable")).ok();
    let pending = red.create("pending");
    red.post_empty(&format!("/v2/kms-key/{pending}/schedule-deletion")).ok();
    let (ciphertext, _) = red.encrypt(&key, b"secret of red");

    // Two API keys of one organisation are equals; another organisation may use the same name.
    assert_eq!(red_too.get(&format!("/v2/kms-key/{key}")).body, red.get(&format!("/v2/kms-key/{key}")).body);
    red_too.decrypt(&key, &ciphertext).ok();
    let own = blue.create("same name");
    assert_ne!(own, key);
    let listed = blue.get("/v2/kms-key").ok();
    assert_eq!(listed["kms-keys"].as_array().unwrap().len(), 1, "only its own key is listed");

    let before = everything(&mut red);
    let mut answers = BTreeSet::new();
    let mut asked = 0;
    for id in [key.as_str(), &disabled, &pending, UNKNOWN] {
        for answer in every_operation_on(&mut blue, id, &own, &ciphertext) {
            asked += 1;
            answers.insert(answer.distinguishable());
        }
    }
    println!("{asked} requests for keys of another organisation or of none, {} kinds of answer", answers.len());
    assert_eq!(answers.len(), 1, "another's key and no key look the same: {answers:?}");
    assert!(answers.first().unwrap().starts_with("404 "), "{answers:?}");
    assert_eq!(everything(&mut red), before, "nothing was changed");
    // C4: another organisation's ciphertext under one's own key is garbage like any other.
    assert_eq!(blue.decrypt(&own, &ciphertext).body, blue.decrypt(&own, "AAAA").body);
    server.stop();
}

#[test]
fn an_api_key_is_good_for_its_zones_only() {
    let directory = scratch_in_memory();
    let (here, elsewhere) = (credential("here"), credential("elsewhere"));
    let configuration = Configuration::new(program(), directory.path())
        .organisation("red", &[(&here, &["ch-gva-2", "ch-dk-2"]), (&elsewhere, &["ch-dk-2"])]);
    let server = configuration.serve();
    configuration.client(&here).create("k");
    let refused = configuration.client(&elsewhere).get("/v2/kms-key");
    let unknown = configuration.client(&credential("nobody")).get("/v2/kms-key");
    assert_eq!(refused.status, 403);
    assert_eq!(refused.distinguishable(), unknown.distinguishable(), "a key of another zone looks like no key");
    server.stop();
}

#[test]
fn a_second_process_on_the_same_store_is_refused() {
    let directory = scratch_in_memory();
    let red = credential("red");
    let configuration = Configuration::new(program(), directory.path()).organisation("red", &[(&red, &[])]);
    let server = configuration.serve();
    let mut second = configuration.spawn();
    let status = second.ends_within(std::time::Duration::from_secs(60)).expect("it ends by itself");
    assert!(!status.success());
    assert!(!second.log().is_empty(), "it says why");
    configuration.client(&red).create("the first one goes on");
    server.stop();
}

/// All fifteen operations on a key that is not the caller's.
fn every_operation_on(client: &mut Client, id: &str, own: &str, ciphertext: &str) -> Vec<Answer> {
    let path = format!("/v2/kms-key/{id}");
    let mut answers = vec![client.get(&path), client.get(&format!("{path}/list-key-rotations"))];
    let changes = ["enable", "disable", "rotate", "enable-key-rotation", "disable-key-rotation", "schedule-deletion"];
    for operation in changes.into_iter().chain(["cancel-deletion", "generate-data-key"]) {
        answers.push(client.post_empty(&format!("{path}/{operation}")));
    }
    answers.push(client.post(&format!("{path}/replicate"), json!({ "zone": "ch-dk-2" })));
    answers.push(client.post(&format!("{path}/encrypt"), json!({ "plaintext": "YQ==" })));
    answers.push(client.decrypt(id, ciphertext));
    let re_encrypt = |from: &str, to: &str| json!({ "source": { "key": from, "ciphertext": ciphertext }, "destination": { "key": to } });
    answers.push(client.post(&format!("{path}/re-encrypt"), re_encrypt(id, own)));
    answers.push(client.post(&format!("/v2/kms-key/{own}/re-encrypt"), re_encrypt(own, id)));
    answers
}
