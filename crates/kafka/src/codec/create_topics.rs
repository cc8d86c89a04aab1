//! Key 19, CreateTopics.
//!
//! Versions 2 to 7. -1 partitions or replicas stand for the broker's defaults (4), and for topics with `assignments`.
//!
//! - 4: partitions and replicas may be -1
//! - 5: flexible; number of partitions and configuration come back
//! - 6: THROTTLING_QUOTA_EXCEEDED may come back
//! - 7: topic ids come back

use super::message::messages;
use super::wire::Uuid;

messages! {
    Request<'a> (2..=7, flexible 5) {
        topics: Vec<RequestTopic<'a>>,
        timeout_ms: i32 = 60000,
        validate_only: bool,
    }

    RequestTopic<'a> {
        name: &'a str,
        num_partitions: i32,
        replication_factor: i16,
        assignments: Vec<Assignment>,
        configs: Vec<RequestConfig<'a>>,
    }

    Assignment {
        partition_index: i32,
        broker_ids: Vec<i32>,
    }

    RequestConfig<'a> {
        name: &'a str,
        value: Option<&'a str>,
    }

    Response<'a> (2..=7, flexible 5) {
        throttle_time_ms: i32,
        topics: Vec<Topic<'a>>,
    }

    Topic<'a> {
        name: &'a str,
        topic_id: Uuid [7..],
        error_code: i16,
        error_message: Option<&'a str>,
        topic_config_error_code: i16 [5.., tag 0],
        num_partitions: i32 [5..] = -1,
        replication_factor: i16 [5..] = -1,
        configs: Option<Vec<Config<'a>>> [5..],
    }

    Config<'a> {
        name: &'a str,
        value: Option<&'a str>,
        read_only: bool,
        config_source: i8 = -1,
        is_sensitive: bool,
    }
}
