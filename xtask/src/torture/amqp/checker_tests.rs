//! Planted histories: a checker that finds nothing must be one that could.

use super::super::message::Id;
use super::Checker;

const QUEUE: u16 = 5;

/// The first `count` numbers of publisher 0 that go to `QUEUE` alone.
fn ids(count: usize) -> Vec<Id> {
    (1..).map(|number| Id { publisher: 0, number }).filter(|id| id.queue() == Some(QUEUE)).take(count).collect()
}

/// Publishes and confirms everything up to the last of `ids`.
fn confirmed(ids: &[Id]) -> Checker {
    let mut checker = published(ids);
    for id in ids {
        checker.confirmed(*id);
    }
    checker
}

fn published(ids: &[Id]) -> Checker {
    let mut checker = Checker::default();
    for number in 1..=ids.last().unwrap().number {
        checker.published(Id { publisher: 0, number });
    }
    checker
}

fn settle(checker: &mut Checker, id: Id) {
    checker.acked(QUEUE, id);
    checker.settled(QUEUE, id);
}

fn words(checker: &Checker) -> String {
    checker.broken().words.join("; ")
}

#[test]
fn an_honest_history_passes() {
    let ids = ids(6);
    let mut checker = confirmed(&ids[..4]);
    for number in checker.next_number(0)..=ids[5].number {
        checker.published(Id { publisher: 0, number });
    }
    for id in &ids[..3] {
        checker.delivered(QUEUE, *id, false);
    }
    settle(&mut checker, ids[0]);
    checker.acked(QUEUE, ids[1]);
    checker.restarted();
    // The ack of 1 was kept, 2 comes again, 3 for the first time; 4 and 5 had not been confirmed, 4 is forgotten.
    checker.delivered(QUEUE, ids[2], true);
    checker.delivered(QUEUE, ids[3], false);
    checker.delivered(QUEUE, ids[5], false);
    for id in [ids[2], ids[3], ids[5]] {
        settle(&mut checker, id);
    }
    checker.finish();
    assert_eq!(checker.broken().count, 0, "{}", words(&checker));
    assert_eq!(checker.figures().forgotten, 1);
}

#[test]
fn an_ack_that_was_not_kept_may_come_again() {
    let ids = ids(2);
    let mut checker = confirmed(&ids);
    checker.delivered(QUEUE, ids[0], false);
    checker.acked(QUEUE, ids[0]);
    checker.restarted();
    checker.delivered(QUEUE, ids[0], true);
    assert_eq!(checker.broken().count, 0, "{}", words(&checker));
}

#[test]
fn a_confirmed_message_passed_over_is_lost() {
    let ids = ids(3);
    let mut checker = confirmed(&ids);
    checker.restarted();
    checker.delivered(QUEUE, ids[0], false);
    checker.delivered(QUEUE, ids[2], false);
    assert!(words(&checker).starts_with("lost"), "{}", words(&checker));
}

#[test]
fn a_message_delivered_but_not_acked_is_still_owed_after_a_crash() {
    let ids = ids(2);
    let mut checker = confirmed(&ids);
    checker.delivered(QUEUE, ids[0], false);
    checker.restarted();
    checker.delivered(QUEUE, ids[1], false);
    assert!(words(&checker).starts_with("lost"), "{}", words(&checker));
}

#[test]
fn a_confirmed_message_missing_at_the_end_is_lost() {
    let ids = ids(2);
    let mut checker = confirmed(&ids);
    checker.delivered(QUEUE, ids[0], false);
    settle(&mut checker, ids[0]);
    checker.finish();
    assert!(words(&checker).starts_with("lost"), "{}", words(&checker));
}

#[test]
fn a_confirm_that_comes_after_a_later_message_does_not_hide_a_loss() {
    let ids = ids(2);
    let mut checker = published(&ids);
    checker.delivered(QUEUE, ids[1], false);
    checker.confirmed(ids[0]);
    assert!(words(&checker).starts_with("lost"), "{}", words(&checker));
}

#[test]
fn descending_deliveries_break_the_order() {
    let ids = ids(2);
    let mut checker = published(&ids);
    checker.delivered(QUEUE, ids[1], false);
    checker.delivered(QUEUE, ids[0], false);
    assert!(words(&checker).contains("order"), "{}", words(&checker));
}

#[test]
fn a_message_twice_in_one_run_breaks_the_order() {
    let ids = ids(1);
    let mut checker = confirmed(&ids);
    checker.delivered(QUEUE, ids[0], false);
    checker.delivered(QUEUE, ids[0], true);
    assert!(words(&checker).contains("order"), "{}", words(&checker));
}

#[test]
fn what_nobody_published_is_invented() {
    let ids = ids(1);
    let mut checker = Checker::default();
    checker.delivered(QUEUE, ids[0], false);
    assert!(words(&checker).starts_with("invented"), "{}", words(&checker));

    let mut checker = confirmed(&ids);
    checker.delivered(QUEUE + 1, ids[0], false);
    assert!(words(&checker).starts_with("invented"), "{}", words(&checker));

    let mut checker = Checker::default();
    checker.garbled(QUEUE, 3);
    assert!(words(&checker).starts_with("invented"), "{}", words(&checker));
}

#[test]
fn a_settled_message_must_not_come_back() {
    let ids = ids(2);
    let mut checker = confirmed(&ids);
    checker.delivered(QUEUE, ids[0], false);
    settle(&mut checker, ids[0]);
    checker.restarted();
    checker.delivered(QUEUE, ids[0], true);
    assert!(words(&checker).contains("settled came back"), "{}", words(&checker));
}

#[test]
fn the_redelivered_flag_must_not_be_missing() {
    let ids = ids(1);
    let mut checker = confirmed(&ids);
    checker.delivered(QUEUE, ids[0], false);
    checker.restarted();
    checker.delivered(QUEUE, ids[0], false);
    assert_eq!((checker.broken().count, checker.figures().unflagged), (0, 1));
    checker.noted(QUEUE, ids[0]);
    checker.restarted();
    checker.delivered(QUEUE, ids[0], false);
    assert!(words(&checker).starts_with("redelivered flag missing"), "{}", words(&checker));
}

#[test]
fn memory_does_not_grow_with_what_is_over() {
    let ids = ids(500);
    let mut checker = confirmed(&ids);
    for id in &ids {
        checker.delivered(QUEUE, *id, false);
        settle(&mut checker, *id);
    }
    assert!(checker.tracks.get(&(QUEUE, 0)).unwrap().entries.is_empty());
}
