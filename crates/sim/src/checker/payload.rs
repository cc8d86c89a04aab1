//! A message comes back byte for byte: body, properties, exchange and key. No offset ever has two payloads.

use super::Violation;
use super::model::{Delivery, Model};
use crate::message::{self, Message};

const NAME: &str = "payload";

/// # Errors
/// Something differs from what was sent.
pub fn check(model: &mut Model, delivery: &Delivery<'_>, sent: &Message) -> Result<(), Violation> {
    let wrong =
        |what: &str| Err(Violation::new(NAME, format!("message {} came with another {what} than it was sent with", sent.id)));
    message::body(sent.id, sent.body_len, &mut model.scratch);
    if delivery.body != model.scratch {
        return wrong("body");
    }
    if delivery.raw_properties != message::properties(sent) {
        return wrong("list of properties");
    }
    if delivery.routing_key != sent.key {
        return wrong("routing key");
    }
    if delivery.exchange != model.plan.exchanges[sent.exchange].name {
        return wrong("exchange");
    }
    Ok(())
}
