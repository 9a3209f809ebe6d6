//! How a deletion reaches every target and is then forgotten.

use crate::support::{actions, applied, ask, at, change, connected, have, hear, key, revision, ship, zone, zones};
use kms_replication::{Content, Origin, OriginAction};

fn delete(origin: &mut Origin, at_revision: u64, targets: &[&str], millis: u64) -> Vec<OriginAction> {
    let now = at(millis);
    actions(origin.key_changed(key(1), revision(at_revision), Content::Tombstone, &zones(targets), now))
}

const RETIRED: fn() -> OriginAction = || OriginAction::Retired { key: key(1) };

#[test]
fn a_deleted_key_is_forgotten_when_every_target_confirmed() {
    let mut origin = connected(1);
    actions(origin.link_up(&zone("c"), at(0)));
    assert_eq!(delete(&mut origin, 2, &["b", "c"], 1), [ask("b", 1, 2), ask("c", 1, 2)]);
    assert_eq!(hear(&mut origin, &have(1, 1), at(2)), [ship("b", 1, 2)]);
    assert_eq!(hear(&mut origin, &applied(1, 2), at(3)), [], "c does not know yet");
    assert!(origin.progress(key(1), &zone("b")).is_some());
    assert_eq!(actions(origin.received(&zone("c"), &have(1, 2), at(4))), [RETIRED()]);
    for target in ["b", "c"] {
        assert_eq!(origin.progress(key(1), &zone(target)), None);
        assert_eq!(origin.lag(&zone(target)).keys(), 0);
    }
}

#[test]
fn a_living_key_is_never_forgotten() {
    let mut origin = connected(1);
    change(&mut origin, 1, 1, at(0));
    assert_eq!(hear(&mut origin, &have(1, 1), at(1)), []);
    assert!(origin.progress(key(1), &zone("b")).is_some());
}

#[test]
fn no_revision_follows_a_tombstone() {
    let mut origin = connected(1);
    delete(&mut origin, 2, &["b"], 0);
    assert_eq!(change(&mut origin, 1, 3, at(1)), []);
    assert_eq!(origin.progress(key(1), &zone("b")).unwrap().wanted, revision(2));
}

#[test]
fn a_tombstone_that_was_shipped_before_it_was_announced_is_forgotten_when_announced() {
    let mut origin = connected(1);
    change(&mut origin, 1, 1, at(0));
    hear(&mut origin, &have(1, 0), at(1));
    origin.shipping(&zone("b"), key(1), revision(2), at(2));
    assert_eq!(hear(&mut origin, &applied(1, 2), at(3)), []);
    assert_eq!(delete(&mut origin, 2, &["b"], 4), [RETIRED()]);
}

#[test]
fn a_target_that_is_removed_is_not_waited_for() {
    let mut origin = connected(1);
    actions(origin.link_up(&zone("c"), at(0)));
    delete(&mut origin, 2, &["b", "c"], 1);
    hear(&mut origin, &have(1, 2), at(2));
    assert_eq!(actions(origin.remove_target(&zone("c"))), [RETIRED()]);
    assert_eq!(origin.progress(key(1), &zone("b")), None);
}

#[test]
fn a_tombstone_announced_again_after_a_start_is_asked_about_and_forgotten_again() {
    let mut origin = connected(1);
    assert_eq!(delete(&mut origin, 2, &["b"], 0), [ask("b", 1, 2)]);
    assert_eq!(hear(&mut origin, &have(1, 2), at(1)), [RETIRED()]);
}
