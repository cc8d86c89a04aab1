//! Cutting the byte stream into frames.
//!
//! ```text
//! 0  type      u8    1 method, 2 content header, 3 content body, 8 heartbeat
//! 1  channel   u16
//! 3  size      u32   of the payload
//! 7  payload
//!    end       u8    0xCE
//! ```
//! Source: AMQP 0-9-1 specification, section 4.2.3.

use super::wire::MethodArguments;

pub const METHOD: u8 = 1;
pub const HEADER: u8 = 2;
pub const BODY: u8 = 3;
pub const HEARTBEAT: u8 = 8;
pub const END: u8 = 0xCE;
/// Bytes of a frame beside its payload.
pub const OVERHEAD: usize = 8;
/// So many bytes may a peer's frame be larger than agreed on. Many clients count a frame's overhead wrongly, and RabbitMQ
/// has the same patience with them.
const FUDGE: usize = 8;
/// Bytes before the payload.
pub const HEAD: usize = 7;

/// What a client sends first.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

/// A whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: u8,
    pub channel: u16,
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Bytes it takes on the wire.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.payload.len() + OVERHEAD
    }
}

/// The front of some input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split<'a> {
    Frame(Frame<'a>),
    /// A frame has begun, or nothing has; so many bytes are needed before asking again makes sense.
    Need(usize),
}

/// The stream cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("unknown frame type {kind}")]
    Kind { kind: u8, channel: u16 },
    /// Payload sizes, as RabbitMQ words it.
    #[error("type {kind}, all octets = <<>>: {{frame_too_large,{size},{max}}}")]
    TooLarge { kind: u8, channel: u16, size: usize, max: usize },
    #[error("type {kind}: {{invalid_frame_end_marker,{marker}}}")]
    End { kind: u8, channel: u16, marker: u8 },
}

/// Look at the front of `input`. The sizes are judged as soon as the head is there, so that nobody
/// waits for a frame that would be refused.
///
/// # Errors
/// [`FrameError`] where the stream is out of step or the frame is larger than `frame_max` bytes, and not by [`FUDGE`] at most.
#[inline]
pub fn split(input: &[u8], frame_max: usize) -> Result<Split<'_>, FrameError> {
    let Some((head, rest)) = input.split_first_chunk::<HEAD>() else {
        return Ok(Split::Need(HEAD));
    };
    let [kind, c0, c1, s0, s1, s2, s3] = *head;
    let channel = u16::from_be_bytes([c0, c1]);
    let size = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
    if !matches!(kind, METHOD | HEADER | BODY | HEARTBEAT) {
        return Err(FrameError::Kind { kind, channel });
    }
    let max = frame_max.saturating_sub(OVERHEAD);
    if size > max.saturating_add(FUDGE) {
        return Err(FrameError::TooLarge { kind, channel, size, max });
    }
    match (rest.get(..size), rest.get(size)) {
        (Some(payload), Some(&END)) => Ok(Split::Frame(Frame { kind, channel, payload })),
        (Some(_), Some(&marker)) => Err(FrameError::End { kind, channel, marker }),
        _ => Ok(Split::Need(size + OVERHEAD)),
    }
}

/// Append a whole frame whose payload `write` appends.
#[inline]
pub fn put(out: &mut Vec<u8>, kind: u8, channel: u16, write: impl FnOnce(&mut Vec<u8>)) {
    let [c0, c1] = channel.to_be_bytes();
    let start = out.len();
    out.extend_from_slice(&[kind, c0, c1, 0, 0, 0, 0]);
    write(out);
    let size = (out.len().saturating_sub(start + HEAD)) as u32;
    if let Some(slot) = out.get_mut(start + 3..start + HEAD) {
        slot.copy_from_slice(&size.to_be_bytes());
    }
    out.push(END);
}

/// Append the frame of one method.
pub fn put_method<'a, M: MethodArguments<'a>>(out: &mut Vec<u8>, channel: u16, arguments: &M) {
    put(out, METHOD, channel, |out| {
        out.extend_from_slice(&M::CLASS.to_be_bytes());
        out.extend_from_slice(&M::METHOD.to_be_bytes());
        arguments.encode(out);
    });
}

/// Append what stands before the payload of a frame of `size` payload bytes.
#[inline]
pub fn put_head(out: &mut Vec<u8>, kind: u8, channel: u16, size: usize) {
    let [c0, c1] = channel.to_be_bytes();
    let [s0, s1, s2, s3] = (size as u32).to_be_bytes();
    out.extend_from_slice(&[kind, c0, c1, s0, s1, s2, s3]);
}

/// Append a content header frame: the class, the body's length, and the raw property flags and list.
#[inline]
pub fn put_content_header(out: &mut Vec<u8>, channel: u16, body_len: usize, properties: &[u8]) {
    put_head(out, HEADER, channel, 12 + properties.len());
    out.extend_from_slice(&super::basic::CLASS.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&(body_len as u64).to_be_bytes());
    out.extend_from_slice(properties);
    out.push(END);
}

/// Append a body as frames of at most `frame_max` bytes each.
#[inline]
pub fn put_body(out: &mut Vec<u8>, channel: u16, frame_max: usize, body: &[u8]) {
    for part in body.chunks(frame_max.saturating_sub(OVERHEAD).max(1)) {
        put_head(out, BODY, channel, part.len());
        out.extend_from_slice(part);
        out.push(END);
    }
}

/// Append a heartbeat.
pub fn put_heartbeat(out: &mut Vec<u8>) {
    out.extend_from_slice(&[HEARTBEAT, 0, 0, 0, 0, 0, 0, END]);
}
