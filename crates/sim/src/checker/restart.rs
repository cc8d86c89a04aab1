//! After a restart everything is as it was confirmed: what was declared, what is in the queues, and the mark on what
//! had been out.

use super::Violation;
use super::model::{Copy, Delivery, Model, Place, Seen};
use crate::message::Message;
use crate::plan::QueueIx;

const NAME: &str = "restart";

/// `redelivered` is set on what had been out, and on nothing else.
///
/// # Errors
/// It is not so.
pub fn mark(model: &Model, delivery: &Delivery<'_>, message: &Message, copy: &Copy) -> Result<(), Violation> {
    let id = message.id;
    let text = match copy.seen {
        Seen::Now { .. } if !delivery.redelivered => format!("message {id} was delivered again without being marked"),
        Seen::Before if !delivery.redelivered => {
            format!("message {id} had been out before the restart, which was on disk, and is not marked")
        }
        Seen::Never if delivery.redelivered && !copy.perhaps_seen(model, delivery.queue, message) => {
            format!("message {id} is marked as redelivered although it was never out")
        }
        _ => return Ok(()),
    };
    Err(Violation::new(NAME, text))
}

/// A queue that nobody uses has as many messages as clients know of.
///
/// # Errors
/// There are fewer, or more.
pub fn count(model: &Model, queue: QueueIx, messages: u64) -> Result<(), Violation> {
    let copies = &model.queues[queue].copies;
    let certain = copies.iter().filter(|((_, id), copy)| copy.certainly_ready() && !model.may_expire(*id));
    let certain: Vec<u32> = certain.map(|((_, id), _)| *id).collect();
    let at_least = certain.len() as u64;
    let at_most = copies.values().filter(|copy| !matches!(copy.place, Place::Done { .. })).count() as u64;
    if (at_least..=at_most).contains(&messages) {
        return Ok(());
    }
    let name = model.queue_name(queue);
    let shown = &certain[..certain.len().min(20)];
    let text = format!("queue {name} says that it holds {messages} messages, but there are {at_least} to {at_most}: {shown:?}");
    Err(Violation::new(NAME, text))
}

/// Whether something exists, as the broker says.
///
/// # Errors
/// It does not although its declaration was answered, or it does although it must not.
pub fn exists(what: &str, name: &str, certain: bool, possible: bool, found: bool) -> Result<(), Violation> {
    let text = match found {
        false if certain => format!("{what} {name} is gone although it was declared"),
        true if !possible => format!("{what} {name} is there although it must be gone"),
        _ => return Ok(()),
    };
    Err(Violation::new(NAME, text))
}
