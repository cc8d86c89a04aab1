//! A whole broker and its Kafka clients: any bytes, and requests of every API.
#![no_main]

use kafka::codec::ApiKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| yam_fuzz::kafka::play(data, KEYS));

const KEYS: &[ApiKey] = ApiKey::ALL;
