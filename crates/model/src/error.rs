//! Why a request failed. Each protocol maps these to its own codes and words in one file.

use std::fmt;
use std::sync::Arc;

/// The kind of thing an error speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Queue,
    Exchange,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Subject::Queue => "queue",
            Subject::Exchange => "exchange",
        })
    }
}

/// Why a request failed. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("login refused for user '{user}'")]
    LoginRefused { user: String },
    #[error("vhost {host} not found")]
    NoSuchHost { host: String },
    #[error("no {subject} '{name}' in vhost '{host}'")]
    NotFound { subject: Subject, name: String, host: String },
    /// Somebody else's exclusive queue.
    #[error("cannot obtain exclusive access to locked queue '{name}' in vhost '{host}'")]
    Locked { name: String, host: String },
    /// An exclusive subscription stands in the way, or others stand in the way of one.
    #[error("queue '{name}' in vhost '{host}' in exclusive use")]
    ExclusiveUse { name: String, host: String },
    #[error("{subject} '{name}' in vhost '{host}' in use")]
    InUse { subject: Subject, name: String, host: String },
    #[error("queue '{name}' in vhost '{host}' not empty")]
    NotEmpty { name: String, host: String },
    /// `received` and `current` are worded for people: `'true'`, `the value '5' of type 'signedint'`, `none`.
    #[error(
        "inequivalent arg '{argument}' for {subject} '{name}' in vhost '{host}': received {received} but current is {current}"
    )]
    Inequivalent { subject: Subject, name: String, host: String, argument: Box<str>, received: Box<str>, current: Box<str> },
    #[error("invalid arg '{argument}' for {subject} '{name}' in vhost '{host}': {reason}")]
    InvalidArgument { subject: Subject, name: String, host: String, argument: String, reason: String },
    #[error("invalid property '{property}' for queue '{name}' in vhost '{host}'")]
    InvalidProperty { property: &'static str, name: String, host: String },
    /// `kind`: the type of the queue, for which the argument makes no sense.
    #[error("invalid arg '{argument}' for queue '{name}' in vhost '{host}' of queue type {kind}")]
    UnsupportedArgument { argument: &'static str, name: String, host: String, kind: &'static str },
    /// A stream is handed out only to those who say how much they can take.
    #[error("consumer prefetch count is not set for 'queue '{name}' in vhost '{host}''")]
    NoPrefetch { name: String, host: String },
    /// `what`: `get`, `purge`, `reject`, `recover` or `automatic acknowledgement`.
    #[error("{what} not supported by stream queues queue '{name}' in vhost '{host}'")]
    NotForStreams { what: &'static str, name: String, host: String },
    #[error("{subject} name '{name}' contains reserved prefix 'amq.*'")]
    ReservedName { subject: Subject, name: String },
    #[error("operation not permitted on the default exchange")]
    DefaultExchange,
    #[error("deletion of system exchange '{name}' in vhost '{host}' not allowed")]
    SystemExchange { name: String, host: String },
    #[error("cannot publish to internal exchange '{name}' in vhost '{host}'")]
    InternalExchange { name: String, host: String },
    #[error("unknown exchange type '{kind}'")]
    UnknownExchangeType { kind: String },
    #[error("{0}")]
    InvalidBinding(String),
    #[error("unknown delivery tag {0}")]
    UnknownDeliveryTag(u64),
    #[error("user_id property set to '{claimed}' but authenticated user was '{user}'")]
    UserMismatch { claimed: String, user: String },
    /// A bound of [`crate::limits`] is reached; the text says which.
    #[error("{0}")]
    LimitReached(String),
    /// The feature is known and not offered.
    #[error("{0}")]
    NotImplemented(String),
    /// What was asked of a topic, a group or a transaction.
    #[error(transparent)]
    Log(#[from] LogFailure),
    /// A new member of a group must ask again with this id; it is kept for it for as long as its session would be.
    #[error("join again as {member_id}")]
    MemberIdRequired { member_id: Arc<str> },
    /// As `Log`, with a word about what is wrong.
    #[error("{failure}: {text}")]
    LogBecause { failure: LogFailure, text: Box<str> },
    /// A batch holds records that the partition does not take. Not all of them are named where they are very many.
    #[error("{failure}")]
    BadRecords { failure: LogFailure, records: Box<[BadRecord]> },
    /// The queue cannot be served: what it holds is damaged or cannot be read; the text names it.
    #[error("{0}")]
    Damaged(String),
}

/// Why something that was asked of a topic, a group or a transaction was refused. Nothing was changed.
/// A record that its partition does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// Its place in the batch, from 0 on.
    pub index: u32,
    pub why: BadRecordCause,
}

/// Why it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRecordCause {
    /// The topic is compacted, and the record has no key.
    NoKey,
    /// Its time is outside of what the topic allows. Unix time in milliseconds.
    Time { ms: i64, earliest_ms: i64, latest_ms: i64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum LogFailure {
    #[error("this topic or partition does not exist")]
    UnknownTopic,
    #[error("no topic has this id")]
    UnknownTopicId,
    #[error("a topic or queue of this name exists")]
    TopicExists,
    #[error("a topic's name has 1 to 249 of the characters a-z A-Z 0-9 . _ - and is neither . nor ..")]
    InvalidTopicName,
    #[error("the number of partitions is not allowed")]
    InvalidPartitions,
    #[error("the setting is unknown or its value is not allowed")]
    InvalidConfig,
    #[error("the request is malformed")]
    InvalidRequest,
    #[error("the offset is outside of what the partition holds")]
    OffsetOutOfRange,
    #[error("the topic's cleanup.policy is compact only: its records go when newer ones of their keys come")]
    CompactedOnly,
    #[error("the batch fails its checksum or is malformed")]
    CorruptBatch,
    #[error("the batch is larger than the topic allows")]
    BatchTooLarge,
    #[error("the batch holds a record that the topic does not take")]
    InvalidRecord,
    #[error("the batch's time is too far from the broker's")]
    InvalidTimestamp,
    #[error("the batch's compression is not known")]
    UnsupportedCompression,
    #[error("the batch's message format is not supported")]
    UnsupportedFormat,
    #[error("the batch does not follow the producer's last one")]
    OutOfOrderSequence,
    #[error("a newer instance of the producer has taken over")]
    InvalidProducerEpoch,
    #[error("a newer instance of the producer has taken over")]
    ProducerFenced,
    #[error("the producer id is not the one that belongs to the transactional id")]
    InvalidProducerIdMapping,
    #[error("the producer is not in a state for this")]
    InvalidTransactionState,
    #[error("the transaction's time-out is larger than allowed")]
    InvalidTransactionTimeout,
    #[error("the transactional id is not known")]
    UnknownTransactionalId,
    #[error("the leader epoch is newer than the partition's")]
    UnknownLeaderEpoch,
    #[error("the group's name is not allowed")]
    InvalidGroupId,
    #[error("the group does not exist")]
    UnknownGroup,
    #[error("the group has members")]
    GroupNotEmpty,
    #[error("the group is subscribed to the topic")]
    GroupSubscribed,
    #[error("this member is not known to the group")]
    UnknownMember,
    #[error("the generation is not the group's")]
    IllegalGeneration,
    #[error("the group rebalances: join again")]
    RebalanceInProgress,
    #[error("the member's protocols do not fit the group's")]
    InconsistentProtocol,
    #[error("the session time-out is outside of what is allowed")]
    InvalidSessionTimeout,
    #[error("another member has taken over this instance id")]
    FencedInstance,
    #[error("the group has as many members as it may have")]
    GroupFull,
    #[error("the metadata is too large")]
    MetadataTooLarge,
    #[error("the broker has too little disk space left")]
    DiskFull,
    #[error("the partition is damaged or its file cannot be read")]
    Damaged,
}
