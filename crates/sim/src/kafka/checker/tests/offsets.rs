use super::history::{History, KEPT};
use super::named;
use crate::checker::Violation;
use crate::kafka::checker::offsets::{Told, metadata};
use crate::kafka::checker::transactions::State;

const GROUP: usize = 5;

/// The group is told this.
fn told(history: &mut History, offset: i64) -> Result<(), Violation> {
    let upto = history.model.attempts(GROUP, KEPT);
    history.model.position(GROUP, KEPT, upto, false, &Told::Offset(offset, &metadata(offset)))
}

#[test]
fn what_was_committed_does_not_go_back() {
    let mut history = History::new();
    told(&mut history, -1).unwrap();
    for done in [true, false, true, false] {
        let at = history.model.tries(GROUP, KEPT, None);
        if done {
            history.model.tried(at, true);
        }
    }
    assert_eq!(named(told(&mut history, -1)), "offsets");
    assert_eq!(named(told(&mut history, 2)), "offsets");
    told(&mut history, 3).unwrap();
    // The last one was not answered, and may count; once seen it does.
    told(&mut history, 4).unwrap();
    assert_eq!(named(told(&mut history, 3)), "offsets");
}

#[test]
fn what_nobody_committed_is_not_told() {
    let mut history = History::new();
    let at = history.model.tries(GROUP, KEPT, None);
    assert_eq!(named(told(&mut history, 2)), "offsets");
    history.model.sent(at);
    history.model.tried(at, false);
    assert_eq!(named(told(&mut history, 1)), "offsets");
}

#[test]
fn refused_once_and_sent_twice_may_count() {
    let mut history = History::new();
    let at = history.model.tries(GROUP, KEPT, None);
    history.model.sent(at);
    history.model.sent(at);
    history.model.tried(at, false);
    told(&mut history, 1).unwrap();
}

#[test]
fn metadata_is_kept() {
    let mut history = History::new();
    let at = history.model.tries(GROUP, KEPT, None);
    history.model.tried(at, true);
    assert_eq!(named(history.model.position(GROUP, KEPT, 1, false, &Told::Offset(1, "other"))), "offsets");
}

#[test]
fn offsets_of_a_transaction_count_exactly_if_it_is_committed() {
    let mut history = History::new();
    let tx = history.begin();
    let at = history.model.tries(GROUP, KEPT, Some(tx));
    history.model.tried(at, true);
    assert_eq!(named(told(&mut history, 1)), "offsets");
    told(&mut history, -1).unwrap();
    history.end(tx, true);
    told(&mut history, -1).unwrap();
    told(&mut history, 1).unwrap();
    assert_eq!(history.model.transactions[tx].state, State::Committed);
    assert_eq!(named(told(&mut history, -1)), "offsets");

    let mut history = History::new();
    let tx = history.begin();
    let at = history.model.tries(GROUP, KEPT, Some(tx));
    history.model.tried(at, true);
    history.end(tx, false);
    assert_eq!(named(told(&mut history, 1)), "offsets");
}

#[test]
fn stable_offsets_wait_for_transactions() {
    let mut history = History::new();
    let stable = |history: &mut History, told: &Told<'_>| history.model.position(GROUP, KEPT, 1, true, told);
    let tx = history.begin();
    assert_eq!(named(stable(&mut history, &Told::Unstable)), "offsets");
    let at = history.model.tries(GROUP, KEPT, Some(tx));
    history.model.tried(at, true);
    stable(&mut history, &Told::Unstable).unwrap();
    assert_eq!(named(stable(&mut history, &Told::Offset(-1, ""))), "offsets");
    history.end(tx, true);
    stable(&mut history, &Told::Offset(1, &metadata(1))).unwrap();
}
