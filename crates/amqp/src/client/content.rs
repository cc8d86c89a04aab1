//! Messages with content, seen from the client: whole in the input, or arriving in pieces.

use super::{BODY, ClientError, ClientEvent, ContentHeader, HEADER, Message, Method, Properties, Reader, basic, frame};
use crate::codec::wire::MethodArguments;
use model::limits::BODY_BYTES_MAX;

/// Body buffers larger than this are given back when their message has been handed out.
const KEPT_BYTES: usize = 64 * 1024;

/// Whether content follows the method.
pub(super) fn has_content(payload: &[u8]) -> bool {
    let mut reader = Reader::new(payload);
    reader.u16() == Ok(basic::CLASS) && matches!(reader.u16(), Ok(50 | 60 | 71))
}

/// The event that a method with content is.
pub(super) fn event<'i>(
    channel: u16,
    method: &'i [u8],
    raw_properties: &'i [u8],
    body: &'i [u8],
) -> Result<ClientEvent<'i>, ClientError> {
    let message = |exchange, routing_key| Message { exchange, routing_key, raw_properties, body };
    Ok(match Method::decode(method)? {
        Method::BasicDeliver(deliver) => ClientEvent::Delivered {
            channel,
            consumer_tag: deliver.consumer_tag,
            tag: deliver.delivery_tag,
            redelivered: deliver.redelivered,
            message: message(deliver.exchange, deliver.routing_key),
        },
        Method::BasicGetOk(got) => ClientEvent::Got {
            channel,
            tag: got.delivery_tag,
            redelivered: got.redelivered,
            remaining: got.message_count,
            message: message(got.exchange, got.routing_key),
        },
        Method::BasicReturn(back) => ClientEvent::Returned {
            channel,
            code: back.reply_code,
            text: back.reply_text,
            message: message(back.exchange, back.routing_key),
        },
        method => ClientEvent::Method { channel, method },
    })
}

/// A channel on which contents have come in pieces.
pub(super) struct Lane {
    pub(super) channel: u16,
    pub(super) assembly: Assembly,
}

impl Lane {
    pub(super) fn event(&self) -> Result<ClientEvent<'_>, ClientError> {
        event(self.channel, &self.assembly.method, &self.assembly.properties, &self.assembly.body)
    }
}

/// A message put together from its frames.
#[derive(Default)]
pub(super) struct Assembly {
    method: Vec<u8>,
    properties: Vec<u8>,
    body: Vec<u8>,
    /// `None`: the header has not come.
    body_len: Option<usize>,
}

impl Assembly {
    pub(super) fn begin(&mut self, method: &[u8]) {
        self.method.clear();
        self.method.extend_from_slice(method);
        self.properties.clear();
        self.body.clear();
        self.body.shrink_to(KEPT_BYTES);
        self.body_len = None;
    }

    /// Add a frame; true when the message is complete.
    pub(super) fn add(&mut self, kind: u8, payload: &[u8]) -> Result<bool, ClientError> {
        match (kind, self.body_len) {
            (HEADER, None) if !self.method.is_empty() => {
                let content = ContentHeader::decode(payload)?;
                let len = usize::try_from(content.body_len).unwrap_or(usize::MAX);
                if len > BODY_BYTES_MAX * 8 {
                    return Err(ClientError::Unexpected(kind));
                }
                self.properties.extend_from_slice(content.properties);
                self.body_len = Some(len);
                Ok(len == 0)
            }
            (BODY, Some(len)) if self.body.len() < len && payload.len() <= len - self.body.len() => {
                self.body.extend_from_slice(payload);
                Ok(self.body.len() == len)
            }
            _ => Err(ClientError::Unexpected(kind)),
        }
    }
}

/// The unchanging frames of many publishes, encoded once.
#[derive(Clone, Debug)]
pub struct PublishTemplate {
    channel: u16,
    /// The whole frame of the method.
    method: Vec<u8>,
    /// Property flags and list.
    properties: Vec<u8>,
}

impl PublishTemplate {
    #[must_use]
    pub fn new(channel: u16, publish: basic::Publish<'_>, properties: &Properties<'_>) -> PublishTemplate {
        let mut method = Vec::with_capacity(64);
        frame::put(&mut method, frame::METHOD, channel, |out| {
            out.extend_from_slice(&<basic::Publish<'_> as MethodArguments>::CLASS.to_be_bytes());
            out.extend_from_slice(&<basic::Publish<'_> as MethodArguments>::METHOD.to_be_bytes());
            publish.encode(out);
        });
        let mut list = Vec::with_capacity(32);
        properties.encode(&mut list);
        PublishTemplate { channel, method, properties: list }
    }

    /// Append one message with this body, split at `frame_max` ([`super::Client::frame_max`]).
    pub fn put(&self, out: &mut Vec<u8>, frame_max: usize, body: &[u8]) {
        out.reserve(self.method.len() + self.properties.len() + body.len() + 64);
        out.extend_from_slice(&self.method);
        frame::put_content_header(out, self.channel, body.len(), &self.properties);
        frame::put_body(out, self.channel, frame_max, body);
    }
}
