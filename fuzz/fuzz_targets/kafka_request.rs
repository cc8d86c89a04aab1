//! Requests of any bytes: read or refused, and what is read is written and read back the same. The frame's own header says
//! which API and version it is; versions that are known but not served are tried too.
#![no_main]

use kafka::codec::frame::{self, Split};
use kafka::codec::{ApiKey, Message, Reader, Request, RequestHeader, produce};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(Split::Frame(mut rest)) = frame::split(data, 1 << 20) else { return };
    let mut reader = Reader::new(rest);
    let Ok(header) = RequestHeader::decode(&mut reader) else { return };
    rest = reader.rest();
    let mut bytes = Vec::new();
    header.encode(&mut bytes);
    let mut again = Reader::new(&bytes);
    assert_eq!(RequestHeader::decode(&mut again), Ok(header));
    assert!(again.rest().is_empty());

    let Some(key) = ApiKey::of(header.api_key) else { return };
    let version = header.api_version;
    let request = Request::decode(key, &mut reader, version);
    if key == ApiKey::Produce {
        walk(rest, version, request.as_ref().ok());
    }
    let Ok(request) = request else { return };
    let mut bytes = Vec::new();
    request.encode(&mut bytes, version);
    let mut again = Reader::new(&bytes);
    assert_eq!(Request::decode(key, &mut again, version).as_ref(), Ok(&request));
    assert!(again.rest().is_empty());
});

/// The walk finds what decoding finds, from wherever it goes on.
fn walk(body: &[u8], version: i16, request: Option<&Request<'_>>) {
    let Ok((_, mut walk)) = produce::walk(body, version) else {
        assert!(request.is_none());
        return;
    };
    assert!(produce::Request::VERSIONS.contains(&version));
    let mut found = Vec::new();
    while let Some(entry) = walk.next() {
        let Ok(entry) = entry else {
            assert!(request.is_none() && walk.next().is_none());
            return;
        };
        found.push((entry.name, entry.topic_id, entry.index, entry.records));
        walk = produce::Partitions::resume(body, version, walk.position());
    }
    if let Some(Request::Produce(request)) = request {
        let topics = request.topics.iter();
        let decoded = topics
            .flat_map(|topic| topic.partitions.iter().map(move |part| (topic.name, topic.topic_id, part.index, part.records)));
        assert!(decoded.eq(found));
    }
}
