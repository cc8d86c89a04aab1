//! Key 23, OffsetForLeaderEpoch: where a leader epoch ended, so that a client sees what was cut off.
//!
//! Versions 2 to 4.
//!
//! - 3: `replica_id`; consumers send -1
//! - 4: flexible

use super::message::messages;

messages! {
    Request<'a> (2..=4, flexible 4) {
        replica_id: i32 [3..] = -2,
        topics: Vec<RequestTopic<'a>>,
    }

    RequestTopic<'a> {
        topic: &'a str,
        partitions: Vec<RequestPartition>,
    }

    RequestPartition {
        partition: i32,
        current_leader_epoch: i32 = -1,
        leader_epoch: i32,
    }

    Response<'a> (2..=4, flexible 4) {
        throttle_time_ms: i32,
        topics: Vec<Topic<'a>>,
    }

    Topic<'a> {
        topic: &'a str,
        partitions: Vec<Partition>,
    }

    Partition {
        error_code: i16,
        partition: i32,
        leader_epoch: i32 = -1,
        end_offset: i64 = -1,
    }
}
