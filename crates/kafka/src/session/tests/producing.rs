//! Batches on their way in.

use model::Reply;

use super::*;
use crate::codec::error_code::*;
use crate::codec::produce;

fn partition(index: i32, records: Option<&[u8]>) -> produce::RequestPartition<'_> {
    produce::RequestPartition { index, records }
}

fn request(acks: i16) -> produce::Request<'static> {
    let records = Some(&[1; 70][..]);
    let topic = |name, partitions| produce::RequestTopic { name, partitions, ..Default::default() };
    let topics = vec![
        topic("t", vec![partition(0, records), partition(1, None)]),
        topic("none", vec![]),
        topic("missing", vec![partition(0, records)]),
        topic("u", vec![partition(-3, Some(&[2; 80]))]),
    ];
    produce::Request { acks, topics, transactional_id: Some("tx"), ..Default::default() }
}

#[test]
fn each_batch_is_asked_for_and_answered() {
    for version in 3..=12 {
        let mut harness = Harness::running();
        harness.send(version, &Request::Produce(request(-1)));
        let implicit = if version >= 12 { " implicitly" } else { "" };
        assert_eq!(
            harness.broker.take_log(),
            [
                format!("produce 70 bytes to t-0 for tx{implicit}"),
                format!("produce 70 bytes to missing-0 for tx{implicit}"),
                format!("produce 80 bytes to u-4294967295 for tx{implicit}"),
            ]
        );
        assert_eq!(harness.heard(), None, "not before it is durable");
        harness.durable(20);
        let Some(Response::Produce(told)) = harness.heard() else { panic!() };
        let told: Vec<_> = told
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|told| (topic.name, told.index, told.error_code, told.base_offset)))
            .collect();
        assert_eq!(
            told,
            [("t", 0, 0, 1), ("t", 1, INVALID_RECORD, -1), ("missing", 0, UNKNOWN_TOPIC_OR_PARTITION, -1), ("u", -3, 0, 2),]
        );
    }
}

#[test]
fn without_acks_nothing_is_answered_and_failures_end_the_connection() {
    let mut harness = Harness::running();
    let fine = produce::Request { topics: request(0).topics[3..].to_vec(), acks: 0, ..Default::default() };
    harness.send_silently(9, &Request::Produce(fine));
    assert_eq!(harness.broker.take_log(), ["produce 80 bytes to u-4294967295"]);
    assert!(harness.out.is_empty() && !harness.is_closing());
    harness.send_silently(9, &Request::Produce(request(0)));
    assert_eq!(harness.closed(), "Produce with acks=0 was refused");
}

#[test]
fn other_acks_are_refused() {
    let mut harness = Harness::running();
    let Response::Produce(told) = harness.ask(9, &Request::Produce(request(2))) else { panic!() };
    assert!(harness.broker.take_log().is_empty());
    let codes: Vec<_> = told.topics.iter().flat_map(|topic| topic.partitions.iter().map(|told| told.error_code)).collect();
    assert_eq!(codes, [INVALID_REQUIRED_ACKS; 4]);
}

#[test]
fn nothing_asked_is_answered_with_nothing() {
    let mut harness = Harness::running();
    let Response::Produce(told) = harness.ask(12, &Request::Produce(produce::Request { acks: 1, ..Default::default() })) else {
        panic!()
    };
    assert!(told.topics.is_empty());
}

/// Nothing of a malformed request is carried out.
#[test]
fn half_a_request_does_nothing() {
    let mut harness = Harness::running();
    let mut bytes = bytes_of(9, &Request::Produce(request(-1)), 5);
    let cut = bytes.len() - 60;
    bytes.truncate(cut);
    bytes[..4].copy_from_slice(&(cut as u32 - 4).to_be_bytes());
    harness.receive(&bytes);
    assert!(harness.closed().starts_with("malformed Produce version 9"));
    assert!(harness.broker.take_log().is_empty());
}

/// The frame stays in the input while its batches are taken, and an input that is withheld meanwhile does no harm.
#[test]
fn the_frame_stays_in_the_input() {
    let mut harness = Harness::running();
    let bytes = bytes_of(9, &Request::Produce(request(-1)), 5);
    let mut input = &bytes[..];
    let request = harness.session.poll_request(&mut input, harness.now, &mut harness.out).unwrap();
    let event = harness.broker.answer(&request);
    assert_eq!(input.len(), bytes.len());
    harness.session.handle(event, harness.now, &mut harness.out);
    assert!(harness.session.poll_request(&mut &[][..], harness.now, &mut harness.out).is_none());
    harness.asked.push_back((ApiKey::Produce, 9, 5));
    harness.receive(&bytes);
    harness.durable(20);
    let Some(Response::Produce(told)) = harness.heard() else { panic!() };
    assert_eq!(told.topics.len(), 3);
    assert_eq!(harness.broker.take_log().len(), 3);
}

