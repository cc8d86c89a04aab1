//! Key 43, ElectLeaders. `topics` null stands for all partitions; `election_type` is 0 preferred, 1 unclean.
//!
//! Versions 0 to 2.
//!
//! - 1: `election_type`, and an error for the whole response
//! - 2: flexible

use super::message::messages;

messages! {
    Request<'a> (0..=2, flexible 2) {
        election_type: i8 [1..],
        topics: Option<Vec<RequestTopic<'a>>>,
        timeout_ms: i32 = 60000,
    }

    RequestTopic<'a> {
        topic: &'a str,
        partitions: Vec<i32>,
    }

    Response<'a> (0..=2, flexible 2) {
        throttle_time_ms: i32,
        error_code: i16 [1..],
        topics: Vec<Topic<'a>>,
    }

    Topic<'a> {
        topic: &'a str,
        partitions: Vec<Partition<'a>>,
    }

    Partition<'a> {
        partition_id: i32,
        error_code: i16,
        error_message: Option<&'a str>,
    }
}
