//! One channel: its mode, its consumers, what it is receiving, and what it has yet to confirm.

use std::collections::VecDeque;

use model::{Lsn, Scope, SubscriptionId};

use crate::codec::wire::put_short;
use crate::codec::{basic, frame};

/// Body buffers larger than this are given back when their message is done with.
pub(super) const KEPT_BODY_BYTES: usize = 64 * 1024;

/// Runs of refused publishes that may wait for the disk.
const REFUSED_RUNS_MAX: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChannelState {
    Open,
    /// We sent `channel.close`; everything is ignored until `close-ok`.
    Closing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Plain,
    Confirm,
    Transaction,
}

/// Which frame may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Method,
    Header,
    Body,
}

/// A publish that arrives in pieces, or that must be kept until the broker has routed it.
#[derive(Default)]
pub(super) struct Content {
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) mandatory: bool,
    /// Property flags and list.
    pub(super) properties: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) body_len: usize,
}

impl Content {
    pub(super) fn begin(&mut self, publish: &basic::Publish<'_>) {
        self.clear();
        self.exchange.push_str(publish.exchange);
        self.routing_key.push_str(publish.routing_key);
        self.mandatory = publish.mandatory;
    }

    pub(super) fn clear(&mut self) {
        self.exchange.clear();
        self.routing_key.clear();
        self.properties.clear();
        self.body.clear();
        self.body.shrink_to(KEPT_BODY_BYTES);
        self.body_len = 0;
    }
}

/// A consumer of this channel.
pub(super) struct Subscription {
    pub(super) id: SubscriptionId,
    /// The front of every delivery: the frame's head with its size left open, class, method, and
    /// consumer tag.
    pub(super) prefix: Box<[u8]>,
}

/// Where in a [`Subscription::prefix`] the consumer tag begins: behind head, class, method and length.
const TAG_AT: usize = 12;

impl Subscription {
    pub(super) fn new(channel: u16, id: SubscriptionId, tag: &str) -> Subscription {
        let mut prefix = Vec::with_capacity(TAG_AT + tag.len());
        frame::put_head(&mut prefix, frame::METHOD, channel, 0);
        prefix.extend_from_slice(&[0, 60, 0, 60]);
        put_short(&mut prefix, tag);
        Subscription { id, prefix: prefix.into_boxed_slice() }
    }

    pub(super) fn tag(&self) -> &[u8] {
        self.prefix.get(TAG_AT..).unwrap_or_default()
    }
}

pub(super) struct Channel {
    pub(super) number: u16,
    pub(super) state: ChannelState,
    pub(super) mode: Mode,
    pub(super) expect: Expect,
    /// Allocated with the first publish that comes in pieces.
    pub(super) content: Option<Box<Content>>,
    /// For the shortcut: an empty queue name means this one.
    pub(super) last_queue: String,
    /// Invariant: ascending by id, which the broker never reuses.
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) confirms: Confirms,
    /// Set while the channel consumes from `amq.rabbitmq.reply-to`.
    pub(super) reply_to: Option<Box<ReplyTo>>,
    /// Frames of the mandatory messages that a commit will return. The broker bounds what a transaction gathers.
    pub(super) returns: Vec<u8>,
}

/// What stands behind `amq.rabbitmq.reply-to` in a channel.
pub(super) struct ReplyTo {
    /// The name under which others answer.
    pub(super) name: String,
    /// The consumer.
    pub(super) tag: String,
}

impl Channel {
    pub(super) fn new(number: u16) -> Channel {
        Channel {
            number,
            state: ChannelState::Open,
            mode: Mode::Plain,
            expect: Expect::Method,
            content: None,
            last_queue: String::new(),
            subscriptions: Vec::new(),
            confirms: Confirms::default(),
            reply_to: None,
            returns: Vec::new(),
        }
    }

    /// Forget everything but that `close-ok` is awaited.
    pub(super) fn closing(&mut self) {
        *self = Channel { state: ChannelState::Closing, ..Channel::new(self.number) };
    }

    pub(super) fn scope(&self) -> Scope {
        Scope(self.number)
    }

    pub(super) fn subscription(&self, id: SubscriptionId) -> Option<&Subscription> {
        let at = self.subscriptions.binary_search_by_key(&id, |subscription| subscription.id).ok()?;
        self.subscriptions.get(at)
    }

