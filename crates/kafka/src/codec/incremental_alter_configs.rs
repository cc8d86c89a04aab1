//! Key 44, IncrementalAlterConfigs: change single settings. `config_operation` is 0 set, 1 delete, 2 append, 3 subtract.
//!
//! Versions 0 and 1.
//!
//! - 1: flexible

use super::message::messages;

messages! {
    Request<'a> (0..=1, flexible 1) {
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
        config_operation: i8,
        value: Option<&'a str>,
    }

    Response<'a> (0..=1, flexible 1) {
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
