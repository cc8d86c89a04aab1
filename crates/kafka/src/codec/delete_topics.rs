//! Key 20, DeleteTopics.
//!
//! Versions 1 to 6.
//!
//! - 3: TOPIC_DELETION_DISABLED may come back
//! - 4: flexible
//! - 5: `error_message`; THROTTLING_QUOTA_EXCEEDED may come back
//! - 6: topics by name or id in `topics`, which replaces `topic_names`

use super::message::messages;
use super::wire::Uuid;

messages! {
    Request<'a> (1..=6, flexible 4) {
        topics: Vec<RequestTopic<'a>> [6..],
        topic_names: Vec<&'a str> [..=5],
        timeout_ms: i32,
    }

    RequestTopic<'a> {
        name: Option<&'a str>,
        topic_id: Uuid,
    }

    Response<'a> (1..=6, flexible 4) {
        throttle_time_ms: i32,
        topics: Vec<Topic<'a>>,
    }

    Topic<'a> {
        name: Option<&'a str> [.., nullable 6..],
        topic_id: Uuid [6..],
        error_code: i16,
        error_message: Option<&'a str> [5..],
    }
}
