//! What a client is told.

use crate::record::StoredRecord;
use crate::{DeliveryTag, Failure, Lsn, Scope, SubscriptionId};

/// The answer to a [`crate::Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Ok,
    /// The answer comes as an event; the session asks nothing further until then.
    Pending,
    /// `durable_at`: the message is safe once the journal's durable mark has reached it; `None`:
    /// nothing to wait for. `routed`: it reached at least one queue.
    Published {
        durable_at: Option<Lsn>,
        routed: bool,
    },
    /// A queue it should have reached is full and refuses more: tell the publisher so.
    Refused,
    /// As `Published`, for a whole transaction, or for a declaration whose answer must be durable.
    DurableAt(Lsn),
    QueueDeclared {
        name: String,
        messages: u64,
        subscriptions: u64,
        durable_at: Option<Lsn>,
    },
    /// Purged or deleted, with so many ready messages.
    Removed {
        messages: u64,
        durable_at: Option<Lsn>,
    },
    Subscribed {
        subscription: SubscriptionId,
    },
}

/// Something that a session must hear of.
pub enum Event<'a> {
    /// The answer to the request the session asked last.
    Reply(Reply),
    /// The request the session asked last failed.
    Failed(Failure),
    /// Everything before this position is safe: confirm what waited for it.
    Durable(Lsn),
    /// A message for a subscription.
    Deliver {
        scope: Scope,
        subscription: SubscriptionId,
        tag: DeliveryTag,
        redelivered: bool,
        record: StoredRecord<'a>,
    },
    /// The answer to `Request::Get`; `remaining`: messages still ready.
    Got {
        scope: Scope,
        tag: DeliveryTag,
        redelivered: bool,
        remaining: u64,
        record: StoredRecord<'a>,
    },
    /// The answer to `Request::Get` on an empty queue.
    Empty {
        scope: Scope,
    },
    /// The subscription ended without the client's doing (its queue is gone).
    Cancelled {
        scope: Scope,
        subscription: SubscriptionId,
    },
    /// Publishers must wait, for this reason; then that they may go on.
    Blocked(&'static str),
    Unblocked,
    /// The broker closes this session for an administrative reason.
    Shutdown(&'static str),
}
