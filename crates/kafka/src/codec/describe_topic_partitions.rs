//! Key 75, DescribeTopicPartitions: Metadata for many partitions, in pages. A null `next_cursor` is the end.
//!
//! Version 0, flexible.

use super::message::messages;
use super::wire::Uuid;

messages! {
    Request<'a> (0..=0, flexible 0) {
        topics: Vec<RequestTopic<'a>>,
        response_partition_limit: i32 = 2000,
        cursor: Option<Cursor<'a>>,
    }

    RequestTopic<'a> {
        name: &'a str,
    }

    Cursor<'a> {
        topic_name: &'a str,
        partition_index: i32,
    }

    Response<'a> (0..=0, flexible 0) {
        throttle_time_ms: i32,
        topics: Vec<Topic<'a>>,
        next_cursor: Option<Cursor<'a>>,
    }

    Topic<'a> {
        error_code: i16,
        name: Option<&'a str>,
        topic_id: Uuid,
        is_internal: bool,
        partitions: Vec<Partition>,
        topic_authorized_operations: i32 = i32::MIN,
    }

    Partition {
        error_code: i16,
        partition_index: i32,
        leader_id: i32,
        leader_epoch: i32 = -1,
        replica_nodes: Vec<i32>,
        isr_nodes: Vec<i32>,
        eligible_leader_replicas: Option<Vec<i32>>,
        last_known_elr: Option<Vec<i32>>,
        offline_replicas: Vec<i32>,
    }
}
