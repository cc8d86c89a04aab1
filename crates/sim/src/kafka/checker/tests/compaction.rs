use super::history::{COMPACTED, History, KEPT, LASTING, LASTING_MS, NOW_MS, RETAINED, RETENTION_MS};
use super::named;
use crate::kafka::checker::transactions::State;

#[test]
fn what_something_newer_has_the_key_of_may_go() {
    let mut history = History::new();
    let a = history.send_keyed(COMPACTED, 1, None, Some(1), Some(9));
    let b = history.send_keyed(COMPACTED, 1, None, Some(1), Some(9));
    history.model.confirmed(a, 0).unwrap();
    history.model.confirmed(b, 1).unwrap();
    assert_eq!(history.show(COMPACTED, false, 2).batch(1, b).read(), Ok(2));
    assert_eq!(history.model.counts.compacted, 1);
}

#[test]
fn the_newest_of_a_key_stays() {
    let mut history = History::new();
    let a = history.send_keyed(COMPACTED, 1, None, Some(1), Some(9));
    let b = history.send_keyed(COMPACTED, 1, None, Some(2), Some(9));
    history.model.confirmed(a, 0).unwrap();
    history.model.confirmed(b, 1).unwrap();
    assert_eq!(named(history.show(COMPACTED, false, 2).batch(1, b).read()), "compaction");
    // Nor may all of it be gone.
    assert_eq!(named(history.model.nothing_between(COMPACTED, 0, 2)), "compaction");
}

#[test]
fn what_a_tombstone_covered_does_not_come_back() {
    let mut history = History::new();
    let a = history.send_keyed(COMPACTED, 1, None, Some(1), Some(9));
    let b = history.send_keyed(COMPACTED, 1, None, Some(1), None);
    let c = history.send_keyed(COMPACTED, 1, None, Some(2), Some(9));
    for (offset, batch) in [a, b, c].into_iter().enumerate() {
        history.model.confirmed(batch, offset as i64).unwrap();
    }
    assert_eq!(history.show(COMPACTED, false, 3).batch(0, a).batch(1, b).batch(2, c).read(), Ok(3));
    assert_eq!(history.show(COMPACTED, false, 3).batch(2, c).read(), Ok(3));
    assert_eq!(named(history.show(COMPACTED, false, 3).batch(0, a).batch(2, c).read()), "compaction");
}

#[test]
fn what_is_not_committed_takes_nobodys_place() {
    for (state, may) in [(State::Aborted, false), (State::Open, false), (State::Committed, true)] {
        let mut history = History::new();
        let tx = history.begin();
        let a = history.send_keyed(COMPACTED, 1, None, Some(1), Some(9));
        let b = history.send_keyed(COMPACTED, 1, Some(tx), Some(1), Some(9));
        history.model.confirmed(a, 0).unwrap();
        history.model.confirmed(b, 1).unwrap();
        history.model.transactions[tx].state = state;
        let outcome = history.show(COMPACTED, false, 2).stable(0).batch(1, b).read();
        assert_eq!(outcome.is_ok(), may, "{state:?}");
    }
}

#[test]
fn tombstones_and_what_was_aborted_may_go() {
    let mut history = History::new();
    let tx = history.begin();
    let a = history.send_keyed(COMPACTED, 1, None, Some(1), None);
    let b = history.send_keyed(COMPACTED, 1, Some(tx), Some(2), Some(9));
    let c = history.send_keyed(COMPACTED, 1, None, Some(3), Some(9));
    for (offset, batch) in [a, b, c].into_iter().enumerate() {
        history.model.confirmed(batch, offset as i64).unwrap();
    }
    history.end(tx, false);
    assert_eq!(history.show(COMPACTED, false, 3).batch(2, c).read(), Ok(3));
}

/// The history's producers write of what happened at `NOW_MS`, whenever they do.
#[test]
fn a_tombstone_stays_for_its_time_whatever_it_says_of_its_age() {
    let mut history = History::new();
    history.model.at_wall(NOW_MS + 2 * LASTING_MS);
    let a = history.send_keyed(LASTING, 1, None, Some(1), None);
    let b = history.send_keyed(LASTING, 1, None, Some(2), Some(9));
    for (offset, batch) in [a, b].into_iter().enumerate() {
        history.model.confirmed(batch, offset as i64).unwrap();
    }
    assert_eq!(named(history.show(LASTING, false, 2).batch(1, b).read()), "compaction");
    history.model.at_wall(NOW_MS + 3 * LASTING_MS);
    assert_eq!(history.show(LASTING, false, 2).batch(1, b).read(), Ok(2));
}

#[test]
fn nothing_goes_from_where_nothing_is_compacted() {
    let mut history = History::new();
    let a = history.send_keyed(KEPT, 1, None, Some(1), Some(9));
    let b = history.send_keyed(KEPT, 1, None, Some(1), Some(9));
    history.model.confirmed(a, 0).unwrap();
    history.model.confirmed(b, 1).unwrap();
    assert_eq!(named(history.show(KEPT, false, 2).batch(1, b).read()), "log");
}

#[test]
fn only_what_is_old_or_was_to_be_deleted_goes_from_the_beginning() {
    let mut history = History::new();
    let (a, b) = (history.send(RETAINED, 1, None), history.send(KEPT, 1, None));
    history.model.confirmed(a, 0).unwrap();
    history.model.confirmed(b, 0).unwrap();
    assert_eq!(named(history.show(RETAINED, false, 1).start(1).from(1).read()), "retention");
    assert_eq!(named(history.show(KEPT, false, 1).start(1).from(1).read()), "retention");
    history.model.at_wall(NOW_MS + RETENTION_MS);
    history.show(RETAINED, false, 1).start(1).from(1).read().unwrap();
    assert_eq!(named(history.show(KEPT, false, 1).start(1).from(1).read()), "retention");
    history.model.logs[KEPT].trim_asked = 1;
    history.show(KEPT, false, 1).start(1).from(1).read().unwrap();
}

#[test]
fn what_was_deleted_does_not_come_back() {
    let mut history = History::new();
    history.model.logs[KEPT].trim_asked = 3;
    history.model.logs[KEPT].sight.trimmed = 3;
    assert_eq!(named(history.show(KEPT, false, 5).start(2).read()), "log");
    history.show(KEPT, false, 5).start(3).from(3).read().unwrap();
}
