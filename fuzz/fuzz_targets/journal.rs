//! Recovery over any journal: as it comes, and with the checksums made to hold.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&how, bytes)) = data.split_first() else { return };
    if how % 4 == 0 {
        journal::fuzz::fuzz_recover(bytes);
    } else {
        journal::fuzz::fuzz_sealed(bytes);
    }
});
