//! Key 55, DescribeQuorum: who keeps the cluster's metadata (KIP-595, KIP-836, KIP-853).
//!
//! Versions 0 to 2.
//!
//! - 0: flexible
//! - 1: when a replica fetched last, and was caught up last
//! - 2: error texts, directory ids, and where the nodes are

use super::message::messages;
use super::wire::Uuid;

messages! {
    Request<'a> (0..=2, flexible 0) {
        topics: Vec<RequestTopic<'a>>,
    }

    RequestTopic<'a> {
        topic_name: &'a str,
        partitions: Vec<RequestPartition>,
    }

    RequestPartition {
        partition_index: i32,
    }

    Response<'a> (0..=2, flexible 0) {
        error_code: i16,
        error_message: Option<&'a str> [2..],
        topics: Vec<Topic<'a>>,
        nodes: Vec<Node<'a>> [2..],
    }

    Topic<'a> {
        topic_name: &'a str,
        partitions: Vec<Partition<'a>>,
    }

    Partition<'a> {
        partition_index: i32,
        error_code: i16,
        error_message: Option<&'a str> [2..],
        leader_id: i32,
        leader_epoch: i32,
        high_watermark: i64,
        current_voters: Vec<Replica>,
        observers: Vec<Replica>,
    }

    Replica {
        replica_id: i32,
        replica_directory_id: Uuid [2..],
        log_end_offset: i64,
        last_fetch_timestamp: i64 [1..] = -1,
        last_caught_up_timestamp: i64 [1..] = -1,
    }

    Node<'a> {
        node_id: i32,
        listeners: Vec<Listener<'a>>,
    }

    Listener<'a> {
        name: &'a str,
        host: &'a str,
        port: u16,
    }
}
