//! What a session may cost, and that no bytes break it.

use bytes::Bytes;
use model::record::StoredRecord;
use model::{DeliveryTag, Event, Lsn, Scope, Session, SessionState, SubscriptionId, limits};
use proptest::prelude::*;

use super::{Harness, frames, record, script};
use crate::codec::frame::{self, BODY, HEADER, METHOD};
use crate::codec::{Properties, basic, channel};
use crate::session::AmqpSession;
use crate::session::channel::Channel;

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<AmqpSession>() <= 1024, "{}", size_of::<AmqpSession>());
    assert!(size_of::<Channel>() <= 256, "{}", size_of::<Channel>());
    let mut harness = Harness::running();
    harness.receive(&script::frames("1 basic.publish exchange=e routing_key=k headers=x:1 body=hello mandatory"));
    harness.session.give_back_memory();
    assert!(harness.session.kept.is_none());
    assert!(harness.session.channels.capacity() <= 4);
}

/// A day's work in one stream of bytes.
fn conversation() -> Vec<u8> {
    let lines = [
        "handshake",
        "1 channel.open",
        "1 queue.declare queue=q arguments=x-max-length:5",
        "1 confirm.select",
        "1 basic.publish exchange=e routing_key=k body=one",
        "1 basic.publish exchange=e routing_key=nowhere mandatory headers=x:7,BCC:c|d body=two",
        "2 channel.open",
        "1 basic.publish exchange=e routing_key=k alone",
        "heartbeat",
        "2 basic.publish exchange=e routing_key=k frame_max=12 persistent body=many-frames-of-it",
        "1 header size=4",
        "1 body of=abcd",
        "2 basic.consume queue=q tag=t",
        "2 basic.ack tag=4",
        "2 queue.bind queue=q exchange=missing-not routing_key=k",
        "2 basic.ack tag=99",
        "2 basic.publish exchange=e routing_key=k body=ignored",
        "2 channel.close-ok",
        "1 channel.close",
        "0 connection.close",
    ];
    lines.into_iter().flat_map(script::frames).collect()
}

/// Acks are gathered by turn, so how many frames say the same depends on the cuts.
fn without_acks(said: Vec<String>) -> Vec<String> {
    said.into_iter().filter(|line| !line.contains("basic.ack")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn it_does_not_matter_how_the_bytes_are_cut(sizes in proptest::collection::vec(1usize..200, 1..40)) {
        let bytes = conversation();
        let mut whole = Harness::new();
        whole.receive(&bytes);
        let mut cut = Harness::new();
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*size).min(rest.len()));
            rest = later;
            cut.receive(now);
            // A session never asks for less than would help, nor for more than a message's frames.
            prop_assert!(cut.session.input_needed() <= 3 * 131_072);
        }
        prop_assert_eq!(&whole.broker.log, &cut.broker.log);
        prop_assert_eq!(without_acks(whole.said()), without_acks(cut.said()));
        prop_assert_eq!(whole.session.state(), SessionState::Closing);
        prop_assert_eq!(cut.session.state(), SessionState::Closing);
    }

    #[test]
    fn no_mutation_of_a_conversation_breaks_the_session(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        events in proptest::collection::vec((0u8..6, 1u64..12), 0..4),
    ) {
        let mut bytes = conversation();
        for (at, octet) in changes {
            let at = at.index(bytes.len());
            bytes[at] = octet;
        }
        let (first, second) = bytes.split_at(cut.index(bytes.len()));
        let mut harness = Harness::new();
        harness.receive(first);
        let batch = Bytes::from(record("k", "e", &[0, 0], b"body"));
        let stored = StoredRecord { batch: &batch, buffer: Some(&batch) };
        for (kind, n) in events {
            let (scope, subscription, tag) = (Scope(n as u16 % 3), SubscriptionId(n), DeliveryTag(n));
            harness.event(match kind {
                0 => Event::Durable(Lsn(n * 10)),
                1 => Event::Deliver { scope, subscription, tag, redelivered: true, returns: 0, offset: None, record: stored },
                2 => Event::Got { scope, tag, redelivered: false, returns: 1, remaining: n, record: stored },
                3 => Event::Cancelled { scope, subscription },
                4 => Event::Blocked("low on disk"),
                _ => Event::Unblocked,
            });
            harness.wait(n * 1000);
        }
        harness.receive(second);
        // Whatever it said, it said in whole frames.
        let _ = harness.said();
        harness.wait(200_000);
        let _ = harness.said();
    }
}