/// Some batches are looked into beside the core, and asked for again once that is done.
#[test]
fn a_batch_that_is_to_be_asked_for_again_is_and_then_answered_once() {
    let mut harness = Harness::running();
    harness.broker.next = [Ok(Reply::Pending)].into();
    harness.send(9, &Request::Produce(request(-1)));
    let first = "produce 70 bytes to t-0 for tx";
    assert_eq!(harness.broker.take_log(), [first]);
    for next in [Some(Ok(Reply::Pending)), Some(Ok(Reply::Again)), None] {
        assert_eq!(harness.heard(), None);
        harness.broker.next = next.into_iter().collect();
        harness.event(Event::Reply(Reply::Again));
    }
    let (missing, last) = ("produce 70 bytes to missing-0 for tx", "produce 80 bytes to u-4294967295 for tx");
    assert_eq!(harness.broker.take_log(), [first, first, first, missing, last]);
    harness.durable(20);
    let Some(Response::Produce(told)) = harness.heard() else { panic!() };
    let told: Vec<_> = told.topics.iter().map(|topic| (topic.name, topic.partitions.len())).collect();
    assert_eq!(told, [("t", 2), ("missing", 1), ("u", 1)]);
}

/// KIP-467: a producer that is told which records were refused can send the others again.
#[test]
fn refused_records_are_named() {
    use model::{BadRecord, BadRecordCause, Failure, LogFailure, Reply};
    for version in [7, 8, 12] {
        let mut harness = Harness::running();
        let time = BadRecordCause::Time { ms: 9, earliest_ms: 1, latest_ms: 5 };
        let records = [BadRecord { index: 1, why: BadRecordCause::NoKey }, BadRecord { index: 3, why: time }];
        let refusal: Result<Reply, _> = Err(Failure::BadRecords { failure: LogFailure::InvalidRecord, records: records.into() });
        harness.broker.next.push_back(refusal);
        let partition = |index| produce::RequestPartition { index, records: Some(b"x") };
        let topics =
            vec![produce::RequestTopic { name: "t", partitions: vec![partition(0), partition(1)], ..Default::default() }];
        let request = produce::Request { acks: 1, topics, ..Default::default() };
        harness.send(version, &Request::Produce(request));
        harness.durable(u64::MAX);
        let Some(Response::Produce(told)) = harness.heard() else { panic!() };
        let [bad, good] = &told.topics[0].partitions[..] else { panic!() };
        assert_eq!((bad.index, bad.error_code, bad.base_offset, good.index, good.error_code), (0, INVALID_RECORD, -1, 1, 0));
        let named: Vec<_> = bad.record_errors.iter().map(|named| (named.batch_index, named.message.unwrap())).collect();
        let texts = [
            (1, "Compacted topic cannot accept message without key."),
            (3, "Timestamp 9 of message with offset 3 is out of range. The timestamp should be within [1, 5]"),
        ];
        assert_eq!(named, if version < 8 { &[][..] } else { &texts });
    }
}

/// A client that asks in an older version cannot read what it writes.
#[test]
fn zstd_is_refused_before_version_7() {
    for version in 3..=12 {
        let mut harness = Harness::running();
        let mut batch = [0; 70];
        batch[22] = 4;
        let partitions = vec![partition(0, Some(&batch)), partition(1, Some(&[0; 70]))];
        let topics = vec![produce::RequestTopic { name: "t", partitions, ..Default::default() }];
        let request = produce::Request { acks: 1, topics, ..Default::default() };
        harness.send(version, &Request::Produce(request));
        harness.durable(u64::MAX);
        let Some(Response::Produce(told)) = harness.heard() else { panic!() };
        let codes: Vec<_> = told.topics[0].partitions.iter().map(|told| told.error_code).collect();
        assert_eq!(codes, [if version < 7 { UNSUPPORTED_COMPRESSION_TYPE } else { 0 }, 0], "version {version}");
    }
}
