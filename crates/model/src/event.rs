//! What a client is told.

use crate::group::{CommittedOffset, GroupInfo, Joined, OffsetsCommitted, Synced, TransactionInfo};
use crate::record::StoredRecord;
use crate::topic::{ConfigEntry, Fetched, ListedOffset, Produced, ProducerState, TopicInfo};
use crate::{DeliveryTag, Failure, Lsn, Scope, SubscriptionId};

/// The answer to a [`crate::Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Ok,
    /// The answer comes as an event; the session asks nothing further until then.
    Pending,
    /// In the place of the answer: the same request is to be asked again, and then goes on from where it waited.
    Again,
    /// `durable_at`: the message is safe once the journal's durable mark has reached it; `None`:
    /// nothing to wait for. `routed`: it reached at least one queue.
    Published {
        durable_at: Option<Lsn>,
        routed: bool,
    },
    /// A queue it should have reached is full or damaged and takes no more: tell the publisher so. Of a transaction: at
    /// least one of its messages; all else is done.
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

    TopicCreated {
        topic: TopicInfo,
        config: Vec<ConfigEntry>,
        /// `None`: it was only asked whether it could be.
        durable_at: Option<Lsn>,
    },
    Topics(Vec<TopicInfo>),
    Config(Vec<ConfigEntry>),
    Produced(Produced),
    /// One for each partition asked for, in that order; of an incremental fetch perhaps only of the first ones.
    Fetched(Vec<Fetched>),
    Offset(ListedOffset),
    /// -1 for both where the epoch is not known.
    EpochEnd {
        epoch: i32,
        end: i64,
    },
    LogStart {
        offset: i64,
        durable_at: Lsn,
    },
    Producers(Vec<ProducerState>),
    Size {
        bytes: u64,
    },
    Producer {
        id: i64,
        epoch: i16,
        durable_at: Lsn,
    },
    Transactions(Vec<TransactionInfo>),
    Joined(Box<Joined>),
    Synced(Synced),
    OffsetsCommitted(OffsetsCommitted),
    Offsets(Vec<CommittedOffset>),
    Groups(Vec<GroupInfo>),
}

impl Reply {
    /// What the lists in it take, in memory or on a wire, about, in bytes; 0 for what has none. Batches that were fetched do
    /// not count, for they are bounded where they are read.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let topic = |topic: &TopicInfo| 64 + topic.name.len() + 64 * topic.partitions as usize;
        let entry = |entry: &ConfigEntry| {
            let values = [&entry.value, &entry.default].map(|value| value.as_ref().map_or(0, String::len));
            96 + entry.name.len() + values.iter().sum::<usize>() + entry.documentation.len()
        };
        match self {
            Reply::Topics(topics) => topics.iter().map(topic).sum(),
            Reply::TopicCreated { topic: made, config, .. } => topic(made) + config.iter().map(entry).sum::<usize>(),
            Reply::Config(entries) => entries.iter().map(entry).sum(),
            Reply::Producers(producers) => 48 * producers.len(),
            Reply::Transactions(found) => {
                found.iter().map(|found| 96 + found.transactional_id.len() + 32 * found.partitions.len()).sum()
            }
            Reply::Joined(joined) => {
                joined.members.iter().map(|member| 96 + 2 * member.member_id.len() + member.metadata.len()).sum()
            }
            Reply::Offsets(offsets) => offsets.iter().map(|offset| 80 + offset.metadata.len()).sum(),
            Reply::OffsetsCommitted(committed) => 8 * committed.results.len(),
            Reply::Groups(groups) => groups.iter().map(GroupInfo::bytes).sum(),
            _ => 0,
        }
    }

    /// The position of the journal from which on what it says is safe; `None`: there is nothing to wait for.
    #[must_use]
    pub fn durable_at(&self) -> Option<Lsn> {
        match self {
            Reply::DurableAt(lsn) | Reply::LogStart { durable_at: lsn, .. } | Reply::Producer { durable_at: lsn, .. } => {
                Some(*lsn)
            }
            Reply::Published { durable_at, .. }
            | Reply::Removed { durable_at, .. }
            | Reply::QueueDeclared { durable_at, .. }
            | Reply::TopicCreated { durable_at, .. } => *durable_at,
            Reply::Produced(produced) => Some(produced.durable_at),
            Reply::OffsetsCommitted(committed) => committed.durable_at,
            Reply::Ok
            | Reply::Pending
            | Reply::Again
            | Reply::Refused
            | Reply::Subscribed { .. }
            | Reply::Topics(_)
            | Reply::Config(_)
            | Reply::Fetched(_)
            | Reply::Offset(_)
            | Reply::EpochEnd { .. }
            | Reply::Producers(_)
            | Reply::Size { .. }
            | Reply::Transactions(_)
            | Reply::Joined(_)
            | Reply::Synced(_)
            | Reply::Offsets(_)
            | Reply::Groups(_) => None,
        }
    }
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
        /// How often it was handed out and came back, where its queue counts that; else 0.
        returns: u32,
        /// Where it lies in its stream; `None`: it comes from a queue.
        offset: Option<u64>,
        record: StoredRecord<'a>,
    },
    /// The answer to `Request::Get`; `remaining`: messages still ready.
    Got {
        scope: Scope,
        tag: DeliveryTag,
        redelivered: bool,
        /// As in `Deliver`.
        returns: u32,
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
