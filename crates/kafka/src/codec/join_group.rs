//! Key 11, JoinGroup: become a member of a group; answered when the rebalance is done.
//!
//! Versions 0 to 9. Without `rebalance_timeout_ms` (version 0) the session time-out stands for it.
//!
//! - 1: `rebalance_timeout_ms`
//! - 2: throttle time
//! - 4: a first join without member id is answered MEMBER_ID_REQUIRED and the id
//! - 5: static members
//! - 6: flexible
//! - 7: `protocol_type` comes back, and `protocol_name` may be null
//! - 8: `reason`
//! - 9: `skip_assignment`

use super::message::messages;

messages! {
    Request<'a> (0..=9, flexible 6) {
        group_id: &'a str,
        session_timeout_ms: i32,
        rebalance_timeout_ms: i32 [1..] = -1,
        member_id: &'a str,
        group_instance_id: Option<&'a str> [5..],
        protocol_type: &'a str,
        protocols: Vec<Protocol<'a>>,
        reason: Option<&'a str> [8..],
    }

    Protocol<'a> {
        name: &'a str,
        metadata: &'a [u8],
    }

    Response<'a> (0..=9, flexible 6) {
        throttle_time_ms: i32 [2..],
        error_code: i16,
        generation_id: i32 = -1,
        protocol_type: Option<&'a str> [7..],
        protocol_name: Option<&'a str> [.., nullable 7..],
        leader: &'a str,
        skip_assignment: bool [9..],
        member_id: &'a str,
        members: Vec<Member<'a>>,
    }

    Member<'a> {
        member_id: &'a str,
        group_instance_id: Option<&'a str> [5..],
        metadata: &'a [u8],
    }
}
