//! Key 12, Heartbeat: a member is alive; the answer tells it of a rebalance.
//!
//! Versions 0 to 4.
//!
//! - 1: throttle time
//! - 3: static members
//! - 4: flexible

use super::message::messages;

messages! {
    Request<'a> (0..=4, flexible 4) {
        group_id: &'a str,
        generation_id: i32,
        member_id: &'a str,
        group_instance_id: Option<&'a str> [3..],
    }

    Response (0..=4, flexible 4) {
        throttle_time_ms: i32 [1..],
        error_code: i16,
    }
}
