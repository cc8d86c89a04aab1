//! Key 46, ListPartitionReassignments: moves of replicas under way. `topics` null asks for all.
//!
//! Version 0, flexible.

use super::message::messages;

messages! {
    Request<'a> (0..=0, flexible 0) {
        timeout_ms: i32 = 60000,
        topics: Option<Vec<RequestTopic<'a>>>,
    }

    RequestTopic<'a> {
        name: &'a str,
        partition_indexes: Vec<i32>,
    }

    Response<'a> (0..=0, flexible 0) {
        throttle_time_ms: i32,
        error_code: i16,
        error_message: Option<&'a str>,
        topics: Vec<Topic<'a>>,
    }

    Topic<'a> {
        name: &'a str,
        partitions: Vec<Partition>,
    }

    Partition {
        partition_index: i32,
        replicas: Vec<i32>,
        adding_replicas: Vec<i32>,
        removing_replicas: Vec<i32>,
    }
}
