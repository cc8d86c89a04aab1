//! Key 14, SyncGroup: the leader hands in the assignment, every member gets its part.
//!
//! Versions 0 to 5.
//!
//! - 1: throttle time
//! - 3: static members
//! - 4: flexible
//! - 5: `protocol_type` and `protocol_name`, both ways, to be compared with the group's

use super::message::messages;

messages! {
    Request<'a> (0..=5, flexible 4) {
        group_id: &'a str,
        generation_id: i32,
        member_id: &'a str,
        group_instance_id: Option<&'a str> [3..],
        protocol_type: Option<&'a str> [5..],
        protocol_name: Option<&'a str> [5..],
        assignments: Vec<Assignment<'a>>,
    }

    Assignment<'a> {
        member_id: &'a str,
        assignment: &'a [u8],
    }

    Response<'a> (0..=5, flexible 4) {
        throttle_time_ms: i32 [1..],
        error_code: i16,
        protocol_type: Option<&'a str> [5..],
        protocol_name: Option<&'a str> [5..],
        assignment: &'a [u8],
    }
}
