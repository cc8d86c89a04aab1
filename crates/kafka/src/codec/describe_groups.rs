//! Key 15, DescribeGroups: state and members of groups.
//!
//! Versions 0 to 6. `protocol_data` is the protocol's name; it and the members' data are filled in for stable groups only.
//!
//! - 1: throttle time
//! - 3: authorized operations
//! - 4: static members
//! - 5: flexible
//! - 6: `error_message`; a group that is not there is GROUP_ID_NOT_FOUND instead of state Dead

use super::message::messages;

messages! {
    Request<'a> (0..=6, flexible 5) {
        groups: Vec<&'a str>,
        include_authorized_operations: bool [3..],
    }

    Response<'a> (0..=6, flexible 5) {
        throttle_time_ms: i32 [1..],
        groups: Vec<Group<'a>>,
    }

    Group<'a> {
        error_code: i16,
        error_message: Option<&'a str> [6..],
        group_id: &'a str,
        group_state: &'a str,
        protocol_type: &'a str,
        protocol_data: &'a str,
        members: Vec<Member<'a>>,
        authorized_operations: i32 [3..] = i32::MIN,
    }

    Member<'a> {
        member_id: &'a str,
        group_instance_id: Option<&'a str> [4..],
        client_id: &'a str,
        client_host: &'a str,
        member_metadata: &'a [u8],
        member_assignment: &'a [u8],
    }
}
