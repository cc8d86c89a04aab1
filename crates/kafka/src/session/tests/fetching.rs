//! Batches on their way out.

use bytes::Bytes;
use model::topic::{Fetched, FetchedBatch};
use model::{Event, Failure, LogFailure, Reply};

use super::*;
use crate::codec::error_code::*;
use crate::codec::fetch;

pub(super) fn fetch_of(partitions: &[(&'static str, i32, i64)]) -> fetch::Request<'static> {
    let topic = |(topic, partition, fetch_offset): &(&'static str, i32, i64)| fetch::RequestTopic {
        topic,
        partitions: vec![fetch::RequestPartition {
            partition: *partition,
            fetch_offset: *fetch_offset,
            partition_max_bytes: 1_000,
            ..Default::default()
        }],
        ..Default::default()
    };
    let topics = partitions.iter().map(topic).collect();
    fetch::Request { max_wait_ms: 500, min_bytes: 1, topics, ..Default::default() }
}

fn in_session(request: fetch::Request<'static>, session_id: i32, session_epoch: i32) -> Request<'static> {
    Request::Fetch(fetch::Request { session_id, session_epoch, ..request })
}

/// A batch as it lies in a log: its first sixteen bytes are not those that go out.
fn batch(len: usize) -> Bytes {
    let mut bytes = vec![0xee; len];
    bytes[8..12].copy_from_slice(&(len as u32 - 12).to_be_bytes());
    bytes.into()
}

fn fetched(high_watermark: i64, batches: &[(i64, usize)]) -> Fetched {
    let batches = batches.iter().map(|&(base_offset, len)| FetchedBatch { base_offset, bytes: batch(len) }).collect();
    Fetched { high_watermark, last_stable: high_watermark, batches, ..Fetched::default() }
}

fn reply(harness: &mut Harness, fetched: Vec<Fetched>) -> fetch::Response<'static> {
    harness.event(Event::Reply(Reply::Fetched(fetched)));
    let Some(Response::Fetch(told)) = harness.heard() else { panic!("a fetch response") };
    told
}

fn told(response: &fetch::Response<'_>) -> Vec<(String, i32, i16, usize)> {
    let topics = response.topics.iter();
    let partition = |topic: &str, told: &fetch::Partition<'_>| {
        (topic.to_owned(), told.partition_index, told.error_code, told.records.map_or(0, <[u8]>::len))
    };
    topics.flat_map(|topic| topic.partitions.iter().map(|told| partition(topic.topic, told))).collect()
}

#[test]
fn batches_go_out_with_the_offset_they_have_here() {
    for version in 4..=12 {
        let mut harness = Harness::running();
        harness.send(version, &Request::Fetch(fetch_of(&[("t", 0, 5), ("t", 1, 0), ("u", 0, 7)])));
        assert_eq!(harness.broker.take_log(), ["fetch t-0@5 t-1@0 u-0@7 for 500 ms, 1 to 8388608 bytes"]);
        // One that is copied, one that is shared, and nothing.
        let damaged = Fetched { failure: Some(LogFailure::OffsetOutOfRange), ..fetched(3, &[]) };
        let response = reply(&mut harness, vec![fetched(9, &[(5, 100), (6, 20_000)]), fetched(0, &[]), damaged]);
        let all = [("t", 0, 0, 20_100), ("t", 1, 0, 0), ("u", 0, OFFSET_OUT_OF_RANGE, 0)];
        assert_eq!(told(&response), all.map(|(topic, index, code, len)| (topic.to_owned(), index, code, len)));
        // Neighbours of one topic stand under its name once.
        assert_eq!(response.topics.len(), 2);
        let partition = &response.topics[0].partitions[0];
        assert_eq!((partition.high_watermark, partition.last_stable_offset), (9, 9));
        assert_eq!(partition.aborted_transactions, None);
        let records = partition.records.unwrap();
        for (records, offset) in [(&records[..100], 5i64), (&records[100..], 6)] {
            assert_eq!(&records[..8], offset.to_be_bytes());
            assert_eq!(&records[8..12], (records.len() as u32 - 12).to_be_bytes());
            assert_eq!(&records[12..16], [0; 4]);
            assert!(records[16..].iter().all(|byte| *byte == 0xee));
        }
    }
}

#[test]
fn topics_by_id() {
    let mut harness = Harness::running();
    let mut request = fetch_of(&[("", 0, 5)]);
    request.topics[0].topic_id = 9u128.to_be_bytes();
    harness.send(13, &Request::Fetch(request));
    assert_eq!(harness.broker.take_log(), ["fetch #9-0@5 for 500 ms, 1 to 8388608 bytes"]);
    let response = reply(&mut harness, vec![fetched(9, &[(5, 100)])]);
    assert_eq!(response.topics[0].topic_id, 9u128.to_be_bytes());
}

#[test]
fn committed_readers_hear_what_was_aborted() {
    let mut harness = Harness::running();
    harness.send(11, &Request::Fetch(fetch::Request { isolation_level: 1, ..fetch_of(&[("t", 0, 0)]) }));
    assert!(harness.broker.take_log()[0].ends_with(", committed"));
    let response = reply(&mut harness, vec![Fetched { aborted: vec![(4, 2)], ..fetched(9, &[(0, 100)]) }]);
    let aborted = vec![fetch::AbortedTransaction { producer_id: 4, first_offset: 2 }];
    assert_eq!(response.topics[0].partitions[0].aborted_transactions, Some(aborted));
}

#[test]
fn nothing_to_read_is_answered_at_once() {
    let mut harness = Harness::running();
    let Response::Fetch(response) = harness.ask(11, &Request::Fetch(fetch_of(&[]))) else { panic!() };
    assert_eq!((response.error_code, response.session_id, response.topics.len()), (0, 0, 0));
}

#[test]
fn a_failure_of_all_is_told_for_all() {
    let mut harness = Harness::running();
    harness.send(11, &Request::Fetch(fetch_of(&[("t", 0, 0)])));
    harness.event(Event::Failed(Failure::Log(LogFailure::DiskFull)));
    let Some(Response::Fetch(response)) = harness.heard() else { panic!() };
    assert_eq!((response.error_code, response.topics.len()), (KAFKA_STORAGE_ERROR, 0));
}

/// Reference, section 2, item 4.
#[test]
fn pitfall_04_fetch_sessions() {
    let mut harness = Harness::running();
    let first = fetch_of(&[("a", 0, 0), ("b", 0, 0), ("c", 0, 0)]);
    harness.send(12, &in_session(first, 0, 0));
    let response = reply(&mut harness, vec![fetched(0, &[]), fetched(0, &[]), fetched(0, &[])]);
    // The first answer names all.
    assert_eq!(told(&response).len(), 3);
    let id = response.session_id;
    assert_ne!(id, 0);
    harness.broker.take_log();

    // Nothing is named: all are read, and what has no news is not told. Whoever has records is next time the last.
    harness.send(12, &in_session(fetch_of(&[]), id, 1));
    assert_eq!(harness.broker.take_log(), ["fetch a-0@0 b-0@0 c-0@0 for 500 ms, 1 to 8388608 bytes"]);
    let response = reply(&mut harness, vec![fetched(1, &[(0, 100)]), fetched(0, &[]), fetched(5, &[])]);
    assert_eq!(response.session_id, id);
    assert_eq!(told(&response), [("a".to_owned(), 0, 0, 100), ("c".to_owned(), 0, 0, 0)]);

    // One has moved on, one is forgotten, one is new.
    let mut changes = fetch_of(&[("a", 0, 1), ("d", 3, 9)]);
    changes.forgotten_topics = vec![fetch::ForgottenTopic { topic: "b", partitions: vec![0], ..Default::default() }];
    harness.send(12, &in_session(changes, id, 2));
    assert_eq!(harness.broker.take_log(), ["fetch c-0@0 d-3@9 a-0@1 for 500 ms, 1 to 8388608 bytes"]);
    let failed = Fetched { failure: Some(LogFailure::UnknownTopic), ..fetched(-1, &[]) };
    let response = reply(&mut harness, vec![failed, fetched(9, &[]), fetched(1, &[])]);
    assert_eq!(told(&response), [("c".to_owned(), 0, UNKNOWN_TOPIC_OR_PARTITION, 0), ("d".to_owned(), 3, 0, 0)]);

    // After an error one hears how it stands, though that is as it was.
    harness.send(12, &in_session(fetch_of(&[]), id, 3));
    let response = reply(&mut harness, vec![fetched(5, &[]), fetched(9, &[]), fetched(1, &[])]);
    assert_eq!(told(&response), [("c".to_owned(), 0, 0, 0)]);

    let error = |harness: &mut Harness, version, request| {
        let Response::Fetch(response) = harness.ask(version, &request) else { panic!() };
        assert_eq!((response.session_id, response.topics.len()), (0, 0));
        response.error_code
    };
    assert_eq!(error(&mut harness, 12, in_session(fetch_of(&[]), id, 3)), INVALID_FETCH_SESSION_EPOCH);
    assert_eq!(error(&mut harness, 12, in_session(fetch_of(&[]), id + 1, 4)), FETCH_SESSION_ID_NOT_FOUND);
    assert_eq!(error(&mut harness, 13, in_session(fetch_of(&[]), id, 4)), FETCH_SESSION_TOPIC_ID_ERROR);
    // A new one takes its place.
    harness.send(12, &in_session(fetch_of(&[("e", 0, 0)]), id, 0));
    let response = reply(&mut harness, vec![fetched(0, &[])]);
    assert!(response.session_id != id && response.session_id != 0);
    assert_eq!(error(&mut harness, 12, in_session(fetch_of(&[]), id, 4)), FETCH_SESSION_ID_NOT_FOUND);
    // One that ends its session is answered without.
    harness.send(12, &in_session(fetch_of(&[("e", 0, 0)]), response.session_id, -1));
    assert_eq!(reply(&mut harness, vec![fetched(0, &[])]).session_id, 0);
    let again = in_session(fetch_of(&[]), response.session_id, 1);
    assert_eq!(error(&mut harness, 12, again), FETCH_SESSION_ID_NOT_FOUND);
}

/// Of thousands of partitions the first ones are an answer.
#[test]
fn what_was_not_looked_at_is_not_told_and_has_its_turn_next() {
    let mut harness = Harness::running();
    harness.send(12, &in_session(fetch_of(&[("a", 0, 0), ("b", 0, 0), ("c", 0, 0), ("d", 0, 0)]), 0, 0));
    let id = reply(&mut harness, vec![fetched(0, &[]); 4]).session_id;
    let mut turn = |epoch, asked: &str, answer: Vec<Fetched>| {
        harness.broker.take_log();
        harness.send(12, &in_session(fetch_of(&[]), id, epoch));
        assert_eq!(harness.broker.take_log(), [format!("fetch {asked} for 500 ms, 1 to 8388608 bytes")]);
        told(&reply(&mut harness, answer)).into_iter().map(|(topic, .., len)| (topic, len)).collect::<Vec<_>>()
    };
    let a = |topic: &str, len| (topic.to_owned(), len);
    assert_eq!(turn(1, "a-0@0 b-0@0 c-0@0 d-0@0", vec![fetched(1, &[]), fetched(1, &[(0, 100)])]), [a("a", 0), a("b", 100)]);
    assert_eq!(turn(2, "c-0@0 d-0@0 a-0@0 b-0@0", vec![fetched(0, &[]), fetched(7, &[]), fetched(1, &[])]), [a("d", 0)]);
    assert_eq!(
        turn(3, "c-0@0 d-0@0 a-0@0 b-0@0", vec![fetched(0, &[]), fetched(7, &[(0, 90)]), fetched(2, &[(0, 80)])]).len(),
        2
    );
    assert_eq!(turn(4, "b-0@0 c-0@0 d-0@0 a-0@0", vec![]), []);
}

/// Found by the simulator: a batch that is too large unless it is the first of an answer never was, where others always had
/// records, one of them behind it.
#[test]
fn who_is_left_without_room_is_first_next_time() {
    let mut harness = Harness::running();
    harness.send(12, &in_session(fetch_of(&[("a", 0, 0), ("b", 0, 0), ("c", 0, 0)]), 0, 0));
    let (some, none) = (|| fetched(9, &[(0, 100)]), || fetched(9, &[]));
    let id = reply(&mut harness, vec![some(), none(), some()]).session_id;
    let mut turn = |epoch, isolation_level, order: &str, answer: Vec<Fetched>| {
        harness.broker.take_log();
        harness.send(12, &in_session(fetch::Request { isolation_level, ..fetch_of(&[]) }, id, epoch));
        assert!(harness.broker.take_log()[0].starts_with(&format!("fetch {order} for")), "turn {epoch}");
        reply(&mut harness, answer);
    };
    // Who waited for the disk had its turn: others have records before it, and one has nothing.
    turn(1, 0, "b-0@0 c-0@0 a-0@0", vec![none(), some(), fetched(0, &[])]);
    turn(2, 0, "a-0@0 b-0@0 c-0@0", vec![some(), none(), some()]);
    // A committed reader is not given what is not decided, whatever room there is.
    turn(3, 1, "b-0@0 c-0@0 a-0@0", vec![some(), Fetched { last_stable: 0, ..none() }, some()]);
    turn(4, 1, "b-0@0 c-0@0 a-0@0", vec![]);
}

/// Reference, section 2, item 3: an incremental request without topics reads what the session knows, and waits for it.
#[test]
fn pitfall_03_incremental_fetches_wait() {
    let mut harness = Harness::running();
    harness.send(12, &in_session(fetch_of(&[("a", 0, 0)]), 0, 0));
    let id = reply(&mut harness, vec![fetched(0, &[])]).session_id;
    harness.send(12, &in_session(fetch_of(&[]), id, 1));
    assert_eq!(harness.heard(), None);
    assert!(reply(&mut harness, vec![fetched(0, &[])]).topics.is_empty());
}

/// Names that nobody has are remembered too, for as long as the client does not take them back.
#[test]
fn what_a_session_remembers_is_bounded() {
    let mut harness = Harness::running();
    let named = |round: usize| -> Vec<(&'static str, i32, i64)> {
        let name = |number: usize| format!("{round}-{number}-{}", "x".repeat(32_000)).leak();
        (0..100).map(|number| (&*name(number), 0, 0)).collect()
    };
    harness.send(12, &in_session(fetch_of(&named(0)), 0, 0));
    let id = reply(&mut harness, vec![fetched(0, &[]); 100]).session_id;
    assert_ne!(id, 0);
    for round in 1..20 {
        let request = in_session(fetch_of(&named(round)), id, round as i32);
        harness.send(12, &request);
        if let Some(answer) = harness.heard() {
            let Response::Fetch(response) = answer else { panic!() };
            assert_eq!((response.error_code, response.session_id), (FETCH_SESSION_ID_NOT_FOUND, 0));
            assert_eq!(round, model::limits::FETCH_SESSION_BYTES_MAX / (100 * 32_160));
            return;
        }
        reply(&mut harness, vec![fetched(0, &[]); 100 * (round + 1)]);
    }
    panic!("it remembers everything");
}
