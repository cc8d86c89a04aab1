//! Key 10, FindCoordinator: which broker answers for a group or a transactional id.
//!
//! Versions 0 to 6. `key_type` is 0 for a group, 1 for a transactional id, 2 for a share group's partition.
//!
//! - 1: `key_type`; throttle time and error message
//! - 3: flexible
//! - 4: several keys in `coordinator_keys`, answered in `coordinators`
//! - 5: TRANSACTION_ABORTABLE may come back
//! - 6: share groups

use super::message::messages;

messages! {
    Request<'a> (0..=6, flexible 3) {
        key: &'a str [..=3],
        key_type: i8 [1..],
        coordinator_keys: Vec<&'a str> [4..],
    }

    Response<'a> (0..=6, flexible 3) {
        throttle_time_ms: i32 [1..],
        error_code: i16 [..=3],
        error_message: Option<&'a str> [1..=3],
        node_id: i32 [..=3],
        host: &'a str [..=3],
        port: i32 [..=3],
        coordinators: Vec<Coordinator<'a>> [4..],
    }

    Coordinator<'a> {
        key: &'a str,
        node_id: i32,
        host: &'a str,
        port: i32,
        error_code: i16,
        error_message: Option<&'a str>,
    }
}
