//! Key 37, CreatePartitions: `count` is how many partitions the topic has afterwards.
//!
//! Versions 0 to 3.
//!
//! - 2: flexible
//! - 3: THROTTLING_QUOTA_EXCEEDED may come back

use super::message::messages;

messages! {
    Request<'a> (0..=3, flexible 2) {
        topics: Vec<RequestTopic<'a>>,
        timeout_ms: i32,
        validate_only: bool,
    }

    RequestTopic<'a> {
        name: &'a str,
        count: i32,
        assignments: Option<Vec<Assignment>>,
    }

    Assignment {
        broker_ids: Vec<i32>,
    }

    Response<'a> (0..=3, flexible 2) {
        throttle_time_ms: i32,
        topics: Vec<Topic<'a>>,
    }

    Topic<'a> {
        name: &'a str,
        error_code: i16,
        error_message: Option<&'a str>,
    }
}
