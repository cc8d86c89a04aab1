//! Key 45, AlterPartitionReassignments: move replicas. `replicas` null cancels a move.
//!
//! Versions 0 and 1.
//!
//! - 0: flexible
//! - 1: `allow_replication_factor_change`

use super::message::messages;

messages! {
    Request<'a> (0..=1, flexible 0) {
        timeout_ms: i32 = 60000,
        allow_replication_factor_change: bool [1..] = true,
        topics: Vec<RequestTopic<'a>>,
    }

    RequestTopic<'a> {
        name: &'a str,
        partitions: Vec<RequestPartition>,
    }

    RequestPartition {
        partition_index: i32,
        replicas: Option<Vec<i32>>,
    }

    Response<'a> (0..=1, flexible 0) {
        throttle_time_ms: i32,
        allow_replication_factor_change: bool [1..] = true,
        error_code: i16,
        error_message: Option<&'a str>,
        topics: Vec<Topic<'a>>,
    }

    Topic<'a> {
        name: &'a str,
        partitions: Vec<Partition<'a>>,
    }

    Partition<'a> {
        partition_index: i32,
        error_code: i16,
        error_message: Option<&'a str>,
    }
}