#[test]
fn a_large_body_is_shared_and_cut_at_the_frame_limit() {
    let mut harness = Harness::running();
    harness.send(1, &basic::Consume { queue: "q", consumer_tag: "t", ..Default::default() });
    harness.said();
    for len in [0, 1, limits::SHARED_SLICE_BYTES_MIN - 1, limits::SHARED_SLICE_BYTES_MIN, 131_064, 131_065, 500_000] {
        let body: Vec<u8> = (0..len).map(|n| n as u8).collect();
        let batch = Bytes::from(record("k", "e", &[0x10, 0, 2], &body));
        for buffer in [Some(&batch), None] {
            harness.event(Event::Deliver {
                scope: Scope(1),
                subscription: SubscriptionId(1),
                tag: DeliveryTag(5),
                redelivered: false,
                returns: 0,
                offset: None,
                record: StoredRecord { batch: &batch, buffer },
            });
            let bytes = harness.out.take();
            let frames = frames(&bytes);
            let kinds: Vec<u8> = frames.iter().map(|frame| frame.kind).collect();
            let mut expected = vec![METHOD, HEADER];
            expected.resize(2 + len.div_ceil(131_064), BODY);
            assert_eq!(kinds, expected);
            assert!(frames.iter().all(|frame| frame.wire_len() <= 131_072 && frame.channel == 1));
            let got: Vec<u8> = frames[2..].iter().flat_map(|frame| frame.payload.to_vec()).collect();
            assert_eq!(got, body);
        }
    }
}

#[test]
fn a_record_of_another_protocol_has_a_sensible_header() {
    let mut harness = Harness::running();
    harness.send(1, &basic::Consume { queue: "q", consumer_tag: "t", ..Default::default() });
    harness.said();
    let long = "k".repeat(300);
    let umlauts = "\u{e4}".repeat(200);
    // Too long, cut inside a character, not text from some point on, not text at all.
    for (key, shown) in
        [(long.as_bytes(), &long[..255]), (umlauts.as_bytes(), &umlauts[..254]), (b"key\xff\xfe", "key"), (b"\xff", "")]
    {
        let mut batch = Vec::new();
        model::RecordParts { key, value: b"body", ..Default::default() }.encode(0, &mut batch);
        let batch = Bytes::from(batch);
        harness.event(Event::Deliver {
            scope: Scope(1),
            subscription: SubscriptionId(1),
            tag: DeliveryTag(1),
            redelivered: false,
            returns: 0,
            offset: None,
            record: StoredRecord { batch: &batch, buffer: Some(&batch) },
        });
        let deliver = format!(
            "1 basic.deliver consumer_tag: \"t\", delivery_tag: 1, redelivered: false, exchange: \"\", routing_key: \"{shown}\""
        );
        assert_eq!(harness.said(), [deliver, "1 header size=4".to_owned(), "1 body body".to_owned()]);
    }
}

#[test]
fn bodies_under_way_in_many_channels_are_bounded() {
    let mut harness = Harness::running();
    let mut bytes = Vec::new();
    for number in 1..=6 {
        if number > 1 {
            frame::put_method(&mut bytes, number, &channel::Open::default());
        }
        frame::put_method(&mut bytes, number, &basic::Publish::default());
        let mut list = Vec::new();
        Properties::default().encode(&mut list);
        frame::put_content_header(&mut bytes, number, limits::BODY_BYTES_MAX, &list);
        harness.receive(&bytes);
        bytes.clear();
        let part = vec![0; 131_064];
        for _ in 0..limits::BODY_BYTES_MAX / part.len() {
            frame::put(&mut bytes, BODY, number, |out| out.extend_from_slice(&part));
        }
        harness.receive(&bytes);
        bytes.clear();
    }
    let said = harness.said();
    assert!(said.iter().any(|line| line.contains("RESOURCE_ERROR")), "{said:?}");
    assert!(harness.session.channels.is_empty());
}
