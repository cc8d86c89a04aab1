//! Key 60, DescribeCluster. `endpoint_type` is 1 brokers, 2 controllers.
//!
//! Versions 0 to 2.
//!
//! - 0: flexible
//! - 1: `endpoint_type`
//! - 2: fenced brokers

use super::message::messages;

messages! {
    Request (0..=2, flexible 0) {
        include_cluster_authorized_operations: bool,
        endpoint_type: i8 [1..] = 1,
        include_fenced_brokers: bool [2..],
    }

    Response<'a> (0..=2, flexible 0) {
        throttle_time_ms: i32,
        error_code: i16,
        error_message: Option<&'a str>,
        endpoint_type: i8 [1..] = 1,
        cluster_id: &'a str,
        controller_id: i32 = -1,
        brokers: Vec<Broker<'a>>,
        cluster_authorized_operations: i32 = i32::MIN,
    }

    Broker<'a> {
        broker_id: i32,
        host: &'a str,
        port: i32,
        rack: Option<&'a str>,
        is_fenced: bool [2..],
    }
}
