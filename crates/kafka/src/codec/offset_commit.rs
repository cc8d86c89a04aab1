//! Key 8, OffsetCommit: keep how far a group has read.
//!
//! Versions 2 to 9.
//!
//! - 2: retention time
//! - 3: throttle time
//! - 5: the retention time is the broker's own business again
//! - 6: leader epochs
//! - 7: static members
//! - 8: flexible
//! - 9: members of the consumer protocol of KIP-848, whose epoch stands in the generation's place

use super::message::messages;

messages! {
    Request<'a> (2..=9, flexible 8) {
        group_id: &'a str,
        generation_id_or_member_epoch: i32 = -1,
        member_id: &'a str,
        group_instance_id: Option<&'a str> [7..],
        retention_time_ms: i64 [..=4] = -1,
        topics: Vec<RequestTopic<'a>>,
    }

    RequestTopic<'a> {
        name: &'a str,
        partitions: Vec<RequestPartition<'a>>,
    }

    RequestPartition<'a> {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [6..] = -1,
        committed_metadata: Option<&'a str>,
    }

    Response<'a> (2..=9, flexible 8) {
        throttle_time_ms: i32 [3..],
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
