//! Responses of any bytes, as clients read them: the first two bytes choose API and version. What is read is written and read
//! back the same.
#![no_main]

use kafka::codec::{ApiKey, Reader, Response, consumer_protocol, frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [key, version, data @ ..] = data else { return };
    let Some(key) = ApiKey::of(i16::from(*key)) else { return };
    let version = i16::from(*version);
    let mut reader = Reader::new(data);
    if frame::read_response_header(&mut reader, key, version).is_err() {
        return;
    }
    let Ok(response) = Response::decode(key, &mut reader, version) else { return };
    let mut bytes = Vec::new();
    response.encode(&mut bytes, version);
    let mut again = Reader::new(&bytes);
    assert_eq!(Response::decode(key, &mut again, version).as_ref(), Ok(&response));
    assert!(again.rest().is_empty());
    // What consumers hand each other through the broker.
    match response {
        Response::JoinGroup(response) => {
            for member in &response.members {
                let _ = consumer_protocol::decode::<consumer_protocol::Subscription<'_>>(member.metadata);
            }
        }
        Response::SyncGroup(response) => {
            let _ = consumer_protocol::decode::<consumer_protocol::Assignment<'_>>(response.assignment);
        }
        _ => {}
    }
});
