//! Key 13, LeaveGroup: members go before their session ends.
//!
//! Versions 0 to 5.
//!
//! - 1: throttle time
//! - 3: several members, static ones too, in `members`, which replaces `member_id`
//! - 4: flexible
//! - 5: `reason`

use super::message::messages;

messages! {
    Request<'a> (0..=5, flexible 4) {
        group_id: &'a str,
        member_id: &'a str [..=2],
        members: Vec<RequestMember<'a>> [3..],
    }

    RequestMember<'a> {
        member_id: &'a str,
        group_instance_id: Option<&'a str>,
        reason: Option<&'a str> [5..],
    }

    Response<'a> (0..=5, flexible 4) {
        throttle_time_ms: i32 [1..],
        error_code: i16,
        members: Vec<Member<'a>> [3..],
    }

    Member<'a> {
        member_id: &'a str,
        group_instance_id: Option<&'a str>,
        error_code: i16,
    }
}
