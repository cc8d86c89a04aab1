//! The mark on what had been out, the counts of queues, and what exists after a restart.

use super::history::{BRIEF, FANOUT, FLEETING, History, SHARED, SINGLE};
use super::named;
use crate::checker::model::Outcome;
use crate::checker::restart;
use crate::checker::topology::Change;

const NAME: &str = "restart";

#[test]
fn what_was_never_out_is_not_marked() {
    let mut history = History::new();
    let [id] = history.safe(SINGLE);
    let taker = history.taker;
    assert_eq!(named(history.comes_again(taker, SINGLE, id)), NAME);
    history.comes(taker, SINGLE, id).unwrap();
}

#[test]
fn what_was_out_is_marked() {
    let mut history = History::new();
    let [id] = history.safe(SINGLE);
    let taker = history.taker;
    history.comes(taker, SINGLE, id).unwrap();
    history.settle(taker, id, Outcome::Requeued);
    assert_eq!(named(history.comes(taker, SINGLE, id)), NAME);
    history.comes_again(taker, SINGLE, id).unwrap();
}

#[test]
fn what_may_have_been_out_unseen_may_be_marked() {
    let mut history = History::new();
    let [id] = history.safe(SHARED);
    let (taker, other) = (history.taker, history.other);
    history.model.channel_ended(other);
    history.comes_again(taker, SHARED, id).unwrap();
}

#[test]
fn after_a_crash_the_mark_stands_where_the_disk_knew() {
    let crashed = |proven: bool| {
        let mut history = History::new();
        let [id] = history.safe(SINGLE);
        let taker = history.taker;
        history.comes(taker, SINGLE, id).unwrap();
        if proven {
            history.prove(history.publisher);
        }
        history.crash();
        let taker = history.taker;
        history.comes(taker, SINGLE, id)
    };
    crashed(false).unwrap();
    assert_eq!(named(crashed(true)), NAME);
}

#[test]
fn a_queue_holds_what_clients_know_of() {
    let mut history = History::new();
    let [first, ..] = history.safe::<3>(SHARED);
    let taker = history.taker;
    history.comes(taker, SHARED, first).unwrap();
    history.ack(taker, first);
    restart::count(&history.model, SHARED, 2).unwrap();
    assert_eq!(named(restart::count(&history.model, SHARED, 1)), NAME);
    assert_eq!(named(restart::count(&history.model, SHARED, 3)), NAME);
    // What was not confirmed when the power failed may be there or not, and so may what was acked.
    history.publish(SHARED);
    history.crash();
    for count in 2..=4 {
        restart::count(&history.model, SHARED, count).unwrap();
    }
    assert_eq!(named(restart::count(&history.model, SHARED, 1)), NAME);
    assert_eq!(named(restart::count(&history.model, SHARED, 5)), NAME);
}

#[test]
fn what_is_durable_is_there_after_a_restart_and_what_is_not_is_gone() {
    let mut history = History::new();
    history.change(Change::DeclareExchange(FANOUT));
    history.change(Change::DeclareExchange(BRIEF));
    history.crash();
    let topology = &history.model.topology;
    let looked = |existence: &crate::checker::existence::Existence, found| {
        restart::exists("thing", "its name", existence.certain(), existence.possible(), found)
    };
    for durable in [&topology.queues[SHARED], &topology.exchanges[FANOUT]] {
        looked(durable, true).unwrap();
        assert_eq!(named(looked(durable, false)), NAME);
    }
    for brief in [&topology.queues[FLEETING], &topology.exchanges[BRIEF]] {
        looked(brief, false).unwrap();
        assert_eq!(named(looked(brief, true)), NAME);
    }
}

#[test]
fn what_was_asked_for_and_not_answered_may_be_there_or_not() {
    let mut history = History::new();
    let pending = history.model.topology.sent(Change::DeclareExchange(FANOUT));
    history.model.topology.abandoned(&pending);
    history.crash();
    let existence = &history.model.topology.exchanges[FANOUT];
    for found in [false, true] {
        restart::exists("exchange", "fanout", existence.certain(), existence.possible(), found).unwrap();
    }
}
