//! How a key gets to a target when nothing fails.

use crate::support::{
    actions, applied, ask, at, change, connected, have, hear, key, revision, ship, window, zone, zones,
};
use kms_replication::{Answer, Content, Lag, Origin, OriginAction, Stage, Uptime};
use kms_types::Watermark;
use std::time::Duration;

fn stage(origin: &Origin, number: u32) -> Stage {
    origin.progress(key(number), &zone("b")).unwrap().stage
}

fn watermark(origin: &Origin, number: u32) -> u64 {
    origin.progress(key(number), &zone("b")).unwrap().watermark.get()
}

#[test]
fn a_new_key_is_asked_about_then_shipped_then_confirmed() {
    let mut origin = connected(64);
    assert_eq!(change(&mut origin, 1, 1, at(100)), [ask("b", 1, 1)]);
    assert_eq!((stage(&origin, 1), watermark(&origin, 1)), (Stage::UnderWay, 0));
    assert_eq!(origin.lag(&zone("b")), Lag::Behind { keys: 1, since: at(100).uptime });
    assert_eq!(origin.lag(&zone("b")).age(at(350).uptime), Duration::from_millis(250));
    assert_eq!(hear(&mut origin, &have(1, 0), at(200)), [ship("b", 1, 1)]);
    assert_eq!(hear(&mut origin, &applied(1, 1), at(300)), []);
    assert_eq!((stage(&origin, 1), watermark(&origin, 1)), (Stage::Confirmed, 1));
    assert_eq!((origin.lag(&zone("b")), origin.wake_at()), (Lag::None, None));
}

#[test]
fn a_restarted_origin_ships_only_what_is_missing() {
    let mut origin = connected(64);
    let asked: Vec<_> = (1..=3).flat_map(|number| change(&mut origin, number, 5, at(0))).collect();
    assert_eq!(asked, [ask("b", 1, 5), ask("b", 2, 5), ask("b", 3, 5)]);
    assert_eq!(hear(&mut origin, &have(1, 5), at(1)), []);
    assert_eq!(hear(&mut origin, &have(2, 4), at(1)), [ship("b", 2, 5)]);
    assert_eq!(hear(&mut origin, &have(3, 0), at(1)), [ship("b", 3, 5)]);
    assert_eq!([1, 2, 3].map(|number| watermark(&origin, number)), [5, 4, 0]);
}

#[test]
fn the_window_is_filled_in_the_order_of_the_queue() {
    let mut origin = connected(2);
    let asked: Vec<_> = (1..=5).flat_map(|number| change(&mut origin, number, 1, at(0))).collect();
    assert_eq!(asked, [ask("b", 1, 1), ask("b", 2, 1)]);
    assert_eq!(stage(&origin, 3), Stage::Queued);
    assert_eq!(hear(&mut origin, &have(1, 0), at(1)), [ship("b", 1, 1)], "a key keeps its place in the window");
    assert_eq!(hear(&mut origin, &have(2, 1), at(1)), [ask("b", 3, 1)]);
    assert_eq!(hear(&mut origin, &applied(1, 1), at(1)), [ask("b", 4, 1)]);
    assert_eq!((origin.under_way(&zone("b")), origin.lag(&zone("b")).keys()), (2, 3));
}

#[test]
fn a_key_changed_without_pause_does_not_keep_others_waiting() {
    let mut origin = connected(1);
    change(&mut origin, 1, 1, at(0));
    change(&mut origin, 2, 1, at(0));
    hear(&mut origin, &have(1, 0), at(1));
    change(&mut origin, 1, 2, at(1));
    assert_eq!(hear(&mut origin, &applied(1, 1), at(2)), [ask("b", 2, 1)]);
    assert_eq!(hear(&mut origin, &have(2, 1), at(3)), [ship("b", 1, 2)]);
}

