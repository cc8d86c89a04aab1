//! One Kafka connection: what was asked on it and is not answered, and the bytes on their way.

use std::collections::VecDeque;

use kafka::codec::Split;
use kafka::codec::frame::{self, SIZE_BYTES};
use model::SessionId;
use rand::Rng;

use super::Model;
use super::ask::{Answer, Ask, Asker};
use super::client::Hands;
use crate::checker::Violation;
use crate::checker::answers::unexpected;
use crate::wire::Wire;

/// No answer is larger, in bytes.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

pub struct Connection {
    pub id: u32,
    pub wire: Wire,
    /// The topics are there: everything else may be asked.
    pub ready: bool,
    /// The broker was told to stop.
    pub closing: bool,
    /// Correlation id, version, and what was asked.
    pub awaiting: VecDeque<(i32, i16, Ask)>,
    next_correlation: i32,
}

impl Connection {
    pub fn new(id: u32, session: SessionId) -> Connection {
        let wire = Wire::new(session, Vec::new());
        Connection { id, wire, ready: false, closing: false, awaiting: VecDeque::new(), next_correlation: 0 }
    }

    pub fn ask(&mut self, asker: Asker, ask: Ask, hands: &mut Hands<'_>) {
        let version = hands.rng.random_range(ask.versions(asker));
        self.next_correlation += 1;
        hands.trace.event(format_args!("kafka client {} asks {} v{version}: {ask:?}", asker.client, self.next_correlation));
        match &ask {
            Ask::Produce { batches, .. } => batches.iter().for_each(|at| hands.model.batches[*at].attempts += 1),
            Ask::Commit { attempts } | Ask::TxnCommit { attempts, .. } => attempts.iter().for_each(|at| hands.model.sent(*at)),
            _ => {}
        }
        ask.encode(asker, version, self.next_correlation, hands.model, &mut self.wire.up);
        if !ask.is_silent() {
            self.awaiting.push_back((self.next_correlation, version, ask));
        }
    }

    /// The next answer that has arrived.
    ///
    /// # Errors
    /// It is none to what was asked.
    pub fn hear(&mut self, model: &Model) -> Result<Option<(Ask, Answer)>, Violation> {
        let input = &mut self.wire.input;
        let payload = match frame::split(input, FRAME_BYTES_MAX) {
            Ok(Split::Frame(payload)) => payload,
            Ok(Split::Need(_)) => return Ok(None),
            Err(error) => return Err(unexpected(format!("the broker cannot be understood: {error}"))),
        };
        let Some((correlation_id, version, ask)) = self.awaiting.pop_front() else {
            return Err(unexpected(format!("kafka connection {} was answered what it had not asked", self.id)));
        };
        let answer = ask.understand(version, correlation_id, payload, model)?;
        let whole = SIZE_BYTES + payload.len();
        input.drain(..whole);
        Ok(Some((ask, answer)))
    }
}
