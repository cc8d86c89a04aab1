//! Key 1, Fetch: read record batches, waiting for them.
//!
//! Versions 4 to 18. A response's `records` are slices of shared buffers: [`put_partition_head`] writes what stands before
//! them, their length included, and [`put_partition_tail`] what comes behind.
//!
//! - 4: `isolation_level` (0 read uncommitted, 1 read committed), last stable offset and aborted transactions
//! - 5: log start offsets
//! - 7: fetch sessions (KIP-227)
//! - 9: `current_leader_epoch`
//! - 10: zstd may come back
//! - 11: `rack_id` and `preferred_read_replica` (KIP-392)
//! - 12: flexible; `last_fetched_epoch`, diverging epoch, current leader
//! - 13: topics by id
//! - 14: OFFSET_MOVED_TO_TIERED_STORAGE may come back
//! - 15: `replica_state` instead of `replica_id` (brokers only)
//! - 16: endpoints of current leaders come back
//! - 17, 18: a replica's directory and high watermark (brokers only)

use super::message::{Message, messages};
use super::wire::{Uuid, Wire, put_length, put_no_tags};

messages! {
    Request<'a> (4..=18, flexible 12) {
        cluster_id: Option<&'a str> [12.., tag 0],
        replica_id: i32 [..=14] = -1,
        replica_state: ReplicaState [15.., tag 1],
        max_wait_ms: i32,
        min_bytes: i32,
        max_bytes: i32 = i32::MAX,
        isolation_level: i8,
        session_id: i32 [7..],
        session_epoch: i32 [7..] = -1,
        topics: Vec<RequestTopic<'a>>,
        forgotten_topics: Vec<ForgottenTopic<'a>> [7..],
        rack_id: &'a str [11..],
    }

    ReplicaState {
        replica_id: i32 = -1,
        replica_epoch: i64 = -1,
    }

    RequestTopic<'a> {
        topic: &'a str [..=12],
        topic_id: Uuid [13..],
        partitions: Vec<RequestPartition>,
    }

    RequestPartition {
        partition: i32,
        current_leader_epoch: i32 [9..] = -1,
        fetch_offset: i64,
        last_fetched_epoch: i32 [12..] = -1,
        log_start_offset: i64 [5..] = -1,
        partition_max_bytes: i32,
        replica_directory_id: Uuid [17.., tag 0],
        high_watermark: i64 [18.., tag 1] = i64::MAX,
    }

    ForgottenTopic<'a> {
        topic: &'a str [..=12],
        topic_id: Uuid [13..],
        partitions: Vec<i32>,
    }

    Response<'a> (4..=18, flexible 12) {
        throttle_time_ms: i32,
        error_code: i16 [7..],
        session_id: i32 [7..],
        topics: Vec<Topic<'a>>,
        node_endpoints: Vec<NodeEndpoint<'a>> [16.., tag 0],
    }

    Topic<'a> {
        topic: &'a str [..=12],
        topic_id: Uuid [13..],
        partitions: Vec<Partition<'a>>,
    }

    Partition<'a> {
        partition_index: i32,
        error_code: i16,
        high_watermark: i64,
        last_stable_offset: i64 = -1,
        log_start_offset: i64 [5..] = -1,
        diverging_epoch: EpochEndOffset [12.., tag 0],
        current_leader: Leader [12.., tag 1],
        snapshot_id: SnapshotId [12.., tag 2],
        aborted_transactions: Option<Vec<AbortedTransaction>>,
        preferred_read_replica: i32 [11..] = -1,
        records: Option<&'a [u8]>,
    }

    EpochEndOffset {
        epoch: i32 = -1,
        end_offset: i64 = -1,
    }

    Leader {
        leader_id: i32 = -1,
        leader_epoch: i32 = -1,
    }

    SnapshotId {
        end_offset: i64 = -1,
        epoch: i32 = -1,
    }

    AbortedTransaction {
        producer_id: i64,
        first_offset: i64,
    }

    NodeEndpoint<'a> {
        node_id: i32,
        host: &'a str,
        port: i32,
        rack: Option<&'a str>,
    }
}

/// Begin a response in pieces: what stands before its topics, of which there are `topics`. Those of `response` itself are
/// not looked at. For each topic follow [`put_topic_head`], the partitions and [`put_topic_tail`], at last [`put_tail`].
pub fn put_head(out: &mut Vec<u8>, version: i16, response: &Response<'_>, topics: usize) {
    let at = Response::version(version);
    response.throttle_time_ms.put(out, at);
    if version >= 7 {
        response.error_code.put(out, at);
        response.session_id.put(out, at);
    }
    put_length(out, at, Some(topics));
}

/// Begin a topic of so many partitions. Which of name and id is written depends on the version.
pub fn put_topic_head(out: &mut Vec<u8>, version: i16, topic: &str, topic_id: Uuid, partitions: usize) {
    let at = Response::version(version);
    if version >= 13 {
        topic_id.put(out, at)
    } else {
        topic.put(out, at)
    }
    put_length(out, at, Some(partitions));
}

/// Append what stands before a partition's records: `records_len` bytes of records must follow, then
/// [`put_partition_tail`].
///
/// # Panics
/// Where `partition` has records of its own.
pub fn put_partition_head(out: &mut Vec<u8>, version: i16, partition: &Partition<'_>, records_len: usize) {
    assert!(partition.records.is_none(), "records in two places");
    let at = Response::version(version);
    partition.put_fields(out, at);
    // Records are the last field, here a null of fixed length.
    out.truncate(out.len() - Option::<&[u8]>::smallest(at));
    put_length(out, at, Some(records_len));
}

/// Append what stands behind a partition's records.
pub fn put_partition_tail(out: &mut Vec<u8>, version: i16, partition: &Partition<'_>) {
    partition.put_tags(out, Response::version(version));
}

/// End a topic.
pub fn put_topic_tail(out: &mut Vec<u8>, version: i16) {
    put_no_tags(out, Response::version(version));
}

/// End the response with its tagged fields.
pub fn put_tail(out: &mut Vec<u8>, version: i16, response: &Response<'_>) {
    response.put_tags(out, Response::version(version));
}
