//! A whole broker and its Kafka clients: what members of groups ask, and those who look after groups.
#![no_main]

use kafka::codec::ApiKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| yam_fuzz::kafka::play(data, KEYS));

const KEYS: &[ApiKey] = &[
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::OffsetDelete,
    ApiKey::FindCoordinator,
    ApiKey::ListGroups,
    ApiKey::DescribeGroups,
    ApiKey::DeleteGroups,
];
