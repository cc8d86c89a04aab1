//! Planted histories: a checker that finds nothing must be one that could.

use super::*;

const GROUP: &str = "group";
const SPOT: Spot = Spot { topic: Topic::Idempotent, partition: 0 };

/// A record for this partition. Others that are made on the way are never heard of again.
fn send(checker: &mut Checker, spot: Spot, transaction: Option<Transaction>) -> Id {
    send_made_of(checker, spot, transaction, None)
}

fn send_made_of(checker: &mut Checker, spot: Spot, transaction: Option<Transaction>, of: Option<Id>) -> Id {
    loop {
        let id = checker.sent(1, spot.topic, transaction, of);
        if id.spot(spot.topic) == spot {
            return id;
        }
    }
}

/// Records that were answered at the offsets from 0 on.
fn acked(checker: &mut Checker, spot: Spot, count: usize) -> Vec<Id> {
    let ids: Vec<Id> = (0..count).map(|_| send(checker, spot, None)).collect();
    checker.acked(spot, 0, &ids);
    ids
}

/// Records of a transaction that were answered at the offsets from `base` on.
fn transaction(checker: &mut Checker, spot: Spot, base: u64, count: usize) -> (Transaction, Vec<Id>) {
    let transaction = checker.begin();
    let ids: Vec<Id> = (0..count).map(|_| send(checker, spot, Some(transaction))).collect();
    checker.acked(spot, base, &ids);
    (transaction, ids)
}

fn at(base: u64, ids: &[Id]) -> Vec<(u64, Id)> {
    (base..).zip(ids.iter().copied()).collect()
}

/// One promise was broken, and this one.
fn broke(checker: &Checker, words: &str) {
    let broken = checker.broken();
    assert!(broken.count == 1 && broken.words[0].starts_with(words), "{words} in {:?}", broken.words);
}

fn kept(checker: &Checker) {
    assert_eq!(checker.broken().words, Vec::<String>::new());
}

#[test]
fn what_is_answered_is_read() {
    let mut checker = Checker::default();
    let ids = acked(&mut checker, SPOT, 3);
    // Sent and not answered: it may be there or not.
    let unanswered = send(&mut checker, SPOT, None);
    checker.read(SPOT, false, 1..3, &at(1, &ids[1..]));
    checker.restarted();
    checker.ended(SPOT, 3);
    checker.ended(SPOT, 4);
    checker.read(SPOT, true, 0..4, &at(0, &[&ids[..], &[unanswered]].concat()));
    kept(&checker);
}

#[test]
fn lost_is_what_was_answered_and_is_not_read() {
    for committed in [false, true] {
        let mut checker = Checker::default();
        let ids = acked(&mut checker, SPOT, 3);
        checker.read(SPOT, committed, 0..3, &[(0, ids[0]), (2, ids[2])]);
        broke(&checker, "lost: record");
    }
}

#[test]
fn lost_is_what_a_reader_saw_and_others_do_not() {
    let mut checker = Checker::default();
    let id = send(&mut checker, SPOT, None);
    checker.read(SPOT, false, 0..1, &at(0, &[id]));
    kept(&checker);
    checker.restarted();
    checker.read(SPOT, false, 0..1, &[]);
    broke(&checker, "lost: record");
}

#[test]
fn lost_is_the_end_of_a_partition() {
    let mut checker = Checker::default();
    acked(&mut checker, SPOT, 3);
    checker.restarted();
    checker.ended(SPOT, 2);
    broke(&checker, "lost: torture-idempotent-0 ends at 2");
}

#[test]
fn doubled_is_what_lies_at_two_offsets() {
    let mut checker = Checker::default();
    let ids = acked(&mut checker, SPOT, 2);
    // Repeated, and answered with the same offset: all is well.
    checker.acked(SPOT, 1, &ids[1..]);
    kept(&checker);
    checker.acked(SPOT, 2, &ids[1..]);
    broke(&checker, "doubled");
    let mut checker = Checker::default();
    let ids = acked(&mut checker, SPOT, 2);
    checker.read(SPOT, false, 0..3, &at(0, &[ids[0], ids[1], ids[1]]));
    broke(&checker, "doubled");
}

#[test]
fn an_offset_names_one_record() {
    let mut checker = Checker::default();
    acked(&mut checker, SPOT, 2);
    checker.restarted();
    let other = send(&mut checker, SPOT, None);
    checker.acked(SPOT, 1, &[other]);
    broke(&checker, "offsets");
    let mut checker = Checker::default();
    let ids = acked(&mut checker, SPOT, 2);
    let other = send(&mut checker, SPOT, None);
    checker.read(SPOT, false, 0..2, &at(0, &[ids[0], other]));
    broke(&checker, "offsets");
}

#[test]
fn offsets_ascend() {
    let mut checker = Checker::default();
    let ids = acked(&mut checker, SPOT, 2);
    checker.read(SPOT, false, 0..2, &[(1, ids[1]), (0, ids[0])]);
    broke(&checker, "order");
}