/// What a revision made at each moment of an exchange leads to.
#[test]
fn the_latest_revision_supersedes_what_is_on_its_way() {
    let mut asked = connected(1);
    change(&mut asked, 1, 1, at(0));
    assert_eq!(change(&mut asked, 1, 2, at(1)), []);
    assert_eq!(hear(&mut asked, &have(1, 0), at(2)), [ship("b", 1, 2)], "asked: the answer brings the latest");

    let mut shipped = connected(1);
    change(&mut shipped, 1, 1, at(0));
    hear(&mut shipped, &have(1, 0), at(1));
    assert_eq!([change(&mut shipped, 1, 2, at(2)), change(&mut shipped, 1, 3, at(2))], [[], []]);
    assert_eq!(hear(&mut shipped, &applied(1, 1), at(3)), [ship("b", 1, 3)], "shipped: once more, without asking");

    let mut queued = connected(1);
    change(&mut queued, 9, 1, at(0));
    assert_eq!([change(&mut queued, 1, 1, at(0)), change(&mut queued, 1, 2, at(1))], [[], []]);
    assert_eq!(hear(&mut queued, &have(9, 1), at(2)), [ask("b", 1, 2)], "queued: once, for the latest");

    let mut confirmed = connected(1);
    change(&mut confirmed, 1, 1, at(0));
    hear(&mut confirmed, &have(1, 1), at(1));
    assert_eq!(change(&mut confirmed, 1, 2, at(2)), [ship("b", 1, 2)], "confirmed: nothing to ask");
    assert_eq!(confirmed.lag(&zone("b")), Lag::Behind { keys: 1, since: at(2).uptime });
}

#[test]
fn an_earlier_revision_is_no_change() {
    let mut origin = connected(1);
    change(&mut origin, 1, 3, at(0));
    hear(&mut origin, &have(1, 3), at(1));
    for repeated in [2, 3] {
        assert_eq!(change(&mut origin, 1, repeated, at(2)), []);
        assert_eq!(origin.progress(key(1), &zone("b")).unwrap().wanted, revision(3));
    }
}

#[test]
fn a_later_revision_may_be_shipped_than_was_asked_for() {
    let mut origin = connected(1);
    change(&mut origin, 1, 1, at(0));
    assert_eq!(hear(&mut origin, &have(1, 0), at(1)), [ship("b", 1, 1)]);
    origin.shipping(&zone("b"), key(1), revision(2), at(2));
    assert_eq!(change(&mut origin, 1, 2, at(3)), [], "it is on its way already");
    assert_eq!(hear(&mut origin, &applied(1, 2), at(4)), []);
    assert_eq!((stage(&origin, 1), watermark(&origin, 1)), (Stage::Confirmed, 2));
}

#[test]
fn answers_that_are_old_or_about_nothing_change_nothing() {
    let other = zone("c");
    let mut origin = connected(64);
    change(&mut origin, 1, 3, at(0));
    hear(&mut origin, &have(1, 2), at(1));
    let before = origin.progress(key(1), &zone("b")).unwrap();
    for answer in [have(1, 0), have(1, 1), applied(1, 1), applied(1, 2), have(2, 3), applied(2, 3)] {
        assert_eq!(hear(&mut origin, &answer, at(2)), [], "{answer:?}");
        assert_eq!(origin.progress(key(1), &zone("b")), Some(before.clone()), "{answer:?}");
    }
    assert_eq!(actions(origin.received(&other, &applied(1, 3), at(3))), []);
    assert_eq!(origin.progress(key(1), &zone("b")), Some(before), "another zone speaks for itself only");
    assert_eq!(origin.progress(key(1), &other), None);
    hear(&mut origin, &applied(1, 3), at(4));
    hear(&mut origin, &have(1, 1), at(5));
    assert_eq!((stage(&origin, 1), watermark(&origin, 1)), (Stage::Confirmed, 3), "a watermark never goes back");
}

#[test]
fn an_answer_that_comes_late_counts_all_the_same() {
    let mut origin = connected(1);
    change(&mut origin, 1, 1, at(0));
    hear(&mut origin, &have(1, 0), at(1));
    actions(origin.tick(at(10_001)));
    assert!(matches!(stage(&origin, 1), Stage::Pausing { .. }));
    assert_eq!(hear(&mut origin, &applied(1, 1), at(10_002)), []);
    assert_eq!(stage(&origin, 1), Stage::Confirmed);
    assert_eq!(origin.progress(key(1), &zone("b")).unwrap().last_failure, None);
}

