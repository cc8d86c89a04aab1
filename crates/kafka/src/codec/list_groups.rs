//! Key 16, ListGroups: the groups of this broker.
//!
//! Versions 0 to 5.
//!
//! - 1: throttle time
//! - 3: flexible
//! - 4: `states_filter` and `group_state`
//! - 5: `types_filter` and `group_type`

use super::message::messages;

messages! {
    Request<'a> (0..=5, flexible 3) {
        states_filter: Vec<&'a str> [4..],
        types_filter: Vec<&'a str> [5..],
    }

    Response<'a> (0..=5, flexible 3) {
        throttle_time_ms: i32 [1..],
        error_code: i16,
        groups: Vec<Group<'a>>,
    }

    Group<'a> {
        group_id: &'a str,
        protocol_type: &'a str,
        group_state: &'a str [4..],
        group_type: &'a str [5..],
    }
}
