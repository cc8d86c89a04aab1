//! Nothing comes that was not sent there, and nothing is with two clients.

use super::history::{History, SHARED, SINGLE};
use super::named;
use crate::message::Message;

const NAME: &str = "invented";

#[test]
fn a_message_that_nobody_sent_is_invented() {
    let mut history = History::new();
    history.safe::<1>(SINGLE);
    let taker = history.taker;
    let never = Message { id: 7, ..history.message(history.publisher, SINGLE) };
    assert_eq!(named(history.hand_over(taker, SINGLE, &never, false, |_| {})), NAME);
}

#[test]
fn a_message_without_a_number_is_invented() {
    let mut history = History::new();
    history.safe::<1>(SINGLE);
    let (taker, sent) = (history.taker, history.model.messages[0].clone());
    // No properties at all: two octets of flags, none of them set.
    let anonymous = history.hand_over(taker, SINGLE, &sent, false, |delivery| delivery.raw_properties = &[0, 0]);
    assert_eq!(named(anonymous), NAME);
}

#[test]
fn a_message_from_a_queue_that_it_was_not_sent_to_is_invented() {
    let mut history = History::new();
    let [id] = history.safe(SINGLE);
    let taker = history.taker;
    assert_eq!(named(history.comes(taker, SHARED, id)), NAME);
    history.comes(taker, SINGLE, id).unwrap();
}

#[test]
fn a_message_is_with_one_client_at_a_time() {
    let mut history = History::new();
    let [id] = history.safe(SHARED);
    let (taker, other) = (history.taker, history.other);
    history.comes(taker, SHARED, id).unwrap();
    assert_eq!(named(history.comes_again(other, SHARED, id)), NAME);
    assert_eq!(named(history.comes_again(taker, SHARED, id)), NAME);
    // Once its channel is over another may have it.
    history.model.channel_ended(taker);
    history.comes_again(other, SHARED, id).unwrap();
}

#[test]
fn what_a_closing_channel_holds_may_be_with_another() {
    let mut history = History::new();
    let [id] = history.safe(SHARED);
    let (taker, other) = (history.taker, history.other);
    history.comes(taker, SHARED, id).unwrap();
    history.model.doom(taker);
    history.comes_again(other, SHARED, id).unwrap();
}
