//! What an origin makes of what goes wrong.

use crate::support::{actions, applied, ask, at, change, connected, have, hear, key, revision, ship, text, zone};
use kms_replication::{
    Answer, EXCHANGE_TIMEOUT, FIRST_PAUSE, Failure, FailureCause, LONGEST_PAUSE, LinkState, Origin, OriginAction,
    RefusalReason, SLOW_RETRY, Stage, Uptime,
};
use kms_types::Timestamp;
use std::time::Duration;

fn refused(number: u32, at: u64, reason: RefusalReason) -> Answer {
    Answer::Refused { key: key(number), revision: revision(at), reason }
}

/// The pause that key 1 is in since `now`.
fn pause_since(origin: &Origin, now: u64) -> Duration {
    match origin.progress(key(1), &zone("b")).unwrap().stage {
        Stage::Pausing { until } => until.since(at(now).uptime),
        stage @ (Stage::Confirmed | Stage::Queued | Stage::UnderWay) => panic!("it does not pause: {stage:?}"),
    }
}

fn failed(attempted: u64, cause: FailureCause, millis: u64) -> OriginAction {
    let failure = Failure { attempted: revision(attempted), cause, failed_at: at(millis).wall };
    OriginAction::Failed { target: zone("b"), key: key(1), failure }
}

fn last_failure(origin: &Origin) -> Option<Failure> {
    origin.progress(key(1), &zone("b")).unwrap().last_failure
}

#[test]
fn a_target_that_does_not_answer_is_asked_again_at_growing_distances() {
    let mut origin = connected(1);
    assert_eq!(change(&mut origin, 1, 1, at(0)), [ask("b", 1, 1)]);
    assert_eq!(origin.wake_at(), Some(Uptime::from_start(EXCHANGE_TIMEOUT)));
    assert_eq!(actions(origin.tick(at(9_999))), []);
    let (mut now, mut pauses) = (10_000, Vec::new());
    for failures in 1..=12 {
        assert_eq!(actions(origin.tick(at(now))), [failed(1, FailureCause::TimedOut, now)]);
        assert_eq!(origin.progress(key(1), &zone("b")).unwrap().failures, failures);
        pauses.push(pause_since(&origin, now));
        let again = origin.wake_at().unwrap().elapsed();
        now = u64::try_from(again.as_millis()).unwrap() + 1;
        assert_eq!(actions(origin.tick(at(now))), [ask("b", 1, 1)]);
        now += 10_000;
    }
    assert!((FIRST_PAUSE..=FIRST_PAUSE * 2).contains(&pauses[0]), "{pauses:?}");
    assert!(pauses.windows(2).take(7).all(|pair| pair[0] < pair[1]), "{pauses:?}");
    assert!(pauses.iter().skip(8).all(|pause| (LONGEST_PAUSE / 2..=LONGEST_PAUSE).contains(pause)), "{pauses:?}");
    hear(&mut origin, &have(1, 1), at(now));
    assert_eq!((last_failure(&origin), origin.progress(key(1), &zone("b")).unwrap().failures), (None, 0));
}

#[test]
fn an_unconfirmed_state_is_asked_about_before_it_is_sent_again() {
    let mut origin = connected(1);
    change(&mut origin, 1, 1, at(0));
    assert_eq!(hear(&mut origin, &have(1, 0), at(1)), [ship("b", 1, 1)]);
    actions(origin.tick(at(10_001)));
    assert_eq!(actions(origin.tick(at(11_000))), [ask("b", 1, 1)]);
    assert_eq!(hear(&mut origin, &have(1, 1), at(11_001)), [], "only the confirmation was lost");
}

/// Which pause follows each refusal, and what the key's owner reads.
#[test]
fn refusals() {
    let table = [
        (RefusalReason::Busy, true, "the target zone is busy"),
        (RefusalReason::Failed(text("disk full")), true, "the target zone failed: disk full"),
        (RefusalReason::NameTaken, true, "the key's name is taken in the target zone"),
        (RefusalReason::QuotaReached, true, "the key quota is reached in the target zone"),
        (RefusalReason::NotOrigin, false, "a key with this id from another origin exists in the target zone"),
        (RefusalReason::Deleted, false, "the key is deleted for good in the target zone"),
        (RefusalReason::Malformed, false, "the target zone cannot read what it was sent"),
    ];
    for (reason, retryable, words) in table {
        assert_eq!(reason.retryable(), retryable, "{reason:?}");
        let mut origin = connected(1);
        change(&mut origin, 1, 1, at(0));
        hear(&mut origin, &have(1, 0), at(1));
        let cause = FailureCause::Refused(reason.clone());
        assert_eq!(hear(&mut origin, &refused(1, 1, reason.clone()), at(2)), [failed(1, cause, 2)]);
        let pause = pause_since(&origin, 2);
        let expected = if retryable { FIRST_PAUSE..=FIRST_PAUSE * 2 } else { SLOW_RETRY..=SLOW_RETRY * 3 / 2 };
        assert!(expected.contains(&pause), "{reason:?}: {pause:?}");
        let shown = last_failure(&origin).unwrap();
        let expected = (revision(1), words.to_owned(), Timestamp::EPOCH.plus(Duration::from_millis(2)));
        assert_eq!((shown.attempted, shown.cause.to_string(), shown.failed_at), expected);
        assert_eq!(change(&mut origin, 1, 2, at(3)), [ask("b", 1, 2)], "a new revision is tried at once");
        assert!(last_failure(&origin).is_some(), "the failure stands until the target confirms");
        hear(&mut origin, &have(1, 2), at(4));
        assert_eq!(last_failure(&origin), None);
    }
}

