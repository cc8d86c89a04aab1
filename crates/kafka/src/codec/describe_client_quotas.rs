//! Key 48, DescribeClientQuotas: quotas of users, client ids and addresses (KIP-546).
//!
//! Versions 0 and 1. `match_type` is 0 exactly this name, 1 the default, 2 any name.
//!
//! - 1: flexible

use super::message::messages;

messages! {
    Request<'a> (0..=1, flexible 1) {
        components: Vec<Component<'a>>,
        strict: bool,
    }

    Component<'a> {
        entity_type: &'a str,
        match_type: i8,
        name: Option<&'a str>,
    }

    Response<'a> (0..=1, flexible 1) {
        throttle_time_ms: i32,
        error_code: i16,
        error_message: Option<&'a str>,
        entries: Option<Vec<Entry<'a>>>,
    }

    Entry<'a> {
        entity: Vec<Entity<'a>>,
        values: Vec<Value<'a>>,
    }

    Entity<'a> {
        entity_type: &'a str,
        entity_name: Option<&'a str>,
    }

    Value<'a> {
        key: &'a str,
        /// A double, as its bits.
        value: i64,
    }
}
