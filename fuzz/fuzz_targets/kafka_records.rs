//! A whole broker and its Kafka clients: what producers and readers of records ask.
#![no_main]

use kafka::codec::ApiKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| yam_fuzz::kafka::play(data, KEYS));

const KEYS: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::Metadata,
    ApiKey::IncrementalAlterConfigs,
];
