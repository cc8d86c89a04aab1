//! Topics: named sets of partitions, each an append-only log that is read by offset and not taken from.
//!
//! A partition holds record batches as producers wrote them ([`crate::record`]); a batch of `n` records takes `n`
//! offsets. Readers see nothing above the *high watermark*, below which everything is durable, and committed readers
//! nothing above the *last stable offset*, below which every transaction has ended.

use std::sync::Arc;

use bytes::Bytes;

use crate::Lsn;

/// A topic's identity: random, never reused, not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct TopicId(pub u128);

/// A topic by name or by identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicRef<'a> {
    Name(&'a str),
    Id(TopicId),
}

/// As [`TopicRef`], for those who keep it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicKey {
    Name(Arc<str>),
    Id(TopicId),
}

impl TopicKey {
    #[must_use]
    pub fn as_ref(&self) -> TopicRef<'_> {
        match self {
            TopicKey::Name(name) => TopicRef::Name(name),
            TopicKey::Id(id) => TopicRef::Id(*id),
        }
    }
}

/// Make a topic.
pub struct CreateTopic<'a> {
    pub name: &'a str,
    /// `None`: as many as the broker is configured to give.
    pub partitions: Option<u32>,
    /// `None` as a value: the default.
    pub config: &'a [(String, Option<String>)],
    /// Only say whether it could be made.
    pub validate_only: bool,
    /// Nobody asked for it but by using it: refused as unknown where the broker does not make topics by itself.
    pub automatic: bool,
}

/// What is known of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub name: Arc<str>,
    pub id: TopicId,
    /// Made by the broker for itself or for its users' tools.
    pub internal: bool,
    pub partitions: u32,
}

/// What a configuration belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigOf<'a> {
    Topic(&'a str),
    Broker,
}

/// The type of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigKind {
    Boolean,
    String,
    Int,
    Long,
    Double,
    List,
}

/// Where a setting's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set for this topic.
    Topic,
    /// The broker's configuration.
    Broker,
    Default,
}

/// One setting as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: &'static str,
    pub value: Option<String>,
    pub default: Option<String>,
    pub source: ConfigSource,
    pub kind: ConfigKind,
    pub read_only: bool,
    pub documentation: &'static str,
}

/// One change of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    pub name: String,
    pub operation: ConfigOperation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOperation {
    Set(String),
    /// Back to the default.
    Delete,
    /// Add to a list.
    Append(String),
    /// Take from a list.
    Subtract(String),
}

/// Append one batch to a partition.
pub struct Produce<'a> {
    pub topic: TopicRef<'a>,
    pub partition: u32,
    /// What the producer sent for this partition: exactly one batch, or it is refused.
    pub records: &'a [u8],
    /// The producer's transaction, as it says.
    pub transactional_id: Option<&'a str>,
    /// A batch of a transaction that has not been announced for this partition announces it (Kafka's TV2).
    pub implicit: bool,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    pub base_offset: i64,
    /// The broker's time where the topic is stamped by it; otherwise -1.
    pub append_time_ms: i64,
    pub log_start: i64,
    /// Safe from here on. A duplicate of a batch that is not safe yet waits for it too.
    pub durable_at: Lsn,
}

/// Read several partitions.
pub struct Fetch<'a> {
    pub partitions: &'a [FetchFrom],
    /// Wait until there is so much, over all partitions, in bytes; 0: do not wait.
    pub min_bytes: usize,
    /// Stop when there is so much; the first batch is returned whatever its size.
    pub max_bytes: usize,
    pub max_wait_ms: u64,
    /// Nothing above the last stable offset, and what was aborted is named.
    pub committed_only: bool,
    /// The reader knows what it was told before: where the first partitions are enough of an answer, it ends with them.
    pub incremental: bool,
}

/// Where to read one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchFrom {
    pub topic: TopicKey,
    pub partition: u32,
    pub offset: i64,
    pub max_bytes: usize,
    /// The leader epoch the reader believes in; `None`: it does not check.
    pub current_epoch: Option<i32>,
}

/// What was read of one partition, in the order asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    pub failure: Option<crate::LogFailure>,
    pub high_watermark: i64,
    pub last_stable: i64,
    pub log_start: i64,
    /// Transactions that were aborted and touch what was read: (producer id, first offset). Only for committed readers.
    pub aborted: Vec<(i64, i64)>,
    pub batches: Vec<FetchedBatch>,
}

impl Fetched {
    /// Bytes of all batches.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.bytes.len()).sum()
    }
}

/// One batch, as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedBatch {
    /// To be written over the first eight bytes; the batch may lie in several logs at once.
    pub base_offset: i64,
    pub bytes: Bytes,
}

/// Which offset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetAt {
    Earliest,
    /// One past the last that readers of this isolation see.
    Latest,
    /// The record with the highest time stamp.
    MaxTimestamp,
    /// The first record at or after this time, in ms since the Unix epoch.
    Timestamp(i64),
}

/// An offset that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// -1: there is none.
    pub offset: i64,
    /// -1 where it does not belong to a record.
    pub timestamp_ms: i64,
    /// The leader epoch of that offset; -1: none.
    pub leader_epoch: i32,
}

/// A producer that is known to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    pub producer_id: i64,
    pub epoch: i16,
    /// The last sequence number; -1: none.
    pub last_sequence: i32,
    pub last_timestamp_ms: i64,
    /// Where its open transaction begins in the partition; -1: none is open.
    pub transaction_start: i64,
}
