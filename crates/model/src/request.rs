//! What a client may ask, in the field's common verbs.

use crate::group::{CommitOffsets, JoinGroup, Membership, SyncGroup, TransactionRef};
use crate::topic::{ConfigChange, ConfigOf, CreateTopic, Fetch, OffsetAt, Produce, TopicRef};
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

    /// Answered by `Reply::TopicCreated`.
    CreateTopic(CreateTopic<'a>),
    DeleteTopic {
        topic: TopicRef<'a>,
    },
    /// Give the topic so many partitions in all.
    AddPartitions {
        topic: &'a str,
        total: u32,
        validate_only: bool,
    },
    /// `None`: all of the host. Answered by `Reply::Topics`.
    DescribeTopics {
        topic: Option<TopicRef<'a>>,
    },
    /// Answered by `Reply::Config`.
    DescribeConfig {
        of: ConfigOf<'a>,
    },
    /// `replace`: what is not named goes back to its default.
    AlterConfig {
        topic: &'a str,
        changes: &'a [ConfigChange],
        replace: bool,
        validate_only: bool,
    },
    /// Answered by `Reply::Produced`.
    Produce(Produce<'a>),
    /// Answered by `Reply::Fetched`, perhaps later.
    Fetch(Fetch<'a>),
    /// Answered by `Reply::Offset`, perhaps later.
    ListOffset {
        topic: &'a str,
        partition: u32,
        at: OffsetAt,
        committed_only: bool,
        current_epoch: Option<i32>,
    },
    /// Where the records of a leader epoch end. Answered by `Reply::EpochEnd`.
    EpochEnd {
        topic: &'a str,
        partition: u32,
        epoch: i32,
        current_epoch: Option<i32>,
    },
    /// Drop the records before an offset; `None`: all that readers see. Answered by `Reply::LogStart`.
    DeleteRecords {
        topic: &'a str,
        partition: u32,
        before: Option<i64>,
    },
    /// Answered by `Reply::Producers`.
    DescribeProducers {
        topic: &'a str,
        partition: u32,
    },
    /// Bytes of a partition on disk. Answered by `Reply::Size`.
    DescribeSize {
        topic: &'a str,
        partition: u32,
    },

    /// Get a producer id; with a transactional id, take over from whoever had it. `known`: the id and epoch the
    /// producer had. Answered by `Reply::Producer`.
    InitProducer {
        transactional_id: Option<&'a str>,
        timeout_ms: i32,
        known: Option<(i64, i16)>,
    },
    /// The transaction will write to this partition.
    AddToTransaction {
        transaction: TransactionRef<'a>,
        topic: &'a str,
        partition: u32,
    },
    /// The transaction will commit offsets of this group.
    AddGroupToTransaction {
        transaction: TransactionRef<'a>,
        group: &'a str,
    },
    /// `bump`: the producer goes on with a new epoch (Kafka's TV2). Answered by `Reply::Producer`.
    EndTransaction {
        transaction: TransactionRef<'a>,
        commit: bool,
        bump: bool,
    },
    /// `None`: all, without their partitions. Answered by `Reply::Transactions`.
    DescribeTransactions {
        transactional_id: Option<&'a str>,
    },

    /// Answered by `Reply::Joined`, perhaps later.
    JoinGroup(JoinGroup<'a>),
    /// Answered by `Reply::Synced`, perhaps later.
    SyncGroup(SyncGroup<'a>),
    /// The member is alive.
    HeartbeatGroup(Membership<'a>),
    /// `generation` does not count.
    LeaveGroup(Membership<'a>),
    /// Answered by `Reply::OffsetsCommitted`.
    CommitOffsets(CommitOffsets<'a>),
    /// `partitions: None`: all that the group has. `stable`: not while a transaction would change them.
    /// Answered by `Reply::Offsets`, in the order asked.
    FetchOffsets {
        group: &'a str,
        partitions: Option<Vec<(&'a str, u32)>>,
        stable: bool,
    },
    /// Answered by `Reply::OffsetsCommitted`.
    DeleteOffsets {
        group: &'a str,
        partitions: Vec<(&'a str, u32)>,
    },
    /// `None`: all, without members. Answered by `Reply::Groups`.
    DescribeGroups {
        group: Option<&'a str>,
    },
    DeleteGroup {
        group: &'a str,
    },
}

impl Request<'_> {
    /// What it asks, for people.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Request::Authenticate { .. } => "authenticate",
            Request::OpenHost { .. } => "open host",
            Request::OpenScope { .. } => "open scope",
            Request::CloseScope { .. } => "close scope",
            Request::DeclareExchange(_) => "declare exchange",
            Request::DeleteExchange { .. } => "delete exchange",
            Request::DeclareQueue(_) => "declare queue",
            Request::DeleteQueue { .. } => "delete queue",
            Request::PurgeQueue { .. } => "purge queue",
            Request::Bind(_) => "bind",
            Request::Unbind(_) => "unbind",
            Request::Publish(_) => "publish",
            Request::Subscribe(_) => "subscribe",
            Request::Unsubscribe { .. } => "unsubscribe",
            Request::Prefetch { .. } => "prefetch",
            Request::Get { .. } => "get",
            Request::Settle { .. } => "settle",
            Request::Recover { .. } => "recover",
            Request::Begin { .. } => "begin",
            Request::Commit { .. } => "commit",
            Request::Rollback { .. } => "rollback",
            Request::CreateTopic(_) => "create topic",
            Request::DeleteTopic { .. } => "delete topic",
            Request::AddPartitions { .. } => "add partitions",
            Request::DescribeTopics { .. } => "describe topics",
            Request::DescribeConfig { .. } => "describe config",
            Request::AlterConfig { .. } => "alter config",
            Request::Produce(_) => "produce",
            Request::Fetch(_) => "fetch",
            Request::ListOffset { .. } => "list offset",
            Request::EpochEnd { .. } => "epoch end",
            Request::DeleteRecords { .. } => "delete records",
            Request::DescribeProducers { .. } => "describe producers",
            Request::DescribeSize { .. } => "describe size",
            Request::InitProducer { .. } => "init producer",
            Request::AddToTransaction { .. } => "add to transaction",
            Request::AddGroupToTransaction { .. } => "add group to transaction",
            Request::EndTransaction { .. } => "end transaction",
            Request::DescribeTransactions { .. } => "describe transactions",
            Request::JoinGroup(_) => "join group",
            Request::SyncGroup(_) => "sync group",
            Request::HeartbeatGroup(_) => "heartbeat group",
            Request::LeaveGroup(_) => "leave group",
            Request::CommitOffsets(_) => "commit offsets",
            Request::FetchOffsets { .. } => "fetch offsets",
            Request::DeleteOffsets { .. } => "delete offsets",
            Request::DescribeGroups { .. } => "describe groups",
            Request::DeleteGroup { .. } => "delete group",
        }
    }
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
