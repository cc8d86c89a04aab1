use super::history::{History, KEPT, NOW_MS, OTHER};
use super::named;
use crate::kafka::checker::transactions::State;

#[test]
fn a_transaction_is_seen_whole_or_not_at_all() {
    let mut history = History::new();
    let tx = history.begin();
    let (a, b) = (history.send(KEPT, 1, Some(tx)), history.send(OTHER, 1, Some(tx)));
    history.end(tx, true);
    // Nobody knows yet; who sees one part knows that all of it was committed.
    history.show(KEPT, true, 2).batch(0, a).marker(1, true).read().unwrap();
    assert_eq!(history.model.transactions[tx].state, State::Committed);
    assert_eq!(named(history.show(OTHER, true, 2).aborted(0).batch(0, b).marker(1, false).read()), "transactions");
    assert_eq!(history.show(OTHER, true, 2).batch(0, b).read(), Ok(1));
    assert_eq!(named(history.model.transaction_ended(tx, false)), "transactions");
}

#[test]
fn what_was_aborted_is_hidden() {
    let mut history = History::new();
    let (tx, next) = (history.begin(), history.begin());
    let a = history.send(KEPT, 1, Some(tx));
    history.end(tx, false);
    history.model.transaction_ended(tx, false).unwrap();
    let b = history.send(KEPT, 1, Some(next));
    history.end(next, true);
    // Up to its marker, and no further.
    let shown = history.show(KEPT, true, 4).aborted(0).batch(0, a).marker(1, false).batch(2, b).marker(3, true);
    assert_eq!(shown.read(), Ok(4));
    assert_eq!(history.model.transactions[next].state, State::Committed);
    assert_eq!(named(history.show(KEPT, true, 4).batch(0, a).read()), "transactions");
    // Who reads everything sees it.
    history.show(KEPT, false, 4).batch(0, a).read().unwrap();
}

#[test]
fn what_is_open_is_not_shown() {
    let mut history = History::new();
    let tx = history.begin();
    let a = history.send(KEPT, 1, Some(tx));
    history.model.confirmed(a, 0).unwrap();
    assert_eq!(named(history.show(KEPT, true, 1).batch(0, a).read()), "log");
    assert_eq!(history.show(KEPT, true, 1).stable(0).read(), Ok(0));
    assert_eq!(history.show(KEPT, false, 1).stable(0).batch(0, a).read(), Ok(1));
    // Nor is it hidden: it may be committed yet.
    history.end(tx, true);
    history.model.transaction_ended(tx, true).unwrap();
    assert_eq!(named(history.show(KEPT, true, 1).aborted(0).batch(0, a).read()), "transactions");
}

#[test]
fn what_takes_too_long_may_be_aborted() {
    let mut history = History::new();
    let tx = history.model.begin_transaction(NOW_MS + 5);
    let a = history.send(KEPT, 1, Some(tx));
    assert_eq!(named(history.show(KEPT, true, 2).stable(2).aborted(0).batch(0, a).read()), "transactions");
    history.model.at_wall(NOW_MS + 5);
    history.show(KEPT, true, 2).aborted(0).batch(0, a).marker(1, false).read().unwrap();
    assert_eq!(history.model.transactions[tx].state, State::Aborted);
}

#[test]
fn what_is_of_no_transaction_is_not_hidden() {
    let mut history = History::new();
    let (tx, a) = (history.begin(), history.send(KEPT, 1, None));
    history.end(tx, false);
    assert_eq!(history.show(KEPT, true, 1).aborted(0).batch(0, a).read(), Ok(1), "batches of no transaction never are");
}
