//! Key 32, DescribeConfigs: settings of topics, brokers and groups.
//!
//! Versions 1 to 4. `resource_type` is 2 topic, 4 broker, 8 logger, 32 group. `config_source` is 1 topic, 2 broker
//! (dynamic), 3 broker default (dynamic), 4 broker (file), 5 default, 8 group. `config_type` is 1 boolean, 2 string, 3 int,
//! 4 short, 5 long, 6 double, 7 list, 8 class, 9 password.
//!
//! - 1: synonyms, and `config_source`
//! - 3: type and documentation
//! - 4: flexible

use super::message::messages;

messages! {
    Request<'a> (1..=4, flexible 4) {
        resources: Vec<RequestResource<'a>>,
        include_synonyms: bool,
        include_documentation: bool [3..],
    }

    RequestResource<'a> {
        resource_type: i8,
        resource_name: &'a str,
        configuration_keys: Option<Vec<&'a str>>,
    }

    Response<'a> (1..=4, flexible 4) {
        throttle_time_ms: i32,
        resources: Vec<Resource<'a>>,
    }

    Resource<'a> {
        error_code: i16,
        error_message: Option<&'a str>,
        resource_type: i8,
        resource_name: &'a str,
        configs: Vec<Config<'a>>,
    }

    Config<'a> {
        name: &'a str,
        value: Option<&'a str>,
        read_only: bool,
        config_source: i8 = -1,
        is_sensitive: bool,
        synonyms: Vec<Synonym<'a>>,
        config_type: i8 [3..],
        documentation: Option<&'a str> [3..],
    }

    Synonym<'a> {
        name: &'a str,
        value: Option<&'a str>,
        source: i8,
    }
}
