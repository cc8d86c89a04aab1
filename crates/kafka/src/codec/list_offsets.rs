//! Key 2, ListOffsets: the offset that belongs to a time.
//!
//! Versions 1 to 10. Special times: -1 latest, -2 earliest, -3 the largest timestamp (7), -4 earliest that is local (8),
//! -5 last that is tiered (9).
//!
//! - 1: one offset and its timestamp, not a list
//! - 2: `isolation_level`; throttle time
//! - 4: leader epochs
//! - 5: OFFSET_NOT_AVAILABLE may come back
//! - 6: flexible
//! - 10: `timeout_ms`, for answers that wait for a remote store

use super::message::messages;

messages! {
    Request<'a> (1..=10, flexible 6) {
        replica_id: i32,
        isolation_level: i8 [2..],
        topics: Vec<RequestTopic<'a>>,
        timeout_ms: i32 [10..],
    }

    RequestTopic<'a> {
        name: &'a str,
        partitions: Vec<RequestPartition>,
    }

    RequestPartition {
        partition_index: i32,
        current_leader_epoch: i32 [4..] = -1,
        timestamp: i64,
    }

    Response<'a> (1..=10, flexible 6) {
        throttle_time_ms: i32 [2..],
        topics: Vec<Topic<'a>>,
    }

    Topic<'a> {
        name: &'a str,
        partitions: Vec<Partition>,
    }

    Partition {
        partition_index: i32,
        error_code: i16,
        timestamp: i64 = -1,
        offset: i64 = -1,
        leader_epoch: i32 [4..] = -1,
    }
}
