//! A whole broker and its Kafka clients: what producers with a transactional id ask, and those who look at them.
#![no_main]

use kafka::codec::ApiKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| yam_fuzz::kafka::play(data, KEYS));

const KEYS: &[ApiKey] = &[
    ApiKey::InitProducerId,
    ApiKey::AddPartitionsToTxn,
    ApiKey::AddOffsetsToTxn,
    ApiKey::TxnOffsetCommit,
    ApiKey::EndTxn,
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::OffsetFetch,
    ApiKey::DescribeProducers,
    ApiKey::DescribeTransactions,
    ApiKey::ListTransactions,
];
