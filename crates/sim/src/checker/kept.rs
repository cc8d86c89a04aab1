//! What was confirmed is delivered until it is settled. Checked when every queue has been emptied.

use super::Violation;
use super::model::Model;
use crate::plan::QueueIx;

const NAME: &str = "kept";

/// The queue is empty: nothing that it had to keep may be missing.
///
/// # Errors
/// A message is lost.
pub fn emptied(model: &Model, queue: QueueIx) -> Result<(), Violation> {
    let lost = model.queues[queue].copies.iter().filter(|((_, id), copy)| copy.certainly_ready() && !model.may_expire(*id));
    let lost: Vec<u32> = lost.map(|((_, id), _)| *id).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let name = model.queue_name(queue);
    let shown = &lost[..lost.len().min(10)];
    let text = format!("queue {name} is empty although it should hold {} more messages: {shown:?}", lost.len());
    Err(Violation::new(NAME, text))
}
