use super::history::{COMPACTED, History, KEPT, OTHER, STAMP};
use super::named;

#[test]
fn what_was_confirmed_is_read() {
    let mut history = History::new();
    let (a, b) = (history.send(KEPT, 2, None), history.send(KEPT, 3, None));
    history.model.confirmed(a, 0).unwrap();
    history.model.confirmed(b, 2).unwrap();
    assert_eq!(history.show(KEPT, false, 5).batch(0, a).batch(2, b).read(), Ok(5));
    // Also from the middle of a batch.
    assert_eq!(history.show(KEPT, true, 5).from(3).batch(2, b).read(), Ok(5));
    assert_eq!((history.model.counts.confirmed, history.model.counts.read), (5, 8));
}

#[test]
fn an_offset_names_one_record_for_ever() {
    let mut history = History::new();
    let (a, b) = (history.send(KEPT, 1, None), history.send(KEPT, 1, None));
    history.show(KEPT, false, 1).batch(0, a).read().unwrap();
    assert_eq!(named(history.show(KEPT, false, 1).batch(0, b).read()), "log");

    let mut history = History::new();
    let (a, b) = (history.send(KEPT, 1, None), history.send(KEPT, 1, None));
    history.model.confirmed(a, 4).unwrap();
    assert_eq!(named(history.model.confirmed(b, 4)), "log");
}

#[test]
fn no_record_is_there_twice() {
    let mut history = History::new();
    let a = history.send(KEPT, 1, None);
    history.model.confirmed(a, 0).unwrap();
    assert_eq!(named(history.show(KEPT, false, 2).batch(0, a).batch(1, a).read()), "log");
    // The answer to a repetition names the offset it had.
    history.model.confirmed(a, 0).unwrap();
    assert_eq!(history.model.counts.repeated, 1);
    assert_eq!(named(history.model.confirmed(a, 1)), "log");
}

#[test]
fn a_producers_records_keep_their_order() {
    let mut history = History::new();
    let (a, b) = (history.send(KEPT, 1, None), history.send(KEPT, 1, None));
    history.model.confirmed(b, 0).unwrap();
    assert_eq!(named(history.model.confirmed(a, 1)), "log");
}

#[test]
fn what_was_confirmed_or_shown_is_not_taken_back() {
    let mut history = History::new();
    let a = history.send(KEPT, 2, None);
    history.model.confirmed(a, 0).unwrap();
    assert_eq!(named(history.show(KEPT, false, 1).read()), "log");
    history.show(KEPT, false, 9).read().unwrap();
    assert_eq!(named(history.show(KEPT, false, 8).read()), "log");
    assert_eq!(named(history.show(KEPT, false, 9).stable(8).read()), "log");
}

#[test]
fn nothing_above_the_end_is_shown() {
    let mut history = History::new();
    let a = history.send(KEPT, 2, None);
    assert_eq!(named(history.show(KEPT, false, 1).batch(0, a).read()), "log");
    assert_eq!(named(history.show(KEPT, true, 2).stable(1).batch(0, a).read()), "log");
}

#[test]
fn there_are_no_holes() {
    let mut history = History::new();
    let (a, b) = (history.send(KEPT, 1, None), history.send(KEPT, 1, None));
    assert_eq!(named(history.show(KEPT, false, 3).batch(0, a).batch(2, b).read()), "log");
    assert_eq!(named(history.show(KEPT, false, 3).batch(1, a).read()), "log");
    // Nothing comes although there is something.
    assert_eq!(named(history.model.nothing_between(KEPT, 0, 3)), "log");
}

#[test]
fn batches_come_one_after_the_other() {
    let mut history = History::new();
    let (a, b) = (history.send(COMPACTED, 1, None), history.send(COMPACTED, 1, None));
    assert_eq!(
        history.show(COMPACTED, false, 9).batch(3, a).batch(5, b).read(),
        Ok(6),
        "with holes, where something may be gone"
    );
    let mut history = History::new();
    history.send(COMPACTED, 1, None);
    history.send(COMPACTED, 1, None);
    assert_eq!(named(history.show(COMPACTED, false, 9).batch(5, b).batch(3, a).read()), "log");
}

#[test]
fn records_come_as_they_were_sent() {
    let mut history = History::new();
    let a = history.send(KEPT, 2, None);
    assert_eq!(named(history.show(KEPT, false, 2).spoilt(0, a).read()), "log");
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1);
    cut(&mut history.model.batches[a].bytes);
    assert_eq!(named(history.show(KEPT, false, 2).batch(0, a).read()), "log");
}

#[test]
fn nothing_is_invented() {
    let mut history = History::new();
    let a = history.send(KEPT, 1, None);
    assert_eq!(named(history.show(OTHER, false, 1).batch(0, a).read()), "invented");
    // Refused, or known not to be there.
    history.model.refused(a).unwrap();
    assert_eq!(named(history.show(KEPT, false, 1).batch(0, a).read()), "invented");
    let b = history.send(KEPT, 1, None);
    history.model.everything_was_read(&|_| false);
    assert_eq!(named(history.show(KEPT, false, 1).batch(0, b).read()), "invented");
    // One that will be sent again may come yet.
    let c = history.send(KEPT, 1, None);
    history.model.everything_was_read(&|batch| batch == c);
    history.show(KEPT, false, 1).batch(0, c).read().unwrap();
    assert_eq!(named(history.model.refused(c)), "invented");
}

#[test]
fn no_two_producers_have_one_identity() {
    let mut history = History::new();
    history.model.identified(1, (STAMP.producer_id, 0)).unwrap();
    history.model.identified(1, (STAMP.producer_id, 1)).unwrap();
    assert_eq!(named(history.model.identified(2, (STAMP.producer_id, 1))), "log");
}
