//! Any part of any request may lie about a length: then its connection ends, with a line that says why, and nothing is
//! allocated that the bytes of the request do not justify.

use std::alloc::System;
use std::sync::Arc;

use cap::Cap;
use kafka::codec::sample::{SampleApi as _, Source};
use kafka::codec::{ApiKey, Reader, Request, RequestHeader, frame, produce};
use kafka::{Ends, KafkaSession, SessionOptions};
use model::{Event, LogFailure, Now, Output, Reply, Session as _, SessionState};

/// Counts what is allocated. A program of its own, so that nothing else allocates meanwhile.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
/// Bytes that may be allocated for each byte of a frame, over all that is allocated while it is carried out, and besides.
const AMPLIFICATION_MAX: usize = 64;
const BESIDES: usize = 16 * 1024;

/// Lengths as they stand on the wire, of which none is covered: of a text, of an array or bytes, and the same compact.
const LENGTHS: [&[u8]; 5] =
    [&[0x7f, 0xff], &[0x7f, 0xff, 0xff, 0xff], &[0x00, 0x0f, 0xff, 0xff], &[0xff, 0xff, 0xff, 0xff, 0x07], &[0xff, 0x7f]];

/// A session that has let its client in.
fn session() -> KafkaSession {
    let ends = Ends { client_host: "10.0.0.7".into(), host: "broker.example".into(), port: 19092 };
    KafkaSession::new(Arc::new(SessionOptions::default()), ends, 7, NOW)
}

fn framed(key: ApiKey, api_version: i16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::put_frame(&mut bytes, |out| {
        RequestHeader { api_key: key.number(), api_version, correlation_id: 1, client_id: Some("tester") }.encode(out);
        out.extend_from_slice(body);
    });
    bytes
}

/// The session hears this, and a broker that refuses everything but the guest.
fn hear(session: &mut KafkaSession, bytes: &[u8]) {
    let (mut used, mut out) = (0, Output::default());
    for _ in 0..10_000 {
        let mut rest = &bytes[used..];
        let answer = match session.poll_request(&mut rest, NOW, &mut out) {
            None => return,
            Some(model::Request::Authenticate { .. } | model::Request::OpenHost { .. }) => Event::Reply(Reply::Ok),
            Some(_) => Event::Failed(LogFailure::InvalidRequest.into()),
        };
        used = bytes.len() - rest.len();
        session.handle(answer, NOW, &mut out);
    }
    panic!("a request that never ends");
}

/// Whether the body can be read.
fn is_sound(key: ApiKey, version: i16, body: &[u8]) -> bool {
    if key == ApiKey::Produce {
        return produce::walk(body, version).is_ok_and(|(_, walk)| walk.check().is_ok());
    }
    Request::decode(key, &mut Reader::new(body), version).is_ok()
}

/// Whether a body's sender loses its connection; asserted: if it cannot be read, and only then.
fn explode(key: ApiKey, version: i16, body: &[u8]) -> bool {
    let bytes = framed(key, version, body);
    let mut session = session();
    let before = ALLOCATOR.total_allocated();
    hear(&mut session, &bytes);
    let allocated = ALLOCATOR.total_allocated() - before;
    let most = bytes.len() * AMPLIFICATION_MAX + BESIDES;
    assert!(allocated <= most, "{allocated} bytes for {}: {} {version}, {body:x?}", bytes.len(), key.name());
    if is_sound(key, version, body) {
        return false;
    }
    assert_eq!(session.state(), SessionState::Closing, "{} {version}, {body:x?}", key.name());
    let complaint = session.poll_complaint().map(|complaint| complaint.text).unwrap_or_default();
    assert!(complaint.contains(key.name()), "{complaint:?}: {version}, {body:x?}");
    true
}

#[test]
fn a_length_that_lies_anywhere_ends_its_connection_and_allocates_little() {
    let (mut ended, mut carried_out) = (0, 0);
    for key in ApiKey::ALL {
        let mut of_this = 0;
        for (version, begin) in key.versions().flat_map(|version| (0..6).map(move |begin| (version, begin))) {
            let seed: Vec<u8> =
                (begin * 500..begin * 500 + 500u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
            let mut body = Vec::new();
            Request::sample(*key, &mut Source::new(&seed), version).encode(&mut body, version);
            assert!(!explode(*key, version, &body), "{} {version}: {body:x?}", key.name());
            for (place, length) in (0..body.len()).flat_map(|place| LENGTHS.map(|length| (place, length))) {
                let mut bomb = body.clone();
                bomb.iter_mut().skip(place).zip(length).for_each(|(byte, lie)| *byte = *lie);
                *(if explode(*key, version, &bomb) { &mut of_this } else { &mut carried_out }) += 1;
            }
        }
        // DescribeCluster has nothing of any length.
        assert!(of_this > 0 || *key == ApiKey::DescribeCluster, "no length of {} was refused", key.name());
        ended += of_this;
    }
    assert!(ended > 50_000 && carried_out > 50_000, "{ended} ended, {carried_out} carried out");
}
