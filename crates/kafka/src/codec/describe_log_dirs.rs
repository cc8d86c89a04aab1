//! Key 35, DescribeLogDirs: how much each partition takes on disk.
//!
//! Versions 1 to 4.
//!
//! - 2: flexible
//! - 3: an error for the whole response
//! - 4: total and usable bytes of the disk

use super::message::messages;

messages! {
    Request<'a> (1..=4, flexible 2) {
        topics: Option<Vec<RequestTopic<'a>>>,
    }

    RequestTopic<'a> {
        topic: &'a str,
        partitions: Vec<i32>,
    }

    Response<'a> (1..=4, flexible 2) {
        throttle_time_ms: i32,
        error_code: i16 [3..],
        log_dirs: Vec<LogDir<'a>>,
    }

    LogDir<'a> {
        error_code: i16,
        log_dir: &'a str,
        topics: Vec<Topic<'a>>,
        total_bytes: i64 [4..] = -1,
        usable_bytes: i64 [4..] = -1,
    }

    Topic<'a> {
        name: &'a str,
        partitions: Vec<Partition>,
    }

    Partition {
        partition_index: i32,
        partition_size: i64,
        offset_lag: i64,
        is_future_key: bool,
    }
}
