//! How far clients can make things grow. A queue, buffer or loop without any bound is a bug; what a part of the house
//! keeps for its own work is bounded by a constant in its file.

/// Largest message body, in bytes (RabbitMQ 4's default `max_message_size`).
pub const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest batch of records that a topic can be set to take, in bytes: one with a record of 16 MiB.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024 + 61;
/// Records that are named at most where a batch is refused for what is in it.
pub const BAD_RECORDS_MAX: usize = 1_000;
/// Largest name of an exchange, queue, key or subscription, in bytes (an AMQP short string).
pub const NAME_BYTES_MAX: usize = 255;
/// Largest name that Kafka's clients make up: of a group, a member, a client, a protocol, a transaction; in bytes.
pub const CLIENT_NAME_BYTES_MAX: usize = 1024;
/// Largest value of a topic's setting, in bytes.
pub const CONFIG_VALUE_BYTES_MAX: usize = 4096;
/// Deepest nesting of lists and tables in values from the wire.
pub const VALUE_DEPTH_MAX: usize = 32;
/// Subscriptions that one scope may hold.
pub const SUBSCRIPTIONS_PER_SCOPE_MAX: usize = 4_096;
/// Unsettled deliveries that one scope may hold when its client sets no prefetch.
pub const UNACKED_PER_SCOPE_MAX: usize = 2_000_000;
/// Messages and settlements that one transaction may gather before it must commit, in bytes.
pub const TRANSACTION_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that may wait in a session's [`crate::Output`] before deliveries to it pause.
pub const OUTPUT_BYTES_HIGH: usize = 512 * 1024;
/// Bytes of one answer, beyond which the session is closed instead: its client asks for too much at once.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What one fetch returns at most, in bytes, but for a first batch that is larger by itself.
pub const FETCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Record bytes of at least this length are handed to the socket as a slice instead of a copy.
pub const SHARED_SLICE_BYTES_MIN: usize = 8 * 1024;
/// Journal bytes appended and not yet durable at which publishers are made to wait.
pub const UNSYNCED_BYTES_HIGH: u64 = 32 * 1024 * 1024;
/// Queues of one node.
pub const QUEUES_MAX: usize = 200_000;
/// Exchanges of one node.
pub const EXCHANGES_MAX: usize = 100_000;
/// Partitions of all topics of one node.
pub const PARTITIONS_MAX: usize = 100_000;
/// Producers that one partition remembers, beside those with a transaction open in it.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 2_000;
/// Transactional ids of one node.
pub const TRANSACTIONAL_IDS_MAX: usize = 100_000;
/// What all transactional ids of one node may take in memory, about, in bytes, with what belongs to their open transactions.
pub const TRANSACTIONS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Aborted transactions whose records all partitions of one node hold: each is remembered, in 32 bytes, for each partition.
pub const ABORTED_TRANSACTIONS_MAX: usize = 8_000_000;
/// What one connection may have remembered of what it reads, about, in bytes.
pub const FETCH_SESSION_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Consumer groups of one node.
pub const GROUPS_MAX: usize = 100_000;
/// What all groups of one node may take in memory, about, in bytes: members' metadata, assignments, committed offsets.
pub const GROUPS_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Members of one group, and as many ids given out to those who are about to join.
pub const GROUP_MEMBERS_MAX: usize = 4_096;
/// What the members of one group may take in one entry of the catalog, in bytes.
pub const GROUP_BYTES_MAX: usize = 24 * 1024 * 1024;
/// What one member may say of itself: its names, its protocols and their metadata, in bytes.
pub const MEMBER_BYTES_MAX: usize = 1024 * 1024;
/// Protocols that one member may know.
pub const GROUP_PROTOCOLS_MAX: usize = 64;
/// Bindings of one node.
pub const BINDINGS_MAX: usize = 2_000_000;

/// Largest record batch, in bytes: a body with its properties and the batch's own header.
pub const RECORD_BYTES_MAX: usize = BODY_BYTES_MAX + 1024 * 1024;
/// Payload bytes of one journal segment file.
pub const JOURNAL_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

const _: () = assert!(RECORD_BYTES_MAX as u64 * 2 < JOURNAL_SEGMENT_BYTES);
const _: () = assert!(GROUP_BYTES_MAX as u64 + 1024 * 1024 < JOURNAL_SEGMENT_BYTES);
const _: () = assert!(OUTPUT_BYTES_HIGH < ANSWER_BYTES_MAX);
const _: () = assert!(FETCH_BYTES_MAX + RECORD_BYTES_MAX < ANSWER_BYTES_MAX && GROUP_BYTES_MAX * 2 < ANSWER_BYTES_MAX);

/// As much of what a client says as a line of the log repeats.
#[must_use]
pub fn for_the_log(text: &str) -> &str {
    text.get(..text.floor_char_boundary(NAME_BYTES_MAX)).unwrap_or_default()
}
