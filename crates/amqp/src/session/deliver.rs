//! Messages on their way out: `basic.deliver`, `basic.get-ok`, and what else the broker tells unasked.

use model::record::StoredRecord;
use model::{DeliveryTag, Now, Output, Scope, SubscriptionId, limits};

use super::reply::{Awaited, Kind};
use super::{AmqpSession, Code, Fault};
use crate::codec::basic;
use crate::codec::frame::{self, BODY, END, METHOD, OVERHEAD};
use crate::codec::wire::put_short_bytes;
use crate::dead_letter::Rendered;
use crate::translate::{Stored, dead_letter};

impl AmqpSession {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn deliver(
        &mut self,
        scope: Scope,
        subscription: SubscriptionId,
        tag: DeliveryTag,
        redelivered: bool,
        record: &StoredRecord<'_>,
        now: Now,
        out: &mut Output,
    ) {
        let Ok(index) = self.find(scope.0) else { return };
        let channel = &self.channels[index];
        let Some(subscription) = channel.subscription(subscription) else { return };
        let Ok(stored) = Stored::read(record) else {
            return self.fail(scope.0, damaged(), now, out);
        };
        let letter = dead_letter(record).map(|letter| Rendered::new(&stored, &letter));
        let stored = letter.as_ref().map_or(stored, |rendered| rendered.of(&stored));
        let prefix = &subscription.prefix;
        let size = prefix.len() + 9 + stored.exchange.len() + 1 + stored.routing_key.len();
        put_message(out, scope.0, self.frame_max, &stored, record, size, |out| {
            out.extend_from_slice(prefix);
            out.extend_from_slice(&tag.0.to_be_bytes());
            out.push(redelivered.into());
            out.extend_from_slice(stored.exchange);
            put_short_bytes(out, stored.routing_key);
        });
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn got(
        &mut self,
        scope: Scope,
        tag: DeliveryTag,
        redelivered: bool,
        remaining: u64,
        record: &StoredRecord<'_>,
        now: Now,
        out: &mut Output,
    ) {
        if !self.get_answered(scope) {
            return;
        }
        let Ok(stored) = Stored::read(record) else {
            return self.fail(scope.0, damaged(), now, out);
        };
        let letter = dead_letter(record).map(|letter| Rendered::new(&stored, &letter));
        let stored = letter.as_ref().map_or(stored, |rendered| rendered.of(&stored));
        let remaining = u32::try_from(remaining).unwrap_or(u32::MAX);
        let size = 4 + 9 + stored.exchange.len() + 1 + stored.routing_key.len() + 4;
        put_message(out, scope.0, self.frame_max, &stored, record, size, |out| {
            out.extend_from_slice(&[0, 60, 0, 71]);
            out.extend_from_slice(&tag.0.to_be_bytes());
            out.push(redelivered.into());
            out.extend_from_slice(stored.exchange);
            put_short_bytes(out, stored.routing_key);
            out.extend_from_slice(&remaining.to_be_bytes());
        });
    }

    pub(super) fn got_nothing(&mut self, scope: Scope, out: &mut Output) {
        if self.get_answered(scope) {
            out.write(|out| frame::put_method(out, scope.0, &basic::GetEmpty::default()));
        }
    }

    /// Whether the client still waits for the answer to its get.
    fn get_answered(&mut self, scope: Scope) -> bool {
        if self.awaited.kind != Kind::Get || self.awaited.channel != scope.0 {
            return false;
        }
        self.awaited = Awaited::default();
        self.open_channel(scope.0).is_some()
    }

    /// A consumer ended without the client's doing.
    pub(super) fn cancelled(&mut self, scope: Scope, subscription: SubscriptionId, out: &mut Output) {
        let notify = self.capabilities.cancel_notify;
        let Some(channel) = self.open_channel(scope.0) else { return };
        if let Some(ended) = channel.remove_subscription(subscription)
            && notify
        {
            out.write(|out| {
                frame::put(out, METHOD, scope.0, |out| {
                    out.extend_from_slice(&[0, 60, 0, 30]);
                    put_short_bytes(out, ended.tag());
                    out.push(1);
                });
            });
        }
    }
}

fn damaged() -> Fault {
    Fault::new(Code::InternalError, "a stored message is damaged")
}

/// Append a message: its method of `method_size` payload bytes, its header, its body.
#[inline]
fn put_message<'r>(
    out: &mut Output,
    channel: u16,
    frame_max: usize,
    stored: &Stored<'r>,
    record: &StoredRecord<'r>,
    method_size: usize,
    method: impl FnOnce(&mut Vec<u8>),
) {
    let body = stored.body;
    let head = |out: &mut Vec<u8>| {
        frame::put_head(out, METHOD, channel, method_size);
        method(out);
        out.push(END);
        frame::put_content_header(out, channel, body.len(), stored.properties);
    };
    if body.len() < limits::SHARED_SLICE_BYTES_MIN || record.buffer.is_none() {
        out.write(|out| {
            out.reserve(method_size + stored.properties.len() + body.len() + 64);
            head(out);
            frame::put_body(out, channel, frame_max, body);
        });
        return;
    }
    let mut parts = body.chunks(frame_max.saturating_sub(OVERHEAD).max(1)).peekable();
    out.write(|out| {
        head(out);
        if let Some(first) = parts.peek() {
            frame::put_head(out, BODY, channel, first.len());
        }
    });
    while let Some(part) = parts.next() {
        match record.share(part) {
            Some(bytes) => out.share(bytes),
            None => out.put(part),
        }
        out.write(|out| {
            out.push(END);
            if let Some(next) = parts.peek() {
                frame::put_head(out, BODY, channel, next.len());
            }
        });
    }
}
