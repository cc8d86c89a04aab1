//! Key 74, ListConfigResources: what has settings (KIP-1142). Version 0 lists client metrics only (KIP-714).
//!
//! Versions 0 and 1. `resource_type` as in DescribeConfigs, and 16 client metrics; no type is asked for: all.
//!
//! - 0: flexible
//! - 1: types

use super::message::messages;

messages! {
    Request (0..=1, flexible 0) {
        resource_types: Vec<i8> [1..],
    }

    Response<'a> (0..=1, flexible 0) {
        throttle_time_ms: i32,
        error_code: i16,
        config_resources: Vec<Resource<'a>>,
    }

    Resource<'a> {
        resource_name: &'a str,
        resource_type: i8 [1..] = 16,
    }
}