#[test]
fn a_target_registered_later_gets_the_key_alone() {
    let mut origin = connected(1);
    change(&mut origin, 1, 1, at(0));
    hear(&mut origin, &have(1, 1), at(1));
    actions(origin.link_up(&zone("c"), at(1)));
    let both = zones(&["b", "c"]);
    let changed = actions(origin.key_changed(key(1), revision(2), Content::Key, &both, at(2)));
    assert_eq!(changed, [ship("b", 1, 2), ask("c", 1, 2)]);
    assert!(origin.targets().eq(&both));
}

#[test]
fn nothing_is_sent_without_a_connection() {
    let mut origin = Origin::new(window(64));
    assert_eq!(change(&mut origin, 1, 1, at(0)), []);
    assert_eq!(actions(origin.tick(at(100_000))), []);
    assert_eq!((stage(&origin, 1), origin.wake_at()), (Stage::Queued, None));
    assert_eq!(actions(origin.link_up(&zone("b"), at(100_001))), [ask("b", 1, 1)]);
    assert_eq!(origin.wake_at(), Some(Uptime::from_start(Duration::from_millis(110_001))));
}

#[test]
fn a_removed_target_is_forgotten() {
    let mut origin = connected(1);
    change(&mut origin, 1, 1, at(0));
    assert_eq!(actions(origin.remove_target(&zone("b"))), []);
    assert_eq!((origin.progress(key(1), &zone("b")), origin.link_state(&zone("b"))), (None, None));
    let late = Answer::Have { key: key(1), applied: Watermark::NONE };
    assert_eq!(hear(&mut origin, &late, at(1)), []);
    assert_eq!((origin.wake_at(), origin.targets().count()), (None, 0));
}

#[test]
fn a_target_that_was_restored_is_brought_up_again() {
    let mut origin = connected(64);
    for number in [1, 2] {
        change(&mut origin, number, 3, at(0));
        hear(&mut origin, &have(number, 3), at(1));
    }
    assert_eq!(actions(origin.link_up(&zone("b"), at(2))), []);
    assert_eq!(actions(origin.recheck(&zone("b"), at(2))), [ask("b", 1, 3), ask("b", 2, 3)]);
    assert_eq!(hear(&mut origin, &have(1, 3), at(3)), [], "it was not restored to before that");
    assert_eq!(hear(&mut origin, &have(2, 1), at(3)), [ship("b", 2, 3)]);
    assert_eq!((stage(&origin, 1), stage(&origin, 2)), (Stage::Confirmed, Stage::UnderWay));
    assert_eq!(hear(&mut origin, &applied(2, 3), at(4)), []);
    assert_eq!((stage(&origin, 2), watermark(&origin, 2)), (Stage::Confirmed, 3));
    assert_eq!(actions(origin.recheck(&zone("c"), at(5))), [], "a zone not heard of");
}

#[test]
fn a_deletion_is_not_over_while_a_target_is_asked_again() {
    let mut origin = Origin::new(window(8));
    actions(origin.link_up(&zone("b"), at(0)));
    let targets = zones(&["b", "c"]);
    actions(origin.key_changed(key(1), revision(2), Content::Tombstone, &targets, at(0)));
    hear(&mut origin, &have(1, 2), at(1));
    assert_eq!(actions(origin.recheck(&zone("b"), at(2))), [ask("b", 1, 2)]);
    actions(origin.link_up(&zone("c"), at(3)));
    assert_eq!(actions(origin.received(&zone("c"), &have(1, 2), at(4))), [], "b may have the key again");
    assert_eq!(hear(&mut origin, &have(1, 0), at(5)), [ship("b", 1, 2)]);
    assert_eq!(hear(&mut origin, &applied(1, 2), at(6)), [OriginAction::Retired { key: key(1) }]);
}
