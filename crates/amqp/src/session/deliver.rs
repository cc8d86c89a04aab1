//! Messages on their way out: `basic.deliver`, `basic.get-ok`, and what else the broker tells unasked.

use model::record::StoredRecord;
use model::{DeliveryTag, Now, Output, Scope, SubscriptionId, limits};

use super::channel::Subscription;
use super::reply::{Awaited, Kind};
use super::{AmqpSession, Code, Fault};
use crate::codec::basic;
use crate::codec::frame::{self, BODY, END, HEAD, HEADER, METHOD, OVERHEAD};
use crate::codec::wire::put_short_bytes;
use crate::dead_letter::Rendered;
use crate::translate::Stored;

impl AmqpSession {
    #[expect(clippy::too_many_arguments, reason = "what a delivery says")]
    pub(super) fn deliver(
        &mut self,
        scope: Scope,
        subscription: SubscriptionId,
        tag: DeliveryTag,
        (redelivered, returns, offset): (bool, u32, Option<u64>),
        record: &StoredRecord<'_>,
        now: Now,
        out: &mut Output,
    ) {
        let Ok(index) = self.find(scope.0) else { return };
        let channel = &self.channels[index];
        let Some(subscription) = channel.subscription(subscription) else { return };
        if let Some(offset) = offset {
            let mut scratch = std::mem::take(&mut self.scratch);
            match scratch.show(record, offset, self.frame_max) {
                Ok(stored) => put_delivery(out, scope, self.frame_max, subscription, tail(tag, redelivered), &stored, record),
                Err(_) => self.fail(scope.0, damaged(), now, out),
            }
            self.scratch = scratch;
            return;
        }
        let Ok(stored) = Stored::read(record) else {
            return self.fail(scope.0, damaged(), now, out);
        };
        let rendered = Rendered::of(&stored, returns);
        let stored = rendered.as_ref().map_or(stored, |rendered| rendered.shown(&stored));
        put_delivery(out, scope, self.frame_max, subscription, tail(tag, redelivered), &stored, record);
    }

    #[expect(clippy::too_many_arguments, reason = "what a delivery says")]
    pub(super) fn got(
        &mut self,
        scope: Scope,
        tag: DeliveryTag,
        (redelivered, returns): (bool, u32),
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
        let rendered = Rendered::of(&stored, returns);
        let stored = rendered.as_ref().map_or(stored, |rendered| rendered.shown(&stored));
        let remaining = u32::try_from(remaining).unwrap_or(u32::MAX);
        let [c0, c1] = scope.0.to_be_bytes();
        let prefix = [METHOD, c0, c1, 0, 0, 0, 0, 0, 60, 0, 71];
        let tail = tail(tag, redelivered);
        let key_len = [stored.routing_key.len() as u8];
        let remaining = remaining.to_be_bytes();
        let method = [&prefix[..], &tail, stored.exchange, &key_len, stored.routing_key, &remaining];
        put_message(out, scope.0, self.frame_max, &stored, record, &method);
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
        let Some(ended) = channel.remove_subscription(subscription).filter(|_| notify) else { return };
        let cancel = |out: &mut Vec<u8>| {
            frame::put(out, METHOD, scope.0, |out| {
                out.extend_from_slice(&[0, 60, 0, 30]);
                put_short_bytes(out, ended.tag());
                out.push(1);
            });
        };
        if self.held_until.is_some() {
            // The answer that waits for the disk may be that of the deletion which ended it: that goes first.
            cancel(&mut self.held_answer);
        } else {
            out.write(cancel);
        }
    }
}

fn damaged() -> Fault {
    Fault::new(Code::InternalError, "a stored message is damaged")
}

/// Delivery tag and redelivered flag.
fn tail(tag: DeliveryTag, redelivered: bool) -> [u8; 9] {
    let [t0, t1, t2, t3, t4, t5, t6, t7] = tag.0.to_be_bytes();
    [t0, t1, t2, t3, t4, t5, t6, t7, redelivered.into()]
}

#[inline]
fn put_delivery<'r>(
    out: &mut Output,
    scope: Scope,
    frame_max: usize,
    subscription: &Subscription,
    tail: [u8; 9],
    stored: &Stored<'r>,
    record: &StoredRecord<'r>,
) {
    let method = [&subscription.prefix, &tail[..], stored.exchange, &[stored.routing_key.len() as u8], stored.routing_key];
    put_message(out, scope.0, frame_max, stored, record, &method);
}

/// Append a message. `method`: the frame's head with its size left open, and its payload.
#[inline]
fn put_message<'r>(
    out: &mut Output,
    channel: u16,
    frame_max: usize,
    stored: &Stored<'r>,
    record: &StoredRecord<'r>,
    method: &[&[u8]],
) {
    let body = stored.body;
    let part_max = frame_max.saturating_sub(OVERHEAD).max(1);
    let shared = body.len() >= limits::SHARED_SLICE_BYTES_MIN && record.buffer.is_some();
    let mut parts = body.chunks(part_max).peekable();
    out.write(|out| {
        out.reserve(700 + stored.properties.len() + if shared { 0 } else { body.len() });
        let start = out.len();
        for part in method {
            out.extend_from_slice(part);
        }
        let size = ((out.len() - start - HEAD) as u32).to_be_bytes();
        out[start + 3..start + HEAD].copy_from_slice(&size);
        put_header(out, channel, stored);
        if !shared {
            for part in parts.by_ref() {
                put_body_head(out, channel, part.len());
                out.extend_from_slice(part);
            }
            out.push(END);
        } else if let Some(first) = parts.peek() {
            put_body_head(out, channel, first.len());
        }
    });
    while let Some(part) = parts.next() {
        match record.share(part) {
            Some(bytes) => out.share(bytes),
            None => out.put(part),
        }
        match parts.peek() {
            Some(next) => out.write(|out| put_body_head(out, channel, next.len())),
            None => out.put(&[END]),
        }
    }
}

/// The end of the method frame, and the content header frame but for its end. In one piece, because
/// many small ones cost more than their bytes.
#[inline]
fn put_header(out: &mut Vec<u8>, channel: u16, stored: &Stored<'_>) {
    let [c0, c1] = channel.to_be_bytes();
    let [s0, s1, s2, s3] = (12 + stored.properties.len() as u32).to_be_bytes();
    let [b0, b1, b2, b3, b4, b5, b6, b7] = (stored.body.len() as u64).to_be_bytes();
    out.extend_from_slice(&[END, HEADER, c0, c1, s0, s1, s2, s3, 0, 60, 0, 0, b0, b1, b2, b3, b4, b5, b6, b7]);
    out.extend_from_slice(stored.properties);
}

/// The end of the frame before, and the head of a body frame.
#[inline]
fn put_body_head(out: &mut Vec<u8>, channel: u16, size: usize) {
    let [c0, c1] = channel.to_be_bytes();
    let [s0, s1, s2, s3] = (size as u32).to_be_bytes();
    out.extend_from_slice(&[END, BODY, c0, c1, s0, s1, s2, s3]);
}
