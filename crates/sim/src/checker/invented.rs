//! Nothing is invented: what comes was published, to a queue that it could reach; and nothing is with two clients.

use super::model::{Copy, Delivery, Model, Place};
use super::{ChanId, Violation};
use crate::message::Message;

const NAME: &str = "invented";

/// The message of a delivery.
///
/// # Errors
/// Nobody sent such a message.
pub fn message<'m>(model: &'m Model, delivery: &Delivery<'_>) -> Result<&'m Message, Violation> {
    let found = crate::message::id_of(delivery.raw_properties).and_then(|id| model.messages.get(id as usize));
    found.ok_or_else(|| {
        let text = format!("queue {} delivered a message that nobody sent", model.queue_name(delivery.queue));
        Violation::new(NAME, text)
    })
}

/// The message came from a queue that it was never routed to.
pub fn wrong_queue(model: &Model, delivery: &Delivery<'_>, message: &Message) -> Violation {
    let name = model.queue_name(delivery.queue);
    let text = format!("queue {name} delivered message {}, which it could not have got", message.id);
    Violation::new(NAME, text)
}

/// A message is with one client at a time.
///
/// # Errors
/// Another one, or the same, has it still.
pub fn twice(model: &Model, message: &Message, copy: &Copy, to: ChanId) -> Result<(), Violation> {
    let Place::Out(holder) = copy.place else { return Ok(()) };
    if model.is_doomed(holder) {
        return Ok(());
    }
    let text = format!("message {} was delivered to channel {} while channel {} had it", message.id, to.0, holder.0);
    Err(Violation::new(NAME, text))
}
