//! The readers of segments, checkpoints and the store's frames on any bytes, with the checksums made to hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| storage::fuzz::readers(data));
