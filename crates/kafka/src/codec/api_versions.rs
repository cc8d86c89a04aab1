//! Key 18, ApiVersions: which versions of which API are served.
//!
//! Versions 0 to 4. The response's header never has tags, and an unknown version is answered with the body of version 0, so
//! that every client can read it.
//!
//! - 1: throttle time
//! - 3: flexible; name and version of the client's software; features, as tags
//! - 4: a supported feature may begin at 0 (KAFKA-17011)

use super::message::messages;

messages! {
    Request<'a> (0..=4, flexible 3) {
        client_software_name: &'a str [3..],
        client_software_version: &'a str [3..],
    }

    Response<'a> (0..=4, flexible 3) {
        error_code: i16,
        api_keys: Vec<ApiVersion>,
        throttle_time_ms: i32 [1..],
        supported_features: Vec<SupportedFeature<'a>> [3.., tag 0],
        finalized_features_epoch: i64 [3.., tag 1] = -1,
        finalized_features: Vec<FinalizedFeature<'a>> [3.., tag 2],
        zk_migration_ready: bool [3.., tag 3],
    }

    ApiVersion {
        api_key: i16,
        min_version: i16,
        max_version: i16,
    }

    SupportedFeature<'a> {
        name: &'a str,
        min_version: i16,
        max_version: i16,
    }

    FinalizedFeature<'a> {
        name: &'a str,
        max_version_level: i16,
        min_version_level: i16,
    }
}
