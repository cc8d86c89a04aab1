//! A connection's bytes, on their way in both directions.

use model::SessionId;

use crate::trace::Trace;

pub struct Wire {
    pub session: SessionId,
    /// Sent by the client, on its way.
    pub up: Vec<u8>,
    /// Arrived at the broker, which has not used it.
    pub held: Vec<u8>,
    /// Sent by the broker, on its way.
    pub down: Vec<u8>,
    /// Arrived at the client, which lacks the rest of a frame.
    pub input: Vec<u8>,
}

impl Wire {
    /// `up`: what the client says first.
    pub fn new(session: SessionId, up: Vec<u8>) -> Wire {
        Wire { session, up, held: Vec::new(), down: Vec::new(), input: Vec::new() }
    }
    /// So many bytes arrive at the client.
    pub fn arrive(&mut self, count: usize, trace: &mut Trace) {
        trace.bytes(&self.down[..count]);
        self.input.extend(self.down.drain(..count));
    }
}
