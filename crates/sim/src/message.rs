//! Messages whose every byte follows from their number, so that what comes back can be compared with what was sent.

use amqp::codec::field::encode_entries;
use amqp::codec::{Properties, RawTable};
use model::{Table, Value};

use crate::checker::ChanId;
use crate::plan::{ExchangeIx, KEYS};

/// Names a message for the whole run, in the order in which they were sent.
pub type MsgId = u32;

/// What was published.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: MsgId,
    pub publisher: ChanId,
    pub exchange: ExchangeIx,
    /// A queue's name for the default exchange, else one of [`KEYS`].
    pub key: String,
    pub persistent: bool,
    pub body_len: usize,
    /// Milliseconds; and the wall clock from which on it may be gone.
    pub expiration: Option<(String, u64)>,
    pub mandatory: bool,
    /// When it was sent, as the model counts.
    pub sent_at: u64,
}

/// The header `h` of a message, and `g`.
pub fn header_values(id: MsgId) -> (i32, i32) {
    ((id % 2) as i32, (id / 2 % 3) as i32)
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 29)
}

/// The body of message `id`, into `out`.
pub fn body(id: MsgId, len: usize, out: &mut Vec<u8>) {
    out.clear();
    let mut state = u64::from(id) << 20 ^ len as u64;
    while out.len() < len {
        out.extend_from_slice(&next(&mut state).to_le_bytes());
    }
    out.truncate(len);
}

/// The encoded properties of a message.
pub fn properties(message: &Message) -> Vec<u8> {
    let (h, g) = header_values(message.id);
    let headers = encode_entries(&Table(vec![("h".into(), Value::I32(h)), ("g".into(), Value::I32(g))]));
    let name = format!("{:x}", message.id);
    let with_type = message.id.is_multiple_of(3);
    let properties = Properties {
        headers: Some(RawTable(&headers)),
        delivery_mode: if message.persistent { Some(2) } else { message.id.is_multiple_of(2).then_some(1) },
        message_id: Some(&name),
        expiration: message.expiration.as_ref().map(|(text, _)| text.as_str()),
        content_type: with_type.then_some("application/x-simulated"),
        timestamp: with_type.then_some(u64::from(message.id)),
        ..Properties::default()
    };
    let mut out = Vec::new();
    properties.encode(&mut out);
    out
}

/// The number of a message, by its properties.
pub fn id_of(raw_properties: &[u8]) -> Option<MsgId> {
    let properties = Properties::decode(raw_properties).ok()?;
    MsgId::from_str_radix(properties.message_id?, 16).ok()
}

/// One of [`KEYS`].
pub fn key(index: usize) -> String {
    KEYS[index % KEYS.len()].to_owned()
}
