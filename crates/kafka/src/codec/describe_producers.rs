//! Key 61, DescribeProducers: the producers that partitions remember.
//!
//! Version 0, flexible.

use super::message::messages;

messages! {
    Request<'a> (0..=0, flexible 0) {
        topics: Vec<RequestTopic<'a>>,
    }

    RequestTopic<'a> {
        name: &'a str,
        partition_indexes: Vec<i32>,
    }

    Response<'a> (0..=0, flexible 0) {
        throttle_time_ms: i32,
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
        active_producers: Vec<Producer>,
    }

    Producer {
        producer_id: i64,
        producer_epoch: i32,
        last_sequence: i32 = -1,
        last_timestamp: i64 = -1,
        coordinator_epoch: i32,
        current_txn_start_offset: i64 = -1,
    }
}
