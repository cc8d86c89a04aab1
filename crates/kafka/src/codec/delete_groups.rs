//! Key 42, DeleteGroups.
//!
//! Versions 0 to 2.
//!
//! - 2: flexible

use super::message::messages;

messages! {
    Request<'a> (0..=2, flexible 2) {
        groups: Vec<&'a str>,
    }

    Response<'a> (0..=2, flexible 2) {
        throttle_time_ms: i32,
        groups: Vec<Group<'a>>,
    }

    Group<'a> {
        group_id: &'a str,
        error_code: i16,
    }
}