#[test]
fn invented_is_what_nobody_sent_or_not_there() {
    let mut checker = Checker::default();
    let ids = acked(&mut checker, SPOT, 1);
    let next = Id { number: ids[0].number + 1, ..ids[0] };
    checker.read(SPOT, false, 0..2, &at(0, &[ids[0], next]));
    broke(&checker, "invented");
    let mut checker = Checker::default();
    let ids = acked(&mut checker, SPOT, 1);
    checker.read(Spot { partition: 1, ..SPOT }, false, 0..1, &at(0, &ids));
    broke(&checker, "invented");
}

#[test]
fn all_of_a_committed_transaction_is_seen() {
    let mut checker = Checker::default();
    let (transaction, ids) = transaction(&mut checker, SPOT, 0, 2);
    checker.ending(transaction, true);
    checker.end(transaction, true);
    checker.read(SPOT, true, 0..3, &at(0, &ids));
    kept(&checker);
    checker.read(SPOT, true, 0..3, &at(0, &ids[..1]));
    broke(&checker, "lost of a committed transaction");
}

#[test]
fn nothing_of_an_aborted_transaction_is_seen() {
    let mut checker = Checker::default();
    let (transaction, ids) = transaction(&mut checker, SPOT, 0, 2);
    checker.ending(transaction, false);
    checker.read(SPOT, true, 0..3, &[]);
    checker.read(SPOT, false, 0..3, &at(0, &ids));
    checker.end(transaction, false);
    kept(&checker);
    checker.read(SPOT, true, 0..3, &at(0, &ids[..1]));
    broke(&checker, "transaction 0 was Aborted");
}

#[test]
fn a_transaction_whose_producer_was_killed_is_aborted() {
    let mut checker = Checker::default();
    let (_, ids) = transaction(&mut checker, SPOT, 0, 1);
    checker.restarted();
    checker.read(SPOT, true, 0..2, &[]);
    kept(&checker);
    checker.read(SPOT, true, 0..2, &at(0, &ids));
    broke(&checker, "transaction 0 was Aborted");
}

#[test]
fn nobody_gets_past_an_open_transaction_or_sees_it() {
    let mut checker = Checker::default();
    transaction(&mut checker, SPOT, 0, 1);
    checker.read(SPOT, true, 0..2, &[]);
    broke(&checker, "got past an open transaction");
    let mut checker = Checker::default();
    let (_, ids) = transaction(&mut checker, SPOT, 0, 1);
    checker.read(SPOT, true, 0..1, &at(0, &ids));
    broke(&checker, "transaction 0 was Open");
}

#[test]
fn a_transaction_is_never_half_decided() {
    let undecided = || {
        let mut checker = Checker::default();
        let (transaction, ids) = transaction(&mut checker, SPOT, 0, 2);
        checker.ending(transaction, true);
        checker.restarted();
        (checker, ids)
    };
    // Either is right.
    let (mut checker, ids) = undecided();
    checker.read(SPOT, true, 0..3, &at(0, &ids));
    kept(&checker);
    let (mut checker, _) = undecided();
    checker.read(SPOT, true, 0..3, &[]);
    kept(&checker);
    // But not both.
    let (mut checker, ids) = undecided();
    checker.read(SPOT, true, 0..3, &at(0, &ids[..1]));
    broke(&checker, "lost of a committed transaction");
    let (mut checker, ids) = undecided();
    checker.read(SPOT, true, 0..1, &[]);
    checker.read(SPOT, true, 1..2, &at(1, &ids[1..]));
    broke(&checker, "transaction 0 was Aborted");
}

#[test]
fn a_committed_offset_is_the_last_or_one_sent_after_it() {
    let mut checker = Checker::default();
    checker.committed(GROUP, SPOT, None);
    checker.committing(GROUP, SPOT, 5, None);
    checker.commit_answered(GROUP, SPOT, 5, true);
    checker.committing(GROUP, SPOT, 7, None);
    checker.committing(GROUP, SPOT, 9, None);
    checker.committed(GROUP, SPOT, Some(7));
    // Its answer comes late.
    checker.commit_answered(GROUP, SPOT, 7, true);
    checker.restarted();
    checker.committed(GROUP, SPOT, Some(9));
    checker.committing(GROUP, SPOT, 12, None);
    checker.commit_answered(GROUP, SPOT, 12, false);
    checker.committed(GROUP, SPOT, Some(9));
    kept(&checker);
}

#[test]
fn a_committed_offset_does_not_go_back() {
    for back in [None, Some(5)] {
        let mut checker = Checker::default();
        for offset in [5, 7] {
            checker.committing(GROUP, SPOT, offset, None);
            checker.commit_answered(GROUP, SPOT, offset, true);
        }
        checker.restarted();
        checker.committed(GROUP, SPOT, back);
        broke(&checker, "committed offset");
    }
}

#[test]
fn a_committed_offset_is_not_made_up() {
    let mut checker = Checker::default();
    checker.committing(GROUP, SPOT, 5, None);
    checker.restarted();
    // It was not kept, and cannot come back.
    checker.committed(GROUP, SPOT, None);
    kept(&checker);
    checker.committed(GROUP, SPOT, Some(5));
    broke(&checker, "committed offset");
}