    pub(super) fn subscription_by_tag(&self, tag: &[u8]) -> Option<&Subscription> {
        self.subscriptions.iter().find(|subscription| subscription.tag() == tag)
    }

    pub(super) fn add_subscription(&mut self, subscription: Subscription) {
        let at = self.subscriptions.partition_point(|other| other.id < subscription.id);
        self.subscriptions.insert(at, subscription);
    }

    pub(super) fn reply_name(&self) -> Option<&str> {
        self.reply_to.as_ref().map(|reply_to| &*reply_to.name)
    }

    pub(super) fn remove_subscription(&mut self, id: SubscriptionId) -> Option<Subscription> {
        let at = self.subscriptions.binary_search_by_key(&id, |subscription| subscription.id).ok()?;
        let removed = self.subscriptions.remove(at);
        if self.reply_to.as_ref().is_some_and(|reply_to| reply_to.tag.as_bytes() == removed.tag()) {
            self.reply_to = None;
        }
        Some(removed)
    }
}

/// Publishes of a confirming channel on their way to `basic.ack` or `basic.nack`.
///
/// Invariant: `sent <= safe <= published`; `waiting` ascends in both numbers and every number in it
/// is above `safe`; `refused` ascends and every number in it is above `sent`.
#[derive(Default)]
pub(super) struct Confirms {
    /// Publishes since `confirm.select`.
    published: u64,
    /// All up to here may be answered.
    safe: u64,
    /// All up to here have been answered.
    sent: u64,
    /// (durable from, last publish that waits for it)
    waiting: VecDeque<(Lsn, u64)>,
    /// Runs of refused publishes that have no answer yet: first and last of each.
    refused: VecDeque<(u64, u64)>,
}

/// The answer to one publish, or an ack of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Ack { delivery_tag: u64, multiple: bool },
    Nack { delivery_tag: u64 },
}

impl Confirms {
    /// One more publish was accepted; it is safe once the journal has reached `durable_at`.
    pub(super) fn publish(&mut self, durable_at: Option<Lsn>) {
        self.published += 1;
        match (self.waiting.back_mut(), durable_at) {
            (None, None) => self.safe = self.published,
            // Acks go out in order, so what is safe already waits with what came before it.
            (Some(last), None) => last.1 = self.published,
            (Some(last), Some(lsn)) if lsn <= last.0 => last.1 = self.published,
            (_, Some(lsn)) => self.waiting.push_back((lsn, self.published)),
        }
    }

    /// One more publish was refused. It is answered in its turn: an ack that comes later must not seem to speak for it.
    pub(super) fn refuse(&mut self) {
        self.published += 1;
        match self.waiting.back_mut() {
            Some(last) => last.1 = self.published,
            None => self.safe = self.published,
        }
        match self.refused.back_mut() {
            Some(run) if run.1 + 1 == self.published => run.1 = self.published,
            _ => self.refused.push_back((self.published, self.published)),
        }
    }

    /// So many refusals wait for the disk behind what came before them that no further publish is taken in.
    pub(super) fn is_full(&self) -> bool {
        self.refused.len() >= REFUSED_RUNS_MAX
    }

    /// The journal has reached `durable`.
    pub(super) fn durable(&mut self, durable: Lsn) {
        while let Some(&(lsn, last)) = self.waiting.front()
            && lsn <= durable
        {
            self.safe = last;
            self.waiting.pop_front();
        }
    }

    /// What the journal must reach before more can be acked.
    pub(super) fn waits_for(&self) -> Option<Lsn> {
        self.waiting.front().map(|&(lsn, _)| lsn)
    }

    /// The next answer that is due, if any. Answers come in the order of the publishes, and no ack of several reaches over
    /// a refused one.
    pub(super) fn take_answer(&mut self) -> Option<Answer> {
        let refused = self.refused.front().map(|run| run.0).filter(|first| *first <= self.safe);
        if let Some(first) = refused
            && first == self.sent + 1
        {
            self.sent = first;
            if let Some(run) = self.refused.front_mut() {
                run.0 += 1;
            }
            if self.refused.front().is_some_and(|run| run.0 > run.1) {
                self.refused.pop_front();
            }
            return Some(Answer::Nack { delivery_tag: first });
        }
        let to = refused.map_or(self.safe, |first| first - 1);
        let due = to - self.sent;
        self.sent = to;
        (due > 0).then_some(Answer::Ack { delivery_tag: to, multiple: due > 1 })
    }
}
