//! A publisher's messages come in the order in which they were sent, and requeued ones at their place.

use super::history::{History, SHARED, SINGLE};
use super::named;
use crate::checker::model::Outcome;

const NAME: &str = "order";

#[test]
fn what_ascends_is_in_order() {
    let mut history = History::new();
    let ids: [_; 4] = history.safe(SHARED);
    // Each of two takers gets some: each hears them ascend.
    let (taker, other) = (history.taker, history.other);
    for (chan, id) in [(taker, ids[0]), (other, ids[2]), (taker, ids[1]), (other, ids[3])] {
        history.comes(chan, SHARED, id).unwrap();
    }
}

#[test]
fn a_first_delivery_after_a_later_one_is_out_of_order() {
    let mut history = History::new();
    let [first, second] = history.safe(SHARED);
    let taker = history.taker;
    history.comes(taker, SHARED, second).unwrap();
    assert_eq!(named(history.comes(taker, SHARED, first)), NAME);
}

#[test]
fn a_queue_with_one_taker_passes_nothing_over() {
    let mut history = History::new();
    let [_first, second] = history.safe(SINGLE);
    let taker = history.taker;
    assert_eq!(named(history.comes(taker, SINGLE, second)), NAME);
}

#[test]
fn publishers_do_not_wait_for_each_other() {
    let mut history = History::new();
    history.safe::<1>(SINGLE);
    let of_another = history.send(history.message(history.other, SINGLE));
    let taker = history.taker;
    history.comes(taker, SINGLE, of_another).unwrap();
}

#[test]
fn what_is_requeued_comes_back_at_its_place() {
    let requeued = |in_order: bool| {
        let mut history = History::new();
        let ids: [_; 3] = history.safe(SINGLE);
        let taker = history.taker;
        history.comes(taker, SINGLE, ids[0]).unwrap();
        history.comes(taker, SINGLE, ids[1]).unwrap();
        for id in [ids[0], ids[1]] {
            history.settle(taker, id, Outcome::Requeued);
        }
        if in_order {
            history.comes_again(taker, SINGLE, ids[0]).unwrap();
        }
        history.comes_again(taker, SINGLE, ids[1])
    };
    requeued(true).unwrap();
    assert_eq!(named(requeued(false)), NAME);
}

#[test]
fn what_a_client_has_given_back_unheard_may_still_be_passed_over() {
    let mut history = History::new();
    let [first, second] = history.safe(SINGLE);
    let taker = history.taker;
    history.comes(taker, SINGLE, first).unwrap();
    // The broker may have sent the second before it heard of this.
    let op = history.say(taker, first, Outcome::Requeued);
    history.comes(taker, SINGLE, second).unwrap();
    history.model.processed(taker, op);
    history.comes_again(taker, SINGLE, first).unwrap();
}

#[test]
fn an_unconfirmed_message_that_survived_brings_all_before_it() {
    let mut history = History::new();
    let (first, second) = (history.publish(SINGLE), history.publish(SINGLE));
    history.crash();
    let taker = history.taker;
    let mut survived = History::new();
    assert_eq!(named(history.comes(taker, SINGLE, second)), NAME);
    // The other way round nothing is said: the second was never written.
    let first_again = survived.publish(SINGLE);
    assert_eq!(first, first_again);
    survived.publish(SINGLE);
    survived.crash();
    let taker = survived.taker;
    survived.comes(taker, SINGLE, first_again).unwrap();
}
