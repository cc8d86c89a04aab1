//! Key 57, UpdateFeatures: the level at which the cluster uses a feature (KIP-584, KIP-1022).
//!
//! Versions 0 to 2. `upgrade_type` is 1 upgrade, 2 safe downgrade, 3 unsafe downgrade. Level 0 or below: without it.
//!
//! - 0: flexible
//! - 1: `upgrade_type` in place of `allow_downgrade`, and `validate_only`
//! - 2: no result for each feature

use super::message::messages;

messages! {
    Request<'a> (0..=2, flexible 0) {
        timeout_ms: i32 = 60000,
        feature_updates: Vec<Update<'a>>,
        validate_only: bool [1..],
    }

    Update<'a> {
        feature: &'a str,
        max_version_level: i16,
        allow_downgrade: bool [..=0],
        upgrade_type: i8 [1..] = 1,
    }

    Response<'a> (0..=2, flexible 0) {
        throttle_time_ms: i32,
        error_code: i16,
        error_message: Option<&'a str>,
        results: Vec<Outcome<'a>> [..=1],
    }

    Outcome<'a> {
        feature: &'a str,
        error_code: i16,
        error_message: Option<&'a str>,
    }
}
