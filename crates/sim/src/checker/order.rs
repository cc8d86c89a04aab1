//! The messages of one publisher are first delivered in the order in which it sent them, and what is requeued comes
//! back at its place.

use super::Violation;
use super::model::{Copy, Delivery, Model};
use crate::message::Message;

const NAME: &str = "order";

/// First deliveries to one connection ascend.
///
/// # Errors
/// They do not.
pub fn ascending(model: &mut Model, delivery: &Delivery<'_>, message: &Message) -> Result<(), Violation> {
    if delivery.redelivered {
        return Ok(());
    }
    let conn = model.channels[&delivery.chan].conn;
    let last = model.first_deliveries.entry((conn, delivery.queue, message.publisher)).or_default();
    if *last > message.id {
        let text = format!("message {} was first delivered after message {last} of the same publisher", message.id);
        return Err(Violation::new(NAME, text));
    }
    *last = message.id;
    Ok(())
}

/// From a queue with one taker the first of those that are certainly ready comes.
///
/// # Errors
/// One was passed over.
pub fn first(model: &Model, delivery: &Delivery<'_>, message: &Message) -> Result<(), Violation> {
    let queue = &model.queues[delivery.queue];
    if !model.plan.queues[delivery.queue].single {
        return Ok(());
    }
    let before = queue.copies.range((message.publisher, 0)..(message.publisher, message.id));
    let ready = |copy: &Copy| copy.certainly_ready();
    let passed_over = before.into_iter().find(|((_, id), copy)| ready(copy) && model.messages[*id as usize].expiration.is_none());
    let Some(((_, id), _)) = passed_over else { return Ok(()) };
    let name = model.queue_name(delivery.queue);
    let text = format!("queue {name} delivered message {} before message {id}, which was ready", message.id);
    Err(Violation::new(NAME, text))
}
