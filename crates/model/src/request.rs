//! What a client may ask, in the field's common verbs.

use crate::{DeliveryTag, Headers, RecordParts, Scope, SubscriptionId, Table};

/// One request of a session. The answer is a [`crate::Reply`] or a [`crate::Failure`].
///
/// Requests borrow from the bytes they were parsed from: nothing is copied before the broker
/// decides to keep it.
pub enum Request<'a> {
    /// Say who one is. Must be answered `Ok` before anything else is asked.
    Authenticate {
        user: &'a str,
        password: &'a [u8],
    },
    /// Enter a virtual host. Everything after this happens inside it.
    OpenHost {
        host: &'a str,
    },
    /// Open a lane with delivery tags of its own.
    OpenScope {
        scope: Scope,
    },
    /// Close a lane: its subscriptions end and what it had not settled returns to its queues.
    CloseScope {
        scope: Scope,
    },

    DeclareExchange(DeclareExchange<'a>),
    DeleteExchange {
        name: &'a str,
        if_unused: bool,
    },
    DeclareQueue(DeclareQueue<'a>),
    DeleteQueue {
        name: &'a str,
        if_unused: bool,
        if_empty: bool,
    },
    /// Drop everything that is ready in the queue.
    PurgeQueue {
        name: &'a str,
    },
    Bind(Binding<'a>),
    Unbind(Binding<'a>),

    Publish(Publish<'a>),
    Subscribe(Subscribe<'a>),
    Unsubscribe {
        scope: Scope,
        subscription: SubscriptionId,
    },
    /// How many unsettled deliveries a scope may hold; 0 = no limit.
    /// `each = true` sets it for every later subscription by itself, `false` for the scope as a whole.
    Prefetch {
        scope: Scope,
        count: u16,
        each: bool,
    },
    /// Take one message now. Answered by `Reply::Pending`, then `Event::Got` or `Event::Empty`.
    Get {
        scope: Scope,
        queue: &'a str,
        auto_settle: bool,
    },
    /// Say what became of a delivery. `multiple` = this tag and all before it (tag 0: all there are).
    Settle {
        scope: Scope,
        tag: DeliveryTag,
        multiple: bool,
        outcome: Outcome,
    },
    /// Return everything unsettled in the scope to its queues.
    Recover {
        scope: Scope,
    },

    /// From here on publishes and settlements of this scope wait for `Commit`.
    Begin {
        scope: Scope,
    },
    /// Do all that waits, atomically; the reply carries the position at which it is durable.
    Commit {
        scope: Scope,
    },
    /// Forget all that waits.
    Rollback {
        scope: Scope,
    },
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done with; the message is settled for ever.
    Accepted,
    /// Not wanted; the message is dead-lettered, or dropped where no dead-letter exchange is set.
    Rejected,
    /// Back to its original position in the queue, marked redelivered.
    Requeued,
}

/// Declare an exchange, or check that it exists.
pub struct DeclareExchange<'a> {
    pub name: &'a str,
    /// `direct`, `fanout`, `topic` or `headers`.
    pub kind: &'a str,
    /// Only check that it exists; every other field is ignored.
    pub passive: bool,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub arguments: Table,
}

/// Declare a queue, or check that it exists. An empty name asks for one made up by the broker.
pub struct DeclareQueue<'a> {
    pub name: &'a str,
    pub passive: bool,
    pub durable: bool,
    pub exclusive: bool,
    pub auto_delete: bool,
    pub arguments: Table,
}

/// What a binding leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<'a> {
    Queue(&'a str),
    Exchange(&'a str),
}

/// An arrow from an exchange to a queue or to another exchange.
pub struct Binding<'a> {
    pub source: &'a str,
    pub destination: Destination<'a>,
    pub routing_key: &'a str,
    pub arguments: Table,
}

/// A message on its way in.
pub struct Publish<'a> {
    pub scope: Scope,
    pub exchange: &'a str,
    pub routing_key: &'a str,
    /// Further keys to route by (AMQP's CC and BCC).
    pub more_keys: &'a [String],
    /// Ask to be told when the message reached no queue.
    pub mandatory: bool,
    /// Keep the message across restarts where the queue is durable too.
    pub persistent: bool,
    /// Drop or dead-letter the message when it has waited this long, in milliseconds.
    pub expiration_ms: Option<u64>,
    pub priority: u8,
    /// The user the message claims to come from, to be checked against the one logged in.
    pub user_id: Option<&'a str>,
    /// For content routing.
    pub headers: &'a dyn Headers,
    pub record: RecordParts<'a>,
}

/// Ask for a queue's messages as they come.
pub struct Subscribe<'a> {
    pub scope: Scope,
    pub queue: &'a str,
    /// Chosen by the client, unique in its scope; the session has checked that.
    pub tag: &'a str,
    /// Deliveries count as accepted once they are handed to the connection.
    pub auto_settle: bool,
    /// Nobody else may subscribe to the queue.
    pub exclusive: bool,
    /// `x-priority` among others.
    pub arguments: Table,
}
