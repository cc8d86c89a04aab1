//! What was rejected, expired or did not fit: dropped, or sent on to the dead-letter exchange.

use model::{Now, Offset};
use storage::LogId;

use crate::broker::Broker;

impl Broker {
    /// Send a message that is about to be settled to its queue's dead-letter exchange, where it has one.
    pub(crate) fn dead_letter(&mut self, _queue: LogId, _offset: Offset, _reason: &'static str, _now: Now) {}

    /// Drop what has waited too long at the head of the queue.
    pub(crate) fn drop_expired(&mut self, _queue: LogId, _now: Now) {}

    /// See that the queue is deleted when nobody uses it for long enough.
    pub(crate) fn schedule_expiry(&mut self, _queue: LogId, _now: Now) {}
}

impl Broker {
    /// Time has passed.
    pub fn tick(&mut self, _now: Now) {}
}
