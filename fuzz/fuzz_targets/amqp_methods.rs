//! Methods and content headers of any bytes: read or refused, and what is read is written back the same.
#![no_main]

use amqp::codec::frame::{self, Split};
use amqp::codec::properties::{ContentHeader, Outline};
use amqp::codec::{Method, Properties};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(method) = Method::decode(data) {
        let mut bytes = Vec::new();
        method.put(&mut bytes, 1);
        let Ok(Split::Frame(again)) = frame::split(&bytes, bytes.len()) else { panic!("no frame") };
        assert_eq!(again.payload.len(), data.len());
        assert_eq!(Method::decode(again.payload), Ok(method));
        let _ = format!("{method:?} {}", method.name());
    }
    let Ok(header) = ContentHeader::decode(data) else { return };
    let outline = Outline::read(header.properties);
    match Properties::decode(header.properties) {
        Ok(properties) => {
            let outline = outline.expect("what decodes has an outline");
            assert_eq!(outline.headers, properties.headers);
            assert_eq!(outline.priority, properties.priority);
            assert_eq!(outline.expiration, properties.expiration.map(str::as_bytes));
            let mut list = Vec::new();
            properties.encode(&mut list);
            assert_eq!(list, header.properties);
        }
        // The outline does not judge the texts.
        Err(error) => assert!(error == amqp::codec::WireError::Utf8 || outline.is_err()),
    }
});
