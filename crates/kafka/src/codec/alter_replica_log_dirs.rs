//! Key 34, AlterReplicaLogDirs: move replicas between the directories of one broker.
//!
//! Versions 1 and 2.
//!
//! - 2: flexible

use super::message::messages;

messages! {
    Request<'a> (1..=2, flexible 2) {
        dirs: Vec<Directory<'a>>,
    }

    Directory<'a> {
        path: &'a str,
        topics: Vec<RequestTopic<'a>>,
    }

    RequestTopic<'a> {
        name: &'a str,
        partitions: Vec<i32>,
    }

    Response<'a> (1..=2, flexible 2) {
        throttle_time_ms: i32,
        results: Vec<Topic<'a>>,
    }

    Topic<'a> {
        topic_name: &'a str,
        partitions: Vec<Partition>,
    }

    Partition {
        partition_index: i32,
        error_code: i16,
    }
}
