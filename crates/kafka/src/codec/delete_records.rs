//! Key 21, DeleteRecords: move the beginning of a partition. Offset -1 stands for the high watermark.
//!
//! Versions 0 to 2.
//!
//! - 2: flexible

use super::message::messages;

messages! {
    Request<'a> (0..=2, flexible 2) {
        topics: Vec<RequestTopic<'a>>,
        timeout_ms: i32,
    }

    RequestTopic<'a> {
        name: &'a str,
        partitions: Vec<RequestPartition>,
    }

    RequestPartition {
        partition_index: i32,
        offset: i64,
    }

    Response<'a> (0..=2, flexible 2) {
        throttle_time_ms: i32,
        topics: Vec<Topic<'a>>,
    }

    Topic<'a> {
        name: &'a str,
        partitions: Vec<Partition>,
    }

    Partition {
        partition_index: i32,
        low_watermark: i64,
        error_code: i16,
    }
}
