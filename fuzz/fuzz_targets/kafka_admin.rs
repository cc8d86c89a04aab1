//! A whole broker and its Kafka clients: what those ask who look after topics and settings.
#![no_main]

use kafka::codec::ApiKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| yam_fuzz::kafka::play(data, KEYS));

const KEYS: &[ApiKey] = &[
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::CreatePartitions,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::DeleteRecords,
    ApiKey::Metadata,
    ApiKey::DescribeCluster,
    ApiKey::DescribeTopicPartitions,
    ApiKey::DescribeLogDirs,
    ApiKey::ElectLeaders,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::SaslHandshake,
    ApiKey::SaslAuthenticate,
    ApiKey::ApiVersions,
    ApiKey::Produce,
];
