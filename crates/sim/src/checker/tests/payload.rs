//! A message comes back byte for byte.

use super::history::{History, SINGLE};
use crate::checker::Violation;
use crate::checker::model::Delivery;
use crate::message;

fn with(change: impl FnOnce(&mut Delivery<'_>)) -> Result<u32, Violation> {
    let mut history = History::new();
    history.safe::<1>(SINGLE);
    let (taker, sent) = (history.taker, history.model.messages[0].clone());
    history.hand_over(taker, SINGLE, &sent, false, change)
}

#[test]
fn what_comes_as_it_was_sent_is_well() {
    with(|_| {}).unwrap();
}

#[test]
fn any_difference_is_named() {
    let wrong = |what: &str, outcome: Result<u32, Violation>| {
        let violation = outcome.unwrap_err();
        assert_eq!(violation.checker, "payload");
        assert!(violation.text.contains(what), "{violation}");
    };
    wrong("body", with(|delivery| delivery.body = &delivery.body[1..]));
    wrong("body", with(|delivery| delivery.body = &[0; 20]));
    wrong("routing key", with(|delivery| delivery.routing_key = "shared"));
    wrong("exchange", with(|delivery| delivery.exchange = "fanout"));
}

#[test]
fn a_lost_property_is_named() {
    let mut history = History::new();
    history.safe::<1>(SINGLE);
    let (taker, sent) = (history.taker, history.model.messages[0].clone());
    // The same message, but no longer marked as persistent.
    let raw = message::properties(&message::Message { persistent: false, ..sent.clone() });
    let violation = history.hand_over(taker, SINGLE, &sent, false, |delivery| delivery.raw_properties = raw.leak()).unwrap_err();
    assert_eq!(violation.checker, "payload");
    assert!(violation.text.contains("list of properties"), "{violation}");
}
