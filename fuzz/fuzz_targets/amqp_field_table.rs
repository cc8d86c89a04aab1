//! Field tables of any bytes: the walk and the decoder agree, and nothing is lost.
#![no_main]

use amqp::codec::WireError;
use amqp::codec::field::{self, RawTable};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let raw = RawTable(data);
    let decoded = raw.decode();
    match raw.check() {
        Ok(()) => {
            let mut copy = Vec::new();
            for entry in raw.entries() {
                let (name, value) = entry.expect("it checks well");
                field::put_raw_entry(&mut copy, name, value);
            }
            assert_eq!(copy, data);
            let Ok(table) = decoded else {
                assert_eq!(decoded, Err(WireError::Utf8));
                return;
            };
            let bytes = field::encode_entries(&table);
            // Floats that are not numbers do not equal themselves, so bytes are compared.
            let again = RawTable(&bytes).decode().expect("what we write we can read");
            assert_eq!(field::encode_entries(&again), bytes);
            assert_eq!(again.0.len(), table.0.len());
        }
        Err(_) => assert!(decoded.is_err()),
    }
    let _ = raw.find("capabilities").map(|value| (value.is_true(), value.decode().is_ok()));
});
