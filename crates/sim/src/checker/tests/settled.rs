//! What was settled does not come back.

use super::history::{History, SHARED, SINGLE};
use super::named;
use crate::checker::model::Outcome;
use crate::checker::topology::Change;

const NAME: &str = "settled";

/// A message that came and was acked.
fn acked() -> (History, u32) {
    let mut history = History::new();
    let [id] = history.safe(SHARED);
    let taker = history.taker;
    history.comes(taker, SHARED, id).unwrap();
    history.ack(taker, id);
    (history, id)
}

#[test]
fn an_acked_message_does_not_come_back() {
    let (mut history, id) = acked();
    let other = history.other;
    assert_eq!(named(history.comes_again(other, SHARED, id)), NAME);
}

#[test]
fn not_even_before_the_broker_has_heard_of_the_ack() {
    let mut history = History::new();
    let [id] = history.safe(SHARED);
    let (taker, other) = (history.taker, history.other);
    history.comes(taker, SHARED, id).unwrap();
    history.say(taker, id, Outcome::Settled);
    assert_eq!(named(history.comes_again(other, SHARED, id)), NAME);
    // If the channel is over, perhaps the broker never heard of it.
    history.model.channel_ended(taker);
    history.comes_again(other, SHARED, id).unwrap();
}

#[test]
fn after_a_crash_an_ack_counts_if_a_later_publish_on_its_channel_was_confirmed() {
    let (mut history, id) = acked();
    history.crash();
    let taker = history.taker;
    history.comes_again(taker, SHARED, id).unwrap();

    let (mut history, id) = acked();
    history.prove(history.taker);
    history.crash();
    let taker = history.taker;
    assert_eq!(named(history.comes_again(taker, SHARED, id)), NAME);
}

#[test]
fn a_publish_of_another_channel_proves_it_too_if_it_was_sent_afterwards() {
    let (mut history, id) = acked();
    history.prove(history.other);
    history.crash();
    let taker = history.taker;
    assert_eq!(named(history.comes_again(taker, SHARED, id)), NAME);

    // Sent before the ack, and confirmed after it: that proves nothing.
    let mut history = History::new();
    let [id] = history.safe(SHARED);
    let (taker, other) = (history.taker, history.other);
    history.comes(taker, SHARED, id).unwrap();
    let early = history.send(history.message(other, SHARED));
    history.ack(taker, id);
    history.confirm(early);
    history.crash();
    let taker = history.taker;
    history.comes_again(taker, SHARED, id).unwrap();
}

#[test]
fn a_clean_stop_forgets_no_ack() {
    let (mut history, id) = acked();
    history.stop();
    let taker = history.taker;
    assert_eq!(named(history.comes_again(taker, SHARED, id)), NAME);
}

#[test]
fn a_purged_message_does_not_come_back() {
    let mut history = History::new();
    let [id] = history.safe(SHARED);
    for chan in [history.taker, history.other] {
        history.model.channel_ended(chan);
    }
    history.model.clearing(SHARED);
    history.model.purged(SHARED);
    let publisher = history.publisher;
    history.model.takes(publisher, SHARED, false);
    assert_eq!(named(history.comes(publisher, SHARED, id)), NAME);
}

#[test]
fn a_deleted_queue_leaves_nothing_to_the_next_of_its_name() {
    let mut history = History::new();
    let [id] = history.safe(SINGLE);
    let taker = history.taker;
    history.model.channel_ended(taker);
    history.model.clearing(SINGLE);
    history.change(Change::DeleteQueue(SINGLE));
    history.model.cleared(SINGLE);
    history.model.deleted(SINGLE);
    history.change(Change::DeclareQueue(SINGLE));
    let other = history.other;
    assert_eq!(named(history.comes(other, SINGLE, id)), NAME);
}

#[test]
fn nothing_comes_out_of_a_transaction_before_it_is_committed() {
    let mut history = History::new();
    let (publisher, taker) = (history.publisher, history.taker);
    history.model.begin(publisher);
    let id = history.publish(SINGLE);
    assert_eq!(named(history.comes(taker, SINGLE, id)), NAME);
    history.op(publisher);
    history.model.commit_sent(publisher);
    history.comes(taker, SINGLE, id).unwrap();
}

#[test]
fn what_was_rolled_back_never_comes() {
    let mut history = History::new();
    let (publisher, taker) = (history.publisher, history.taker);
    history.model.begin(publisher);
    let id = history.publish(SINGLE);
    let op = history.op(publisher);
    history.model.rolled_back(publisher, op);
    assert_eq!(named(history.comes(taker, SINGLE, id)), NAME);
}
