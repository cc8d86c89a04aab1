//! Key 9, OffsetFetch: how far groups have read.
//!
//! Versions 1 to 9. `topics` null asks for all topics that the group has offsets of.
//!
//! - 2: topics may be null; an error for the whole group
//! - 3: throttle time
//! - 5: leader epochs
//! - 6: flexible
//! - 7: `require_stable`: UNSTABLE_OFFSET_COMMIT while a transaction's commit is pending
//! - 8: several groups in `groups`, which replaces `group_id` and `topics`
//! - 9: members of the consumer protocol of KIP-848

use super::message::messages;

messages! {
    Request<'a> (1..=9, flexible 6) {
        group_id: &'a str [..=7],
        topics: Option<Vec<RequestTopic<'a>>> [..=7, nullable 2..],
        groups: Vec<RequestGroup<'a>> [8..],
        require_stable: bool [7..],
    }

    RequestTopic<'a> {
        name: &'a str,
        partition_indexes: Vec<i32>,
    }

    RequestGroup<'a> {
        group_id: &'a str,
        member_id: Option<&'a str> [9..],
        member_epoch: i32 [9..] = -1,
        topics: Option<Vec<RequestTopic<'a>>>,
    }

    Response<'a> (1..=9, flexible 6) {
        throttle_time_ms: i32 [3..],
        topics: Vec<Topic<'a>> [..=7],
        error_code: i16 [2..=7],
        groups: Vec<Group<'a>> [8..],
    }

    Topic<'a> {
        name: &'a str,
        partitions: Vec<Partition<'a>>,
    }

    Partition<'a> {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [5..] = -1,
        metadata: Option<&'a str>,
        error_code: i16,
    }

    Group<'a> {
        group_id: &'a str,
        topics: Vec<Topic<'a>>,
        error_code: i16,
    }
}
