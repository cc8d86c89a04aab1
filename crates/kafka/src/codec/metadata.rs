//! Key 3, Metadata: brokers, and the partitions of topics with their leaders.
//!
//! Versions 0 to 13. `topics` null asks for all and an empty list for none; in version 0 the empty list asks for all.
//! Operations that were not asked for are `i32::MIN`.
//!
//! - 1: racks, controller, internal topics
//! - 2: cluster id
//! - 3: throttle time
//! - 4: `allow_auto_topic_creation`
//! - 5: offline replicas
//! - 7: leader epochs
//! - 8: authorized operations
//! - 9: flexible
//! - 10: topic ids come back
//! - 11: the cluster's operations have gone to DescribeCluster
//! - 12: topics may be asked for by id
//! - 13: an error for the whole response (KIP-1102)

use super::message::messages;
use super::wire::Uuid;

messages! {
    Request<'a> (0..=13, flexible 9) {
        topics: Option<Vec<RequestTopic<'a>>> [.., nullable 1..],
        allow_auto_topic_creation: bool [4..] = true,
        include_cluster_authorized_operations: bool [8..=10],
        include_topic_authorized_operations: bool [8..],
    }

    RequestTopic<'a> {
        topic_id: Uuid [10..],
        name: Option<&'a str> [.., nullable 10..],
    }

    Response<'a> (0..=13, flexible 9) {
        throttle_time_ms: i32 [3..],
        brokers: Vec<Broker<'a>>,
        cluster_id: Option<&'a str> [2..],
        controller_id: i32 [1..] = -1,
        topics: Vec<Topic<'a>>,
        cluster_authorized_operations: i32 [8..=10] = i32::MIN,
        error_code: i16 [13..],
    }

    Broker<'a> {
        node_id: i32,
        host: &'a str,
        port: i32,
        rack: Option<&'a str> [1..],
    }

    Topic<'a> {
        error_code: i16,
        name: Option<&'a str> [.., nullable 12..],
        topic_id: Uuid [10..],
        is_internal: bool [1..],
        partitions: Vec<Partition>,
        topic_authorized_operations: i32 [8..] = i32::MIN,
    }

    Partition {
        error_code: i16,
        partition_index: i32,
        leader_id: i32,
        leader_epoch: i32 [7..] = -1,
        replica_nodes: Vec<i32>,
        isr_nodes: Vec<i32>,
        offline_replicas: Vec<i32> [5..],
    }
}
