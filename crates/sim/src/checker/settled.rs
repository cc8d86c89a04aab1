//! What was settled does not come back: within one life of the broker never; after a restart not if a publish sent
//! after the acknowledgement on the same channel was confirmed, or anything else proves that it was on disk.

use super::Violation;
use super::model::{Copy, Model, Place};
use crate::message::Message;

const NAME: &str = "settled";

/// # Errors
/// It came back.
pub fn check(model: &Model, message: &Message, copy: &Copy) -> Result<(), Violation> {
    let id = message.id;
    let text = match copy.place {
        Place::Settling { by } if !model.is_doomed(by) => {
            format!("message {id} was delivered although channel {} had settled it", by.0)
        }
        Place::Done { .. } => format!("message {id} was delivered after it had been settled"),
        _ => return Ok(()),
    };
    Err(Violation::new(NAME, text))
}

/// The same for messages that were put away because nothing more is to come of them.
pub fn finished(message: &Message, why: &str) -> Violation {
    Violation::new(NAME, format!("message {} was delivered although {why}", message.id))
}

/// A message came out of a transaction that had not been committed.
pub fn uncommitted(message: &Message) -> Violation {
    Violation::new(NAME, format!("message {} was delivered before it was committed", message.id))
}
