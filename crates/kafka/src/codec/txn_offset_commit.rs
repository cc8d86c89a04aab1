//! Key 28, TxnOffsetCommit: keep how far a group has read, once the transaction commits.
//!
//! Versions 0 to 5.
//!
//! - 2: leader epochs
//! - 3: flexible; member, generation and static member, which are checked
//! - 4: TRANSACTION_ABORTABLE may come back
//! - 5: the group joins the transaction by this (KIP-890)

use super::message::messages;

messages! {
    Request<'a> (0..=5, flexible 3) {
        transactional_id: &'a str,
        group_id: &'a str,
        producer_id: i64,
        producer_epoch: i16,
        generation_id: i32 [3..] = -1,
        member_id: &'a str [3..],
        group_instance_id: Option<&'a str> [3..],
        topics: Vec<RequestTopic<'a>>,
    }

    RequestTopic<'a> {
        name: &'a str,
        partitions: Vec<RequestPartition<'a>>,
    }

    RequestPartition<'a> {
        partition_index: i32,
        committed_offset: i64,
        committed_leader_epoch: i32 [2..] = -1,
        committed_metadata: Option<&'a str>,
    }

    Response<'a> (0..=5, flexible 3) {
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
