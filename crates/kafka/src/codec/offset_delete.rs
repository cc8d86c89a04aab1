//! Key 47, OffsetDelete: forget a group's offsets.
//!
//! Version 0; never flexible.

use super::message::messages;

messages! {
    Request<'a> (0..=0) {
        group_id: &'a str,
        topics: Vec<RequestTopic<'a>>,
    }

    RequestTopic<'a> {
        name: &'a str,
        partitions: Vec<RequestPartition>,
    }

    RequestPartition {
        partition_index: i32,
    }

    Response<'a> (0..=0) {
        error_code: i16,
        throttle_time_ms: i32,
        topics: Vec<Topic<'a>>,
    }

    Topic<'a> {
        name: &'a str,
        partitions: Vec<Partition>,
    }

    Partition {
        partition_index: i32,
        error_code: i16,
    }
}