#[test]
fn a_refusal_of_what_is_superseded_does_not_keep_the_new_revision_waiting() {
    let mut origin = connected(1);
    change(&mut origin, 1, 1, at(0));
    hear(&mut origin, &have(1, 0), at(1));
    change(&mut origin, 1, 2, at(2));
    hear(&mut origin, &refused(1, 1, RefusalReason::NameTaken), at(3));
    assert!(pause_since(&origin, 3) <= FIRST_PAUSE * 2);
}

#[test]
fn a_refusal_of_an_earlier_attempt_is_ignored() {
    let mut origin = connected(1);
    change(&mut origin, 1, 2, at(0));
    hear(&mut origin, &have(1, 0), at(1));
    for answer in [refused(1, 1, RefusalReason::NameTaken), refused(2, 2, RefusalReason::NameTaken)] {
        assert_eq!(hear(&mut origin, &answer, at(2)), []);
    }
    hear(&mut origin, &applied(1, 2), at(3));
    assert_eq!(hear(&mut origin, &refused(1, 2, RefusalReason::Busy), at(4)), []);
    assert_eq!((origin.progress(key(1), &zone("b")).unwrap().stage, last_failure(&origin)), (Stage::Confirmed, None));
}

#[test]
fn a_record_that_cannot_be_sent_is_tried_again() {
    let mut origin = connected(1);
    change(&mut origin, 1, 1, at(0));
    assert_eq!(actions(origin.ship_failed(&zone("b"), key(1), text("early"), at(1))), [], "nothing was to be shipped");
    hear(&mut origin, &have(1, 0), at(1));
    let effects = origin.ship_failed(&zone("b"), key(1), text("no such record"), at(2));
    assert_eq!(actions(effects), [failed(1, FailureCause::NotSent(text("no such record")), 2)]);
    assert_eq!(actions(origin.tick(at(500))), [ask("b", 1, 1)]);
}

#[test]
fn a_claim_of_more_than_there_is_is_not_believed() {
    for claim in [have(1, 9), applied(1, 9)] {
        let mut origin = connected(1);
        change(&mut origin, 1, 3, at(0));
        let happened = hear(&mut origin, &claim, at(1));
        assert!(
            matches!(&happened[..], [OriginAction::Failed { failure, .. }]
                if matches!(failure.cause, FailureCause::ClaimedAhead { claimed } if claimed.get() == 9)),
            "{happened:?}"
        );
        assert!(pause_since(&origin, 1) >= SLOW_RETRY);
        assert_eq!(origin.progress(key(1), &zone("b")).unwrap().watermark.get(), 0);
        assert_eq!(
            last_failure(&origin).unwrap().cause.to_string(),
            "the target zone claims revision 9, later than any of the key's"
        );
    }
}

#[test]
fn a_lost_connection_is_shown_for_what_is_behind_and_costs_no_pause() {
    let mut origin = connected(2);
    for number in [1, 2, 3] {
        change(&mut origin, number, 1, at(0));
    }
    hear(&mut origin, &have(1, 0), at(1));
    hear(&mut origin, &have(2, 1), at(1));
    assert_eq!(actions(origin.link_down(&zone("b"), text("connection reset"), at(50))), []);
    assert_eq!((origin.under_way(&zone("b")), origin.wake_at()), (0, None));
    let shown = last_failure(&origin).unwrap();
    assert_eq!(shown.cause.to_string(), "the target zone cannot be reached: connection reset");
    assert_eq!((shown.attempted, shown.failed_at), (revision(1), at(50).wall));
    assert_eq!(origin.progress(key(2), &zone("b")).unwrap().last_failure, None, "it is confirmed");
    actions(origin.link_down(&zone("b"), text("refused"), at(70)));
    let expected = LinkState::Down { since: at(50).uptime, why: text("refused"), failed_at: at(70).wall };
    assert_eq!(origin.link_state(&zone("b")), Some(&expected));
    let mut again = actions(origin.link_up(&zone("b"), at(90)));
    again.sort_by_key(|action| format!("{action:?}"));
    assert_eq!(again, [ask("b", 1, 1), ask("b", 3, 1)], "what was shipped may have arrived");
    assert_eq!(last_failure(&origin), None);
}

#[test]
fn a_connection_that_returns_ends_every_pause() {
    let mut origin = connected(1);
    change(&mut origin, 1, 1, at(0));
    hear(&mut origin, &refused(1, 1, RefusalReason::Malformed), at(1));
    assert!(pause_since(&origin, 1) >= SLOW_RETRY);
    actions(origin.link_down(&zone("b"), text("reset"), at(2)));
    assert_eq!(actions(origin.link_up(&zone("b"), at(3))), [ask("b", 1, 1)]);
    assert_eq!(last_failure(&origin).unwrap().cause, FailureCause::Refused(RefusalReason::Malformed));
}