#[test]
fn offsets_of_a_transaction_share_its_fate() {
    let with_offset = |commit: Option<bool>| {
        let mut checker = Checker::default();
        let (transaction, ids) = transaction(&mut checker, SPOT, 0, 1);
        checker.committing(GROUP, SPOT, 5, Some(transaction));
        if let Some(commit) = commit {
            checker.ending(transaction, commit);
        }
        checker.restarted();
        (checker, ids)
    };
    // Committed or not, as its end was not answered; its records say the same.
    let (mut checker, ids) = with_offset(Some(true));
    checker.committed(GROUP, SPOT, Some(5));
    checker.read(SPOT, true, 0..2, &at(0, &ids));
    kept(&checker);
    checker.read(SPOT, true, 0..2, &[]);
    broke(&checker, "lost of a committed transaction");
    let (mut checker, ids) = with_offset(Some(true));
    checker.committed(GROUP, SPOT, None);
    checker.read(SPOT, true, 0..2, &at(0, &ids));
    broke(&checker, "transaction 0 was Aborted");
    let (mut checker, ids) = with_offset(Some(true));
    checker.read(SPOT, true, 0..2, &at(0, &ids));
    checker.committed(GROUP, SPOT, None);
    broke(&checker, "transaction 0 was Committed");
    // Aborted, or never ended.
    for commit in [Some(false), None] {
        let (mut checker, _) = with_offset(commit);
        checker.committed(GROUP, SPOT, Some(5));
        broke(&checker, "committed offset");
    }
}

#[test]
fn offsets_of_an_answered_transaction_are_kept() {
    let mut checker = Checker::default();
    let transaction = checker.begin();
    checker.committing(GROUP, SPOT, 5, Some(transaction));
    checker.ending(transaction, true);
    checker.end(transaction, true);
    checker.restarted();
    checker.committed(GROUP, SPOT, Some(5));
    kept(&checker);
    checker.committed(GROUP, SPOT, None);
    broke(&checker, "committed offset");
}

#[test]
fn of_one_record_one_is_made() {
    let made = |checker: &mut Checker, of: Id, base: u64, commit: bool| {
        let transaction = checker.begin();
        let output = Spot { topic: Topic::Output, partition: 0 };
        let id = send_made_of(checker, output, Some(transaction), Some(of));
        checker.acked(output, base, &[id]);
        checker.ending(transaction, commit);
        checker.end(transaction, commit);
        let seen: Vec<_> = commit.then_some((base, id)).into_iter().collect();
        checker.read(output, true, base..base + 1, &seen);
    };
    let mut checker = Checker::default();
    let source = acked(&mut checker, SPOT, 2);
    made(&mut checker, source[0], 0, false);
    made(&mut checker, source[0], 1, true);
    made(&mut checker, source[1], 2, true);
    checker.finish();
    kept(&checker);
    made(&mut checker, source[0], 3, true);
    broke(&checker, "made once: of");
    let mut checker = Checker::default();
    let source = acked(&mut checker, SPOT, 2);
    made(&mut checker, source[0], 0, true);
    checker.finish();
    broke(&checker, "made once: nothing");
}

/// Records of one key on the compacted topic: with values, or tombstones, as asked for.
fn of_one_key(checker: &mut Checker, tombstones: &[bool]) -> (Spot, Vec<Id>) {
    let topic = Topic::Compacted;
    let first = checker.sent(1, topic, None, None);
    let mut ids = Vec::new();
    for wanted in tombstones {
        // A tombstone of the key that was not asked for would say that it is deleted.
        loop {
            let id = checker.sent(1, topic, None, None);
            if id.key(topic) == first.key(topic) && id.is_tombstone(topic) == *wanted {
                ids.push(id);
                break;
            }
        }
    }
    if !tombstones.contains(&true) {
        checker.tombstones.clear();
    }
    let spot = first.spot(topic);
    checker.acked(spot, 0, &ids);
    (spot, ids)
}

#[test]
fn the_newest_record_of_a_key_stays() {
    let mut checker = Checker::default();
    let (spot, ids) = of_one_key(&mut checker, &[false, false, false]);
    checker.scanned(spot, 3, &at(0, &ids));
    checker.scanned(spot, 3, &[(2, ids[2])]);
    kept(&checker);
    assert_eq!(checker.figures().compacted, 2);
    checker.scanned(spot, 3, &[]);
    assert!(checker.broken().count == 3 && checker.broken().words[2].starts_with("lost"), "{:?}", checker.broken());
    let mut checker = Checker::default();
    let (spot, ids) = of_one_key(&mut checker, &[false, false]);
    checker.scanned(spot, 2, &at(0, &ids[..1]));
    broke(&checker, "lost");
}

#[test]
fn a_deleted_key_does_not_come_back() {
    let mut checker = Checker::default();
    let (spot, ids) = of_one_key(&mut checker, &[false, true]);
    checker.scanned(spot, 2, &at(0, &ids));
    checker.scanned(spot, 2, &at(1, &ids[1..]));
    checker.scanned(spot, 2, &[]);
    kept(&checker);
    checker.scanned(spot, 2, &at(0, &ids[..1]));
    broke(&checker, "back from the dead");
}
