//! Key 33, AlterConfigs: replace all settings of a resource. What is not named falls back to its default.
//!
//! Versions 0 to 2.
//!
//! - 2: flexible

use super::message::messages;

messages! {
    Request<'a> (0..=2, flexible 2) {
        resources: Vec<RequestResource<'a>>,
        validate_only: bool,
    }

    RequestResource<'a> {
        resource_type: i8,
        resource_name: &'a str,
        configs: Vec<Config<'a>>,
    }

    Config<'a> {
        name: &'a str,
        value: Option<&'a str>,
    }

    Response<'a> (0..=2, flexible 2) {
        throttle_time_ms: i32,
        resources: Vec<Resource<'a>>,
    }

    Resource<'a> {
        error_code: i16,
        error_message: Option<&'a str>,
        resource_type: i8,
        resource_name: &'a str,
    }
}
